//! Dumps that outlive an outage (contract §4.5): their bytes wait in a spool on this machine until
//! store and database are there again.
//!
//! A rescued dump becomes visible exactly once. Every attempt to record a delivery, the first and
//! each later one, bears the same instant and origin, and the audit record of its commit with them.
//! An attempt whose outcome nobody heard of, because the connection broke at the commit or the
//! process died before the file was removed, is therefore found by that record. The id is reserved
//! once and noted in the file before anything is written under it, so that attempts that fail do not
//! each leave an object.
//!
//! `occurrences` counts deliveries. A device erases its dump after any attempt, so the same body
//! again after a 503 is the next crash, not the last one: a rescued delivery and one that was
//! acknowledged meanwhile are one row with two occurrences (contract §6.2), whichever came first.

use std::sync::Arc;

use async_trait::async_trait;
use futures::lock::Mutex;

use crate::audit::Change;
use crate::coredumps::Coredumps;
use crate::error::RepositoryError;
use crate::intake::receive::{Attempt, Delivery, ReceiveCoredump, ReceiveCoredumpError, Received};

/// Where dumps wait for the end of an outage.
#[async_trait]
pub trait RescueSpool: Send + Sync {
    /// Keeps a dump; durable when it returns, and held until the file is dropped. `Full` when the
    /// spool would hold more than it may.
    async fn save(&self, dump: &RescuedDump) -> Result<Box<dyn RescueFile>, RescueError>;

    /// What waits, oldest first, held or not. Removes what writers that died have left.
    async fn waiting(&self) -> Result<Vec<RescueName>, RescueError>;

    /// Opens a dump and holds it until the file is dropped; `None` when somebody else holds it or it
    /// is gone. `Damaged` when it cannot be read; it no longer waits then.
    async fn open(&self, name: &RescueName) -> Result<Option<OpenedRescue>, RescueError>;
}

/// A file of the spool, held: nobody else works on it until this is dropped or its process dies.
#[async_trait]
pub trait RescueFile: Send + Sync {
    /// Notes the id the dump is to have; durable when it returns. The last one counts.
    async fn fix_id(&self, id: i64) -> Result<(), RescueError>;

    /// Removes the file.
    async fn remove(&self) -> Result<(), RescueError>;
}

/// Names a file of the spool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RescueName(pub String);

/// A delivery in the spool.
#[derive(Debug, Clone)]
pub struct RescuedDump {
    /// What was delivered.
    pub delivery: Delivery,
    /// The id reserved for it, if it came that far.
    pub id: Option<i64>,
}

/// A dump taken out of the spool.
pub struct OpenedRescue {
    /// The dump.
    pub dump: RescuedDump,
    /// Its file.
    pub file: Box<dyn RescueFile>,
}

/// What a spool could not do.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// There is no room; nothing was written.
    #[error("rescue spool may hold {budget} bytes, and the dump does not fit")]
    Full {
        /// Most bytes it may hold.
        budget: u64,
    },
    /// A file is not what was written; it was set aside.
    #[error("rescued dump {name} is damaged: {reason}")]
    Damaged {
        /// The file.
        name: String,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The disk failed.
    #[error("rescue spool could not {operation}")]
    Unavailable {
        /// What was asked for.
        operation: &'static str,
        /// What the operating system said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl RescueError {
    /// A failure of the disk during `operation`.
    pub fn unavailable(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { operation, source: Arc::from(source.into()) }
    }
}

/// A dump on its way in, shared by the one who takes it in and the one who watches the clock.
pub struct Reception {
    pub(crate) dump: ReceiveCoredump,
    pub(crate) change: Change,
    progress: Mutex<Progress>,
}

/// How far a reception has come.
#[derive(Default)]
struct Progress {
    id: Option<i64>,
    file: Option<Box<dyn RescueFile>>,
    has_ended: bool,
}

/// What became of the spool in one round.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct IngestRound {
    /// Dumps that need not wait any longer.
    pub settled: usize,
    /// Dumps that still wait.
    pub waiting: usize,
}

/// Why a rescued dump has to wait on.
#[derive(Debug, thiserror::Error)]
enum IngestError {
    #[error(transparent)]
    Spool(#[from] RescueError),
    #[error(transparent)]
    Receive(#[from] ReceiveCoredumpError),
}

impl From<RepositoryError> for IngestError {
    fn from(error: RepositoryError) -> Self {
        Self::Receive(error.into())
    }
}

/// How the wait of a rescued dump ended.
enum Fate {
    Received(Received),
    /// It had been recorded under this id before anybody heard of it.
    Known(i64),
    UnknownDevice,
}

impl Reception {
    pub(crate) fn new(dump: ReceiveCoredump, change: Change) -> Self {
        Self { dump, change, progress: Mutex::default() }
    }
}

impl Coredumps {
    /// Puts a dump aside whose reception takes long, before its device is told so: from then on
    /// neither a failure nor the death of the process loses it. Whether it lies in the spool.
    pub async fn rescue(&self, reception: &Reception) -> bool {
        let mut progress = reception.progress.lock().await;
        if !progress.has_ended && progress.file.is_none() {
            progress.file = self.save(reception, progress.id).await;
        }
        progress.file.is_some()
    }

    /// Reserves an id for a reception; if it lies in the spool already, the file learns it before
    /// anything is written under it.
    pub(crate) async fn reserve_for(&self, reception: &Reception) -> Result<i64, RepositoryError> {
        let id = self.ports.coredumps.reserve_id().await?;
        let mut progress = reception.progress.lock().await;
        progress.id = Some(id);
        if let Some(file) = &progress.file
            && let Err(error) = file.fix_id(id).await
        {
            warn("a rescued dump will be given another id", &error);
        }
        Ok(id)
    }

    /// Ends a reception: what store or database did not take stays in the spool, anything else
    /// leaves it.
    pub(crate) async fn conclude(
        &self,
        reception: &Reception,
        outcome: Result<Received, ReceiveCoredumpError>,
    ) -> Result<Received, ReceiveCoredumpError> {
        let mut progress = reception.progress.lock().await;
        progress.has_ended = true;
        let mut file = progress.file.take();
        match outcome {
            Err(error @ (ReceiveCoredumpError::Repository(_) | ReceiveCoredumpError::Store(_))) => {
                if file.is_none() {
                    file = self.save(reception, progress.id).await;
                }
                let Some(file) = file else { return Err(error) };
                drop(file);
                self.ports.rescued.wake();
                Err(ReceiveCoredumpError::Rescued(Box::new(error)))
            }
            other => {
                if let Some(file) = file
                    && let Err(error) = file.remove().await
                {
                    // The next round finds that it is recorded.
                    warn("a dump that was received stays in the rescue spool", &error);
                }
                other
            }
        }
    }

    /// `None` when there is nothing to save, no room, or no way.
    async fn save(&self, reception: &Reception, id: Option<i64>) -> Option<Box<dyn RescueFile>> {
        let delivery = self.delivery(reception).ok()?;
        let (device, bytes) = (delivery.device.clone(), delivery.body.length());
        match self.ports.rescue.save(&RescuedDump { delivery, id }).await {
            Ok(file) => {
                tracing::warn!(event = "coredump_rescued", %device, bytes, "dump put aside");
                Some(file)
            }
            // Switched off.
            Err(RescueError::Full { budget: 0 }) => None,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, %device, "a dump could not be put aside and is lost");
                None
            }
        }
    }

    /// Takes in what waits in the spool, oldest first. One that cannot be taken in keeps none of the
    /// others waiting.
    pub async fn ingest_rescued(&self) -> Result<IngestRound, RescueError> {
        let mut round = IngestRound::default();
        for name in self.ports.rescue.waiting().await? {
            match self.ingest(&name).await {
                Ok(true) => round.settled += 1,
                Ok(false) => round.waiting += 1,
                Err(IngestError::Spool(error @ RescueError::Damaged { .. })) => {
                    tracing::error!(error = &error as &dyn std::error::Error, "a dump is lost");
                }
                Err(error) => {
                    round.waiting += 1;
                    warn("a rescued dump waits", &error);
                }
            }
        }
        Ok(round)
    }

    /// `false` when somebody else works on it.
    async fn ingest(&self, name: &RescueName) -> Result<bool, IngestError> {
        let Some(OpenedRescue { dump, file }) = self.ports.rescue.open(name).await? else {
            return Ok(false);
        };
        let device = dump.delivery.device.clone();
        let fate = self.bring_in(dump, &*file).await?;
        match fate {
            Fate::Received(received) => {
                tracing::info!(event = "coredump_ingested", id = received.id(), %device,
                    "a rescued dump was taken in");
            }
            Fate::Known(id) => {
                tracing::info!(id, %device, "a rescued dump had been recorded before");
            }
            Fate::UnknownDevice => {
                tracing::warn!(%device, "a rescued dump is of no device and was dropped");
            }
        }
        file.remove().await?;
        Ok(true)
    }

    async fn bring_in(
        &self,
        RescuedDump { delivery, id }: RescuedDump,
        file: &dyn RescueFile,
    ) -> Result<Fate, IngestError> {
        let coredumps = &self.ports.coredumps;
        if let Some(id) = coredumps.find_delivery(&delivery.change).await? {
            return Ok(Fate::Known(id));
        }
        let Some(sender) = coredumps.find_sender(&delivery.device, None).await? else {
            return Ok(Fate::UnknownDevice);
        };
        let taken = match id {
            Some(id) => coredumps.find(sender.device_id, id).await?,
            None => None,
        };
        let id = match (id, taken) {
            (Some(id), None) => id,
            // An attempt that was given up has committed just now.
            (Some(id), Some(dump)) if dump.sha256 == delivery.body.sha256() => {
                return Ok(Fate::Known(id));
            }
            // The database was restored from a backup, and has reserved the id once more.
            (Some(_), Some(_)) | (None, _) => self.fix_fresh_id(file).await?,
        };
        let attempt = Attempt { id, device_id: sender.device_id, is_retried: true };
        match self.keep(attempt, &delivery).await {
            Ok(received) => Ok(Fate::Received(received)),
            Err(ReceiveCoredumpError::UnknownDevice) => Ok(Fate::UnknownDevice),
            Err(error) => {
                if matches!(error, ReceiveCoredumpError::Repository(RepositoryError::Conflict)) {
                    self.fix_fresh_id(file).await?;
                }
                Err(error.into())
            }
        }
    }

    async fn fix_fresh_id(&self, file: &dyn RescueFile) -> Result<i64, IngestError> {
        let id = self.ports.coredumps.reserve_id().await?;
        file.fix_id(id).await?;
        Ok(id)
    }
}

fn warn(what: &str, error: &(dyn std::error::Error + 'static)) {
    tracing::warn!(error, "{what}");
}
