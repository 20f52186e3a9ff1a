//! Commits of ROM ELFs that fail: a wrapper of the port.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use coredock::adapters::Adapters;
use coredock_domain::audit::Change;
use coredock_domain::chip::KnownChip;
use coredock_domain::error::RepositoryError;
use coredock_domain::rom_elfs::repository::RomElfRepository;
use coredock_domain::rom_elfs::repository::{BeginRomElf, RecordRomElf, RomElfStart};
use coredock_domain::rom_elfs::rom_elf::RomElf;

use super::failing_commits::CommitFault;

/// Fails commits on demand.
#[derive(Default)]
pub(crate) struct FailingRoms {
    next: Mutex<Option<CommitFault>>,
}

impl FailingRoms {
    /// Makes the next upload fail at its commit.
    pub(crate) fn fail_next(&self, fault: CommitFault) {
        *self.next.lock().unwrap() = Some(fault);
    }

    /// Wraps the repository in `adapters`.
    pub(crate) fn wrap(self: &Arc<Self>, mut adapters: Adapters) -> Adapters {
        let inner = adapters.rows.rom_elfs.clone();
        adapters.rows.rom_elfs = Arc::new(Failing { inner, faults: self.clone() });
        adapters
    }
}

struct Failing {
    inner: Arc<dyn RomElfRepository>,
    faults: Arc<FailingRoms>,
}

#[async_trait]
impl RomElfRepository for Failing {
    async fn list(&self) -> Result<Vec<RomElf>, RepositoryError> {
        self.inner.list().await
    }

    async fn list_of_chip(&self, chip: KnownChip) -> Result<Vec<RomElf>, RepositoryError> {
        self.inner.list_of_chip(chip).await
    }

    async fn begin(&self, request: BeginRomElf) -> Result<RomElfStart, RepositoryError> {
        self.inner.begin(request).await
    }

    async fn record(
        &self,
        rom_elf: RecordRomElf,
        change: &Change,
    ) -> Result<Option<RomElf>, RepositoryError> {
        let fault = self.faults.next.lock().unwrap().take();
        let broken = || RepositoryError::unavailable("rom_elf.record", "connection broke");
        match fault {
            None => self.inner.record(rom_elf, change).await,
            Some(CommitFault::Before) => Err(broken()),
            Some(CommitFault::After) => {
                self.inner.record(rom_elf, change).await?;
                Err(broken())
            }
        }
    }

    async fn delete(&self, id: i64, change: &Change) -> Result<bool, RepositoryError> {
        self.inner.delete(id, change).await
    }
}
