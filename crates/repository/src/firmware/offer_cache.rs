//! The offers of devices, cached between two commits.
//!
//! Devices ask for their version far more often than it changes. While this process is the only
//! writer (`SQLite` under the lock of its data directory) an offer stays valid until the next
//! commit: offers of an older [`WriteEpoch`] are read again. The epoch is taken before the read, so
//! a read that races with a commit is never remembered as newer than it is.

use std::sync::Arc;

use coredock_domain::firmware::repository::OfferedFirmware;
use coredock_domain::ids::DeviceKey;
use moka::sync::Cache;

use crate::sqlite::WriteEpoch;

/// The largest number of cached devices, of a few hundred bytes each.
const MAX_DEVICES: u64 = 50_000;

/// Offers by device, each with the epoch in which it was read.
pub(crate) struct OfferCache {
    writes: Arc<WriteEpoch>,
    by_device: Cache<DeviceKey, (u64, OfferedFirmware)>,
}

impl OfferCache {
    pub(crate) fn new(writes: Arc<WriteEpoch>) -> Self {
        Self { writes, by_device: Cache::new(MAX_DEVICES) }
    }

    /// The current epoch; the caller takes it before a read.
    pub(crate) fn epoch(&self) -> u64 {
        self.writes.current()
    }

    /// The offer, if it was read in the current epoch.
    pub(crate) fn recall(&self, device: &DeviceKey) -> Option<OfferedFirmware> {
        let (epoch, offered) = self.by_device.get(device)?;
        (epoch == self.epoch()).then_some(offered)
    }

    /// Stores an offer which was read after `epoch` was taken.
    pub(crate) fn remember(&self, device: &DeviceKey, epoch: u64, offered: &OfferedFirmware) {
        self.by_device.insert(device.clone(), (epoch, offered.clone()));
    }
}
