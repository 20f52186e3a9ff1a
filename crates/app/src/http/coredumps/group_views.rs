//! Answers about groups of dumps.

use coredock_domain::coredumps::groups::{CrashGroup, VersionCount};
use serde::Serialize;
use utoipa::ToSchema;

/// The number of dumps of a group from one version.
#[derive(Serialize, ToSchema)]
pub struct VersionCountView {
    version: String,
    count: u64,
}

impl From<VersionCount> for VersionCountView {
    fn from(dumps: VersionCount) -> Self {
        Self { version: dumps.version, count: dumps.count }
    }
}

/// The dumps of one signature.
#[derive(Serialize, ToSchema)]
pub struct CrashGroupView {
    signature: String,
    title: Option<String>,
    count: u64,
    devices: u64,
    first_seen_at: String,
    last_seen_at: String,
    firmware_versions: Vec<VersionCountView>,
    sample_coredump_id: i64,
}

impl From<CrashGroup> for CrashGroupView {
    fn from(group: CrashGroup) -> Self {
        Self {
            signature: group.signature,
            title: group.title,
            count: group.count,
            devices: group.devices,
            first_seen_at: group.first_seen_at.to_string(),
            last_seen_at: group.last_seen_at.to_string(),
            firmware_versions: group.versions.into_iter().map(Into::into).collect(),
            sample_coredump_id: group.sample_id,
        }
    }
}

/// One page of the groups of all dumps.
#[derive(Serialize, ToSchema)]
pub struct CrashGroupPageView {
    count: usize,
    crash_groups: Vec<CrashGroupView>,
    next_cursor: Option<String>,
}

impl CrashGroupPageView {
    /// `next_cursor` leads to the next page, if there is one.
    pub fn new(groups: Vec<CrashGroup>, next_cursor: Option<String>) -> Self {
        let crash_groups: Vec<_> = groups.into_iter().map(Into::into).collect();
        Self { count: crash_groups.len(), crash_groups, next_cursor }
    }
}
