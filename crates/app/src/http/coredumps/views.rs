//! Answers about dumps (contract §6.9, §8.4, §8.5).

use coredock_domain::coredumps::coredump::{Coredump, CoredumpSummary, FleetCoredump};
use serde::Serialize;
use serde_json::value::RawValue;
use utoipa::ToSchema;

/// An entry of a list of dumps.
#[derive(Serialize, ToSchema)]
pub struct CoredumpSummaryView {
    id: i64,
    device_id: i64,
    chip: String,
    firmware_version: String,
    size: u64,
    parse_status: &'static str,
    uploaded_at: String,
    parsed_at: Option<String>,
    created_at: String,
    build_id: Option<String>,
    signature: Option<String>,
    occurrences: u32,
    last_seen_at: String,
}

impl From<CoredumpSummary> for CoredumpSummaryView {
    fn from(dump: CoredumpSummary) -> Self {
        Self {
            id: dump.id,
            device_id: dump.device_id,
            chip: dump.chip,
            firmware_version: dump.firmware_version,
            size: dump.size,
            parse_status: dump.parse_status.as_str(),
            uploaded_at: dump.uploaded_at.to_string(),
            parsed_at: dump.parsed_at.map(|time| time.to_string()),
            created_at: dump.created_at.to_string(),
            build_id: dump.build_id.map(|id| id.to_string()),
            signature: dump.signature,
            occurrences: dump.occurrences,
            last_seen_at: dump.last_seen_at.to_string(),
        }
    }
}

/// The dumps of a device.
#[derive(Serialize, ToSchema)]
pub struct CoredumpListView {
    count: usize,
    coredumps: Vec<CoredumpSummaryView>,
}

impl From<Vec<CoredumpSummary>> for CoredumpListView {
    fn from(dumps: Vec<CoredumpSummary>) -> Self {
        let coredumps: Vec<_> = dumps.into_iter().map(Into::into).collect();
        Self { count: coredumps.len(), coredumps }
    }
}

/// An entry of the list of all dumps.
#[derive(Serialize, ToSchema)]
pub struct FleetCoredumpView {
    #[serde(flatten)]
    summary: CoredumpSummaryView,
    device_key: String,
    device_name: Option<String>,
    model_code: String,
}

impl From<FleetCoredump> for FleetCoredumpView {
    fn from(dump: FleetCoredump) -> Self {
        Self {
            summary: dump.summary.into(),
            device_key: dump.device_key,
            device_name: dump.device_name,
            model_code: dump.model_code,
        }
    }
}

/// One page of the dumps of all devices.
#[derive(Serialize, ToSchema)]
pub struct FleetCoredumpPageView {
    count: usize,
    coredumps: Vec<FleetCoredumpView>,
    next_cursor: Option<String>,
}

impl FleetCoredumpPageView {
    /// `next_cursor` leads to the next page, if there is one.
    pub fn new(dumps: Vec<FleetCoredump>, next_cursor: Option<String>) -> Self {
        let coredumps: Vec<_> = dumps.into_iter().map(Into::into).collect();
        Self { count: coredumps.len(), coredumps, next_cursor }
    }
}

/// A dump.
#[derive(Serialize, ToSchema)]
pub struct CoredumpView {
    #[serde(flatten)]
    summary: CoredumpSummaryView,
    parsed_output: Option<String>,
    updated_at: String,
}

impl From<Coredump> for CoredumpView {
    fn from(dump: Coredump) -> Self {
        Self {
            summary: dump.summary.into(),
            parsed_output: dump.parsed_output,
            updated_at: dump.updated_at.to_string(),
        }
    }
}

/// The reason why a dump has no report.
#[derive(Serialize, ToSchema)]
pub struct ParseFaultView {
    code: &'static str,
    message: String,
}

/// The state of a dump's parse, and its report.
#[derive(Serialize, ToSchema)]
pub struct CoredumpReportView {
    coredump_id: i64,
    parse_status: &'static str,
    attempts: u32,
    next_attempt_at: Option<String>,
    error: Option<ParseFaultView>,
    #[schema(value_type = Option<Object>)]
    report: Option<Box<RawValue>>,
}

impl CoredumpReportView {
    /// Fails when the stored report is not JSON.
    pub fn new(dump: Coredump) -> Result<Self, serde_json::Error> {
        let error = dump
            .fault
            .map(|fault| ParseFaultView { code: fault.code.as_str(), message: fault.message });
        Ok(Self {
            coredump_id: dump.summary.id,
            parse_status: dump.summary.parse_status.as_str(),
            attempts: dump.attempts,
            next_attempt_at: dump.next_attempt_at.map(|time| time.to_string()),
            error,
            report: dump.report.map(RawValue::from_string).transpose()?,
        })
    }
}
