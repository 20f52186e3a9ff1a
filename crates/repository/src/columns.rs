//! Readers of columns: they check a stored value, and name the column if it is corrupt.

use coredock_domain::devices::device::RotationState;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::ids::{DeviceKey, ModelCode, UploadId, VersionText};
use coredock_domain::timestamp::Timestamp;

use crate::failure::Failure;
use crate::timestamps::StoredTime;

/// A table and one of its columns.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Column(pub(crate) &'static str, pub(crate) &'static str);

impl Column {
    /// The value; if there is none, the column is corrupt.
    pub(crate) fn require<T>(self, value: Option<T>) -> Result<T, Failure> {
        value.ok_or(Failure::Corrupt { table: self.0, column: self.1 })
    }
}

pub(crate) fn read_optional(
    time: Option<StoredTime>,
    column: Column,
) -> Result<Option<Timestamp>, Failure> {
    time.map(|time| time.read(column)).transpose()
}

pub(crate) fn read_digest(text: &str, column: Column) -> Result<Sha256Digest, Failure> {
    column.require(text.parse().ok())
}

/// `device_models.code`
pub(crate) fn read_code(text: &str) -> Result<ModelCode, Failure> {
    Column("device_models", "code").require(ModelCode::parse(text))
}

/// `devices.key`
pub(crate) fn read_key(text: &str) -> Result<DeviceKey, Failure> {
    Column("devices", "key").require(DeviceKey::parse(text))
}

/// `devices.rotation_state`
pub(crate) fn read_state(text: &str) -> Result<RotationState, Failure> {
    Column("devices", "rotation_state").require(RotationState::parse(text))
}

/// `firmware_versions.version`
pub(crate) fn read_version(text: &str) -> Result<VersionText, Failure> {
    Column("firmware_versions", "version").require(VersionText::parse(text))
}

/// `firmware_versions.staging_upload_id`: where the objects are read from until they are copied.
pub(crate) fn read_staging(text: Option<&str>) -> Result<Option<UploadId>, Failure> {
    let column = Column("firmware_versions", "staging_upload_id");
    text.map(|text| column.require(UploadId::parse(text))).transpose()
}

/// `coredumps.size`
pub(crate) fn read_size(size: i32) -> Result<u64, Failure> {
    Column("coredumps", "size").require(size.try_into().ok())
}

/// `coredumps.sha256`, which every row of a stored dump has.
pub(crate) fn read_sha256(text: Option<&str>) -> Result<Sha256Digest, Failure> {
    let column = Column("coredumps", "sha256");
    read_digest(column.require(text)?, column)
}

/// `coredumps.attempts`
pub(crate) fn read_attempts(attempts: i32) -> Result<u32, Failure> {
    Column("coredumps", "attempts").require(attempts.try_into().ok())
}

/// A count, which databases never return negative.
pub(crate) fn read_count(count: i64) -> u64 {
    u64::try_from(count).unwrap_or(0)
}
