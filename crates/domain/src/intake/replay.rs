//! Saves dumps during an outage to the rescue spool on this machine, and replays them once store
//! and database work again (contract §4.5).
//!
//! A rescued dump becomes visible exactly once. All attempts to record a delivery have the same
//! instant and origin, and so has the audit record of its commit. If the outcome of an attempt is
//! unknown, because the connection broke at the commit or the process died before it removed the
//! file, the commit is found by that record. The id is reserved once and written to the file before
//! an object is stored under it, so that failed attempts do not leave an object each.
//!
//! `occurrences` counts deliveries. A device erases its dump after any attempt, so the same body
//! again after a 503 comes from another crash: a rescued delivery and a delivery which was
//! acknowledged meanwhile become one row with two occurrences (contract §6.2), in either order.

use super::Intake;
use super::receive::{Attempt, IncomingCoredump, ReceiveCoredumpError, Received};
use crate::error::RepositoryError;
use crate::intake::spool::{OpenedRescue, RescueError, RescueFile, RescueName, RescuedDump};
use crate::wakeup::Worker;

/// What one replay of the spool did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ReplayRound {
    /// Dumps which left the spool.
    pub replayed: usize,
    /// Dumps which stay in the spool.
    pub waiting: usize,
}

/// Why a rescued dump stays in the spool.
#[derive(Debug, thiserror::Error)]
enum ReplayError {
    #[error(transparent)]
    Spool(#[from] RescueError),
    #[error(transparent)]
    Receive(#[from] ReceiveCoredumpError),
}

impl From<RepositoryError> for ReplayError {
    fn from(error: RepositoryError) -> Self {
        Self::Receive(error.into())
    }
}

/// Why a rescued dump leaves the spool.
enum Replayed {
    Received(Received),
    /// An earlier attempt had recorded it under this id.
    RecordedBefore(i64),
    UnknownDevice,
    ForeignModel,
}

impl Intake {
    /// Saves a dump whose intake takes long to the spool, before its device gets an answer: from
    /// then on neither a failure nor a crash of the process loses it. Returns whether it is in the
    /// spool.
    pub async fn rescue(&self, incoming: &IncomingCoredump) -> bool {
        let mut progress = incoming.progress.lock().await;
        if !progress.has_ended && progress.file.is_none() {
            progress.file = self.save(incoming, progress.id).await;
        }
        progress.file.is_some()
    }

    /// Reserves an id for an incoming dump. If the dump is in the spool already, the id is written
    /// there, too, before an object is stored under it.
    pub(super) async fn reserve_id(
        &self,
        incoming: &IncomingCoredump,
    ) -> Result<i64, RepositoryError> {
        let id = self.ports.deliveries.reserve_id().await?;
        let mut progress = incoming.progress.lock().await;
        progress.id = Some(id);
        if let Some(file) = &progress.file
            && let Err(error) = file.fix_id(id).await
        {
            let (error, device) = (&error as &dyn std::error::Error, &incoming.dump.device.key);
            tracing::warn!(
                error,
                "id {id} of a dump of device {device} could not be written to the rescue spool; if \
                 the dump is replayed, it gets another id, and nothing has to be done"
            );
        }
        Ok(id)
    }

    /// Ends the intake of a dump: after an outage it stays in the spool, otherwise it leaves it.
    pub(super) async fn end(
        &self,
        incoming: &IncomingCoredump,
        outcome: Result<Received, ReceiveCoredumpError>,
    ) -> Result<Received, ReceiveCoredumpError> {
        let mut progress = incoming.progress.lock().await;
        progress.has_ended = true;
        let mut file = progress.file.take();
        match outcome {
            Err(error @ (ReceiveCoredumpError::Repository(_) | ReceiveCoredumpError::Store(_))) => {
                if file.is_none() {
                    file = self.save(incoming, progress.id).await;
                }
                let Some(file) = file else { return Err(error) };
                drop(file);
                self.ports.wakeup.wake(Worker::Replay);
                Err(ReceiveCoredumpError::Rescued(Box::new(error)))
            }
            other => {
                if let Some(file) = file
                    && let Err(error) = file.remove().await
                {
                    // The next replay finds that it is recorded.
                    let (error, device) =
                        (&error as &dyn std::error::Error, &incoming.dump.device.key);
                    tracing::warn!(error, %device, "a dump of device {device} was received but could not be removed from the rescue spool");
                }
                other
            }
        }
    }

    /// `None` when there is nothing to save, the spool is full, or the disk failed.
    async fn save(
        &self,
        incoming: &IncomingCoredump,
        id: Option<i64>,
    ) -> Option<Box<dyn RescueFile>> {
        let delivery = self.delivery(incoming).ok()?;
        let (device, bytes) = (delivery.device.key.clone(), delivery.body.length());
        match self.ports.spool.save(&RescuedDump { delivery, id }).await {
            Ok(file) => {
                tracing::warn!(event = "coredump_rescued", %device, bytes,
                    "a dump of device {device} was saved to the rescue spool");
                Some(file)
            }
            // The spool is disabled.
            Err(RescueError::Full { budget: 0 }) => None,
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, %device, bytes,
                    "a dump of device {device} has no copy in the rescue spool; it is lost unless its \
                     intake still succeeds");
                None
            }
        }
    }

    /// Replays the spool, oldest first. A dump which cannot be recorded does not delay the others.
    pub async fn replay(&self) -> Result<ReplayRound, RescueError> {
        let mut round = ReplayRound::default();
        for name in self.ports.spool.waiting().await? {
            match self.replay_file(&name).await {
                Ok(true) => round.replayed += 1,
                Ok(false) => round.waiting += 1,
                Err(ReplayError::Spool(error @ RescueError::Damaged { .. })) => {
                    let error = &error as &dyn std::error::Error;
                    tracing::error!(
                        error,
                        file = name.0,
                        "rescued dump in file {} of the rescue spool is damaged and cannot be \
                         replayed; the file was set aside",
                        name.0
                    );
                }
                Err(error) => {
                    round.waiting += 1;
                    let error = &error as &dyn std::error::Error;
                    tracing::warn!(
                        error,
                        file = name.0,
                        "dump {} stays in the rescue spool and is replayed again",
                        name.0
                    );
                }
            }
        }
        Ok(round)
    }

    /// `false` when another process works on the file.
    async fn replay_file(&self, name: &RescueName) -> Result<bool, ReplayError> {
        let Some(OpenedRescue { dump, file }) = self.ports.spool.open(name).await? else {
            return Ok(false);
        };
        let device = dump.delivery.device.key.clone();
        match self.replay_dump(dump, &*file).await? {
            Replayed::Received(received) => {
                let id = received.id();
                tracing::info!(event = "coredump_ingested", id, %device,
                    "rescued dump {id} of device {device} was replayed");
            }
            Replayed::RecordedBefore(id) => {
                tracing::info!(id, %device,
                    "rescued dump {id} of device {device} had been recorded before");
            }
            Replayed::UnknownDevice => {
                tracing::warn!(%device,
                    "a rescued dump was dropped: device {device} does not exist any more");
            }
            Replayed::ForeignModel => {
                tracing::warn!(%device,
                    "a rescued dump was dropped: the token with which it came named another model than the one of device {device}");
            }
        }
        file.remove().await?;
        Ok(true)
    }

    async fn replay_dump(
        &self,
        RescuedDump { delivery, id }: RescuedDump,
        file: &dyn RescueFile,
    ) -> Result<Replayed, ReplayError> {
        let deliveries = &self.ports.deliveries;
        if let Some(id) = deliveries.find_delivery(&delivery.change).await? {
            return Ok(Replayed::RecordedBefore(id));
        }
        let Some(sender) = deliveries.find_sender(&delivery.device.key, None).await? else {
            return Ok(Replayed::UnknownDevice);
        };
        if delivery.device.check(&sender.model).is_err() {
            return Ok(Replayed::ForeignModel);
        }
        let visible = match id {
            Some(id) => self.ports.coredumps.find(sender.device_id, id).await?,
            None => None,
        };
        let id = match (id, visible) {
            (Some(id), None) => id,
            // An attempt which counted as failed has committed meanwhile.
            (Some(id), Some(dump)) if dump.sha256 == delivery.body.sha256() => {
                return Ok(Replayed::RecordedBefore(id));
            }
            // The database was restored from a backup, and the id was reserved a second time.
            (Some(_), Some(_)) | (None, _) => self.fix_fresh_id(file).await?,
        };
        let attempt = Attempt { id, device_id: sender.device_id, is_retried: true };
        match self.store(attempt, &delivery).await {
            Ok(received) => Ok(Replayed::Received(received)),
            Err(ReceiveCoredumpError::UnknownDevice) => Ok(Replayed::UnknownDevice),
            Err(error) => {
                if matches!(error, ReceiveCoredumpError::Repository(RepositoryError::Conflict)) {
                    self.fix_fresh_id(file).await?;
                }
                Err(error.into())
            }
        }
    }

    async fn fix_fresh_id(&self, file: &dyn RescueFile) -> Result<i64, ReplayError> {
        let id = self.ports.deliveries.reserve_id().await?;
        file.fix_id(id).await?;
        Ok(id)
    }
}
