//! What devices are offered, remembered between two commits.
//!
//! Devices ask for their version far more often than it changes. While this process is the only
//! writer (`SQLite` under the lock of its data directory) an answer stays right until the next
//! commit: answers of an older [`WriteEpoch`] are read again. The epoch is taken before the read, so
//! a read that races with a commit is never remembered as newer than it is.

use std::sync::Arc;

use coredock_domain::firmware::repository::OfferedFirmware;
use coredock_domain::ids::DeviceKey;
use moka::sync::Cache;

use crate::sqlite::WriteEpoch;

/// Devices remembered; a few hundred bytes each.
const REMEMBERED_DEVICES: u64 = 50_000;

/// Answers by device, each with the epoch in which it was read.
pub(crate) struct Offers {
    writes: Arc<WriteEpoch>,
    by_device: Cache<DeviceKey, (u64, OfferedFirmware)>,
}

impl Offers {
    pub(crate) fn new(writes: Arc<WriteEpoch>) -> Self {
        Self { writes, by_device: Cache::new(REMEMBERED_DEVICES) }
    }

    /// The present epoch; to be taken before a read.
    pub(crate) fn epoch(&self) -> u64 {
        self.writes.current()
    }

    /// What was read in this epoch.
    pub(crate) fn recall(&self, device: &DeviceKey) -> Option<OfferedFirmware> {
        let (epoch, offered) = self.by_device.get(device)?;
        (epoch == self.epoch()).then_some(offered)
    }

    /// Remembers what was read after `epoch` was taken.
    pub(crate) fn remember(&self, device: &DeviceKey, epoch: u64, offered: &OfferedFirmware) {
        self.by_device.insert(device.clone(), (epoch, offered.clone()));
    }
}
