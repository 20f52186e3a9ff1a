//! A dump and its state (contract §6).

use std::fmt;

use crate::digest::Sha256Digest;
use crate::ids::DeviceKey;
use crate::timestamp::Timestamp;

/// The state of a dump (contract §6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseStatus {
    /// Waiting, delayed or running.
    Pending,
    /// A report exists.
    Parsed,
    /// There is no report.
    Error,
}

impl ParseStatus {
    pub const ALL: [Self; 3] = [Self::Pending, Self::Parsed, Self::Error];

    /// The text in answers and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Parsed => "PARSED",
            Self::Error => "ERROR",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|status| status.as_str() == text)
    }
}

/// Why there is no report (contract §6.5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseErrorCode {
    /// The stored object is missing.
    DumpMissing,
    /// The body cannot be read in any known format.
    DumpUnreadable,
    /// No ELF of the build is stored.
    ElfNotFound,
    /// The ELF cannot be read or is for another architecture.
    ElfUnreadable,
    /// The engine refused the input.
    EngineRefused,
    /// The engine crashed or did not answer, in every attempt.
    EngineFailed,
}

impl ParseErrorCode {
    pub const ALL: [Self; 6] = [
        Self::DumpMissing,
        Self::DumpUnreadable,
        Self::ElfNotFound,
        Self::ElfUnreadable,
        Self::EngineRefused,
        Self::EngineFailed,
    ];

    /// The text in answers and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DumpMissing => "DUMP_MISSING",
            Self::DumpUnreadable => "DUMP_UNREADABLE",
            Self::ElfNotFound => "ELF_NOT_FOUND",
            Self::ElfUnreadable => "ELF_UNREADABLE",
            Self::EngineRefused => "ENGINE_REFUSED",
            Self::EngineFailed => "ENGINE_FAILED",
        }
    }

    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|code| code.as_str() == text)
    }
}

/// Why a parse failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParseFault {
    pub code: ParseErrorCode,
    /// For people; names what is missing or wrong.
    pub message: String,
}

/// The name of a chip as a device reports it: 1–50 characters `a-z0-9_-` (contract §4.5).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chip(String);

impl Chip {
    /// Converts ASCII letters to lower case first.
    pub fn parse(text: &str) -> Option<Self> {
        let lower = text.to_ascii_lowercase();
        let allowed = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        ((1..=50).contains(&lower.len()) && lower.bytes().all(allowed)).then_some(Self(lower))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The version text which a device reports: 1–50 characters, no control characters, not only white
/// space (contract §4.5). It may be a version that was never published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReportedVersion(String);

impl ReportedVersion {
    pub fn parse(text: &str) -> Option<Self> {
        let fits = (1..=50).contains(&text.chars().count());
        let visible = !text.chars().all(char::is_whitespace);
        (fits && visible && !text.chars().any(char::is_control)).then(|| Self(text.to_owned()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The prefix of the SHA-256 of an ELF which a dump contains: 8–64 lower-case hex digits. A shorter
/// prefix does not identify a build and counts as none (contract §6.7).
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct BuildId(String);

impl BuildId {
    pub const MIN_DIGITS: usize = 8;

    /// Accepts upper case too.
    pub fn parse(text: &str) -> Option<Self> {
        let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
        let fits = (Self::MIN_DIGITS..=64).contains(&text.len());
        (hex && fits).then(|| Self(text.to_ascii_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for BuildId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

/// An entry of a list of dumps.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CoredumpSummary {
    pub id: i64,
    pub device_id: i64,
    /// The chip the device named.
    pub chip: String,
    /// The version the device named.
    pub firmware_version: String,
    /// Length of the stored body in bytes.
    pub size: u64,
    pub parse_status: ParseStatus,
    /// When it was received; for one device, later dumps have later times.
    pub uploaded_at: Timestamp,
    /// When it left `PENDING`.
    pub parsed_at: Option<Timestamp>,
    pub created_at: Timestamp,
    /// The build which the dump names.
    pub build_id: Option<BuildId>,
    pub signature: Option<String>,
    /// How often the device delivered the same body, at least 1.
    pub occurrences: u32,
    /// When the device delivered it last.
    pub last_seen_at: Timestamp,
}

/// All columns of a dump.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Coredump {
    pub summary: CoredumpSummary,
    /// The key of its device.
    pub device: DeviceKey,
    /// Digest of the stored body.
    pub sha256: Sha256Digest,
    /// The report for people, or why there is none.
    pub parsed_output: Option<String>,
    /// The report for programs: a JSON object (contract §6.9).
    pub report: Option<String>,
    /// Why there is no report.
    pub fault: Option<ParseFault>,
    /// Attempts so far.
    pub attempts: u32,
    /// When the next attempt is due; `None` once there is a result.
    pub next_attempt_at: Option<Timestamp>,
    pub updated_at: Timestamp,
}

/// An entry of the list of the dumps of all devices.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetCoredump {
    pub summary: CoredumpSummary,
    pub device_key: String,
    pub device_name: Option<String>,
    pub model_code: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn chips_are_lower_cased_and_bounded() {
        assert_eq!(Chip::parse("ESP32-S3").unwrap().as_str(), "esp32-s3");
        let longest = "a".repeat(50);
        assert!(Chip::parse(&longest).is_some());
        for bad in ["", "esp32;rm", "é", " esp32", &format!("{longest}a"), "a\n"] {
            assert!(Chip::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn reported_versions_are_any_short_printable_text() {
        let longest = "é".repeat(50);
        for good in ["1.0.0+5", "a b", " a", &longest] {
            assert_eq!(ReportedVersion::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "  ", "a\u{7}", "a\n", "\u{85}a", &format!("{longest}é")] {
            assert!(ReportedVersion::parse(bad).is_none(), "{bad:?}");
        }
    }

    #[test]
    fn build_ids_are_hex_of_at_least_eight_digits() {
        assert_eq!(BuildId::parse("64D3738C1").unwrap().as_str(), "64d3738c1");
        assert!(BuildId::parse(&"0".repeat(64)).is_some());
        for bad in ["64d3738", "64d3738g", "", &"0".repeat(65)] {
            assert!(BuildId::parse(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn statuses_and_codes_parse_their_own_text() {
        for status in ParseStatus::ALL {
            assert_eq!(ParseStatus::parse(status.as_str()), Some(status));
        }
        for code in ParseErrorCode::ALL {
            assert_eq!(ParseErrorCode::parse(code.as_str()), Some(code));
        }
        assert_eq!(ParseStatus::parse("DONE"), None);
    }
}
