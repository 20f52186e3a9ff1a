//! Groups of dumps which share a signature (contract §8.5).

use crate::timestamp::Timestamp;

/// Which dumps are grouped. What is `None` matches all.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CrashGroupFilter {
    /// Code of the model.
    pub model: Option<String>,
    /// The version the device named.
    pub firmware_version: Option<String>,
    /// Uploaded then or later.
    pub since: Option<Timestamp>,
}

/// A part of the list of groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashGroupPage {
    /// Which dumps are grouped.
    pub filter: CrashGroupFilter,
    /// Only groups behind this place.
    pub after: CrashGroupPlace,
    /// At most this many, and at least 1.
    pub limit: u32,
}

/// A place in a walk over the groups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashGroupPlace {
    /// When the walk began. Dumps uploaded later are left out, so that no group moves meanwhile.
    pub until: Timestamp,
    /// Upload of the newest dump.
    pub newest_at: Timestamp,
    /// The signature.
    pub signature: String,
}

impl CrashGroupPlace {
    /// Where a walk begins that begins now.
    pub fn front(now: Timestamp) -> Self {
        // Behind every signature, which is hexadecimal.
        Self { until: now, newest_at: now, signature: "~".into() }
    }
}

/// The groups of a page.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CrashGroups {
    /// In their order.
    pub groups: Vec<CrashGroup>,
    /// Behind the last one, if there are more.
    pub next: Option<CrashGroupPlace>,
}

/// What is known of the dumps of one signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CrashGroup {
    /// The signature they share.
    pub signature: String,
    /// What the report of the sample calls it.
    pub title: Option<String>,
    /// How often it happened: the occurrences of all dumps.
    pub count: u64,
    /// On how many devices.
    pub devices: u64,
    /// Upload of the oldest dump.
    pub first_seen_at: Timestamp,
    /// When one of the dumps was delivered last, again or for the first time.
    pub last_seen_at: Timestamp,
    /// The versions it happened in, the most frequent first.
    pub versions: Vec<VersionCount>,
    /// Row of the newest dump.
    pub sample_id: i64,
}

/// How often something happened in a version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VersionCount {
    /// The version the devices named.
    pub version: String,
    /// The occurrences of all dumps.
    pub count: u64,
}
