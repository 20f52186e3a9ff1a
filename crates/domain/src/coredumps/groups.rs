//! Groups of dumps which share a signature (contract §8.5).

use crate::timestamp::Timestamp;

/// Which dumps are grouped; `None` matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CrashGroupFilter {
    /// Code of the model.
    pub model: Option<String>,
    /// The version the device named.
    pub firmware_version: Option<String>,
    /// Only dumps uploaded at this time or later.
    pub since: Option<Timestamp>,
}

/// Which part of the list of groups to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashGroupQuery {
    pub filter: CrashGroupFilter,
    /// Only groups after this position.
    pub after: CrashGroupPosition,
    /// Maximum number of groups, at least 1.
    pub limit: u32,
}

/// The position of a group in the list, which is read page by page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashGroupPosition {
    /// When the first page was read. Dumps uploaded later are left out, so that no group moves.
    pub until: Timestamp,
    /// When the newest dump of the group was uploaded.
    pub newest_at: Timestamp,
    pub signature: String,
}

impl CrashGroupPosition {
    /// The position before all groups, for a list whose first page is read now.
    pub fn front(now: Timestamp) -> Self {
        // `~` sorts behind every signature, which is hexadecimal; the order is descending.
        Self { until: now, newest_at: now, signature: "~".into() }
    }
}

/// A page of groups.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CrashGroups {
    pub groups: Vec<CrashGroup>,
    /// The position of the last group, if there are more.
    pub next: Option<CrashGroupPosition>,
}

/// The dumps with one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashGroup {
    pub signature: String,
    /// From the report of the sample.
    pub title: Option<String>,
    /// The sum of the occurrences of all dumps.
    pub count: u64,
    /// The number of devices.
    pub devices: u64,
    /// When the oldest dump was uploaded.
    pub first_seen_at: Timestamp,
    /// When a dump of the group was delivered last, also repeatedly.
    pub last_seen_at: Timestamp,
    /// The most frequent version first.
    pub versions: Vec<VersionCount>,
    /// The id of the newest dump.
    pub sample_id: i64,
}

/// The dumps of a group from one version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionCount {
    /// The version the devices named.
    pub version: String,
    /// The sum of the occurrences.
    pub count: u64,
}
