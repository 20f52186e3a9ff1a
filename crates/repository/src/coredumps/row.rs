//! Rows of dumps.

use coredock_domain::coredumps::coredump::{
    BuildId, Coredump, CoredumpSummary, FleetCoredump, ParseErrorCode, ParseFault, ParseStatus,
};
use diesel::prelude::*;

use crate::columns::{Column, read_attempts, read_key, read_optional, read_sha256, read_size};
use crate::failure::Failure;
use crate::schema::coredumps;
use crate::timestamps::{At, StoredTime};

const TABLE: &str = "coredumps";

/// The columns of lists, which do not load reports and other long texts.
#[derive(Queryable, Selectable)]
#[diesel(table_name = coredumps)]
pub(super) struct SummaryRow {
    id: i64,
    device_id: i64,
    chip: String,
    firmware_version: String,
    size: i32,
    parse_status: String,
    uploaded_at: StoredTime,
    parsed_at: Option<StoredTime>,
    created_at: StoredTime,
    build_id: Option<String>,
    signature: Option<String>,
    occurrences: i32,
    last_seen_at: Option<StoredTime>,
}

impl SummaryRow {
    pub(super) fn read(self) -> Result<CoredumpSummary, Failure> {
        let uploaded_at = self.uploaded_at.read(Column(TABLE, "uploaded_at"))?;
        let last_seen_at = read_optional(self.last_seen_at, Column(TABLE, "last_seen_at"))?;
        Ok(CoredumpSummary {
            id: self.id,
            device_id: self.device_id,
            chip: self.chip,
            firmware_version: self.firmware_version,
            size: read_size(self.size)?,
            parse_status: Column(TABLE, "parse_status")
                .require(ParseStatus::parse(&self.parse_status))?,
            uploaded_at,
            parsed_at: read_optional(self.parsed_at, Column(TABLE, "parsed_at"))?,
            created_at: self.created_at.read(Column(TABLE, "created_at"))?,
            // A build id that is too short to identify a build is not shown.
            build_id: self.build_id.as_deref().and_then(BuildId::parse),
            signature: self.signature,
            occurrences: Column(TABLE, "occurrences").require(self.occurrences.try_into().ok())?,
            last_seen_at: last_seen_at.unwrap_or(uploaded_at),
        })
    }

    pub(super) fn read_with(
        self,
        device_key: String,
        device_name: Option<String>,
        model_code: String,
    ) -> Result<FleetCoredump, Failure> {
        Ok(FleetCoredump { summary: self.read()?, device_key, device_name, model_code })
    }
}

/// A row without its lease.
#[derive(Queryable, Selectable)]
#[diesel(table_name = coredumps)]
pub(super) struct DetailRow {
    #[diesel(embed)]
    summary: SummaryRow,
    sha256: Option<String>,
    parsed_output: Option<String>,
    report: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    attempts: i32,
    next_attempt_at: Option<StoredTime>,
    updated_at: StoredTime,
}

impl DetailRow {
    pub(super) fn read(self, device_key: &str) -> Result<Coredump, Failure> {
        let summary = self.summary.read()?;
        let next_attempt_at =
            read_optional(self.next_attempt_at, Column(TABLE, "next_attempt_at"))?;
        Ok(Coredump {
            device: read_key(device_key)?,
            sha256: read_sha256(self.sha256.as_deref())?,
            parsed_output: self.parsed_output,
            report: self.report,
            fault: read_fault(self.error_code.as_deref(), self.error_message)?,
            attempts: read_attempts(self.attempts)?,
            next_attempt_at: next_attempt_at
                .filter(|_| summary.parse_status == ParseStatus::Pending),
            updated_at: self.updated_at.read(Column(TABLE, "updated_at"))?,
            summary,
        })
    }
}

fn read_fault(code: Option<&str>, message: Option<String>) -> Result<Option<ParseFault>, Failure> {
    let Some(code) = code else { return Ok(None) };
    let code = Column(TABLE, "error_code").require(ParseErrorCode::parse(code))?;
    Ok(Some(ParseFault { code, message: message.unwrap_or_default() }))
}

/// The columns of a dump that is to be parsed again: due at once, without attempts, without a lease
/// and without the earlier result (contract §6.12).
#[derive(AsChangeset)]
#[diesel(table_name = coredumps, treat_none_as_null = true)]
pub(crate) struct PendingAgain {
    parse_status: &'static str,
    parsed_output: Option<String>,
    report: Option<String>,
    error_code: Option<String>,
    error_message: Option<String>,
    signature: Option<String>,
    parsed_at: Option<At>,
    attempts: i32,
    lease_owner: Option<String>,
    lease_until: Option<At>,
    next_attempt_at: Option<At>,
    turn_at: Option<At>,
    updated_at: At,
}

impl PendingAgain {
    pub(crate) fn due(at: At) -> Self {
        Self {
            parse_status: ParseStatus::Pending.as_str(),
            parsed_output: None,
            report: None,
            error_code: None,
            error_message: None,
            signature: None,
            parsed_at: None,
            attempts: 0,
            lease_owner: None,
            lease_until: None,
            next_attempt_at: Some(at),
            turn_at: Some(at),
            updated_at: at,
        }
    }
}
