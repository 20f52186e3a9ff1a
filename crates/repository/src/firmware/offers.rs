//! What devices are offered, remembered between two commits.
//!
//! Devices ask for their version far more often than it changes. While this process is the only
//! writer (`SQLite` under the lock of its data directory) an answer stays right until the next
//! commit: every statement that ends on the writing connection, `COMMIT` among them, begins a new
//! epoch, and answers of older epochs are read again. The epoch is taken before the read, so a read
//! that races with a commit is never remembered as newer than it is.

use std::sync::atomic::{AtomicU64, Ordering};

use coredock_domain::firmware::repository::OfferedFirmware;
use coredock_domain::ids::DeviceKey;
use moka::sync::Cache;

/// Devices remembered; a few hundred bytes each.
const REMEMBERED_DEVICES: u64 = 50_000;

/// An epoch of the database: nothing was committed within it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Epoch(u64);

/// Answers by device.
pub(crate) struct Offers {
    epoch: AtomicU64,
    by_device: Cache<DeviceKey, (Epoch, OfferedFirmware)>,
}

impl Offers {
    pub(crate) fn new() -> Self {
        Self { epoch: AtomicU64::new(0), by_device: Cache::new(REMEMBERED_DEVICES) }
    }

    /// The present epoch; to be taken before a read.
    pub(crate) fn epoch(&self) -> Epoch {
        Epoch(self.epoch.load(Ordering::SeqCst))
    }

    /// Something may have been committed.
    pub(crate) fn begin_epoch(&self) {
        self.epoch.fetch_add(1, Ordering::SeqCst);
    }

    /// What was read in this epoch.
    pub(crate) fn recall(&self, device: &DeviceKey) -> Option<OfferedFirmware> {
        let (epoch, offered) = self.by_device.get(device)?;
        (epoch == self.epoch()).then_some(offered)
    }

    /// Remembers what was read after `epoch` was taken.
    pub(crate) fn remember(&self, device: &DeviceKey, epoch: Epoch, offered: &OfferedFirmware) {
        self.by_device.insert(device.clone(), (epoch, offered.clone()));
    }
}
