//! Receives dumps (contract §4.5, §6.1–§6.3): first the object, then the row, then the answer.

use std::io::Cursor;

use bytes::Bytes;
use futures::lock::Mutex;

use super::Intake;
use crate::artifacts::body::ArtifactBody;
use crate::artifacts::key::ArtifactKey;
use crate::artifacts::store::ArtifactStoreError;
use crate::audit::{Change, Origin};
use crate::coredumps::body::{CauseHint, cause_hint};
use crate::coredumps::coredump::{Chip, Coredump, ParseStatus, ReportedVersion};
use crate::error::RepositoryError;
use crate::identity::device::{DeviceClaim, ForeignModel};
use crate::ids::DeviceKey;
use crate::intake::repository::{InitialState, RecordCoredump, Recorded, SameBody};
use crate::intake::spool::RescueFile;
use crate::timestamp::Timestamp;
use crate::wakeup::Worker;

/// The upload of a dump by a device.
#[derive(Debug, Clone)]
pub struct ReceiveCoredump {
    pub device: DeviceClaim,
    /// The chip the device names.
    pub chip: Chip,
    /// The version the device names.
    pub firmware_version: ReportedVersion,
    pub body: Result<ArtifactBody, BodyFault>,
    pub origin: Origin,
}

/// Why the body of an upload was not received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BodyFault {
    /// It is larger than the limit.
    TooLarge,
    /// It could not be read to its end.
    Unreadable,
}

/// A complete dump of an accepted size, with all that is needed to store it now or later.
#[derive(Debug, Clone)]
pub struct Delivery {
    pub device: DeviceClaim,
    /// The chip the device named.
    pub chip: Chip,
    /// The version the device named.
    pub firmware_version: ReportedVersion,
    pub body: ArtifactBody,
    /// When it arrived, and its origin.
    pub change: Change,
}

/// A dump being received, shared by the task which stores it and the task which watches the time.
pub struct IncomingCoredump {
    pub(super) dump: ReceiveCoredump,
    pub(super) change: Change,
    pub(super) progress: Mutex<Progress>,
}

/// What was done so far with an incoming dump.
#[derive(Default)]
pub(super) struct Progress {
    /// The reserved id.
    pub(super) id: Option<i64>,
    /// The dump in the spool.
    pub(super) file: Option<Box<dyn RescueFile>>,
    pub(super) has_ended: bool,
}

/// The outcome of a delivery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// The dump is durable and visible under this id.
    Stored(i64),
    /// The dump of this id has the same body and was counted once more.
    Repeated(i64),
}

impl Received {
    /// The id for the answer to the device.
    pub const fn id(self) -> i64 {
        match self {
            Self::Stored(id) | Self::Repeated(id) => id,
        }
    }
}

/// Why a dump was not stored; never because of its content.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveCoredumpError {
    #[error("device does not exist")]
    UnknownDevice,
    #[error(transparent)]
    ForeignModel(#[from] ForeignModel),
    #[error("body is empty")]
    Empty,
    #[error("body is larger than {limit} bytes")]
    TooLarge { limit: u64 },
    #[error("body could not be read to its end")]
    Unreadable,
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    #[error(transparent)]
    Store(#[from] ArtifactStoreError),
    /// Store or database failed; the dump waits in the rescue spool.
    #[error("dump was saved to the rescue spool")]
    Rescued(#[source] Box<ReceiveCoredumpError>),
}

/// An artificial dump for a test environment (contract §17).
#[derive(Debug, Clone)]
pub struct SeedCoredump {
    pub device_id: i64,
    pub device: DeviceKey,
    pub chip: Chip,
    pub firmware_version: ReportedVersion,
    /// Length of the object in bytes, which are all zero.
    pub size: usize,
    /// Never changes.
    pub status: ParseStatus,
    /// The report for people.
    pub parsed_output: Option<String>,
    pub origin: Origin,
}

/// An attempt to store and record a delivery.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attempt {
    /// The reserved id.
    pub(super) id: i64,
    pub(super) device_id: i64,
    /// Whether the outcome of an earlier attempt is unknown.
    pub(super) is_retried: bool,
}

impl Intake {
    /// Begins the intake of a dump which arrives now.
    pub fn arrived(&self, dump: ReceiveCoredump) -> IncomingCoredump {
        let change = Change::now(&*self.ports.clock, dump.origin.clone());
        IncomingCoredump { dump, change, progress: Mutex::default() }
    }

    /// Stores and records a dump. When this returns `Ok`, the object is durable and the row is
    /// committed (I2). When it returns an error, nothing is visible yet; a rescued dump will be
    /// (I3).
    pub async fn receive(
        &self,
        incoming: &IncomingCoredump,
    ) -> Result<Received, ReceiveCoredumpError> {
        let _arriving = self.arrivals.begin();
        let outcome = self.receive_or_fail(incoming).await;
        self.end(incoming, outcome).await
    }

    async fn receive_or_fail(
        &self,
        incoming: &IncomingCoredump,
    ) -> Result<Received, ReceiveCoredumpError> {
        let IncomingCoredump { dump, change, .. } = incoming;
        let since = self.same_body_since(change.at);
        let same = dump.body.as_ref().ok().zip(since);
        let same = same.map(|(body, since)| SameBody { sha256: body.sha256(), since });
        let sender = self.ports.deliveries.find_sender(&dump.device.key, same).await?;
        let sender = sender.ok_or(ReceiveCoredumpError::UnknownDevice)?;
        dump.device.check(&sender.model)?;
        let delivery = self.delivery(incoming)?;
        if let Some(id) = sender.repeated
            && self.ports.deliveries.repeat(id, change).await?
        {
            return Ok(Received::Repeated(id));
        }
        let id = self.reserve_id(incoming).await?;
        let attempt = Attempt { id, device_id: sender.device_id, is_retried: false };
        self.store(attempt, &delivery).await
    }

    /// The dump to store; an error when its body is empty, too large or incomplete.
    pub(super) fn delivery(
        &self,
        incoming: &IncomingCoredump,
    ) -> Result<Delivery, ReceiveCoredumpError> {
        let dump = &incoming.dump;
        let limit = self.settings.max_body_bytes;
        let body = match &dump.body {
            Ok(body) if body.length() <= limit => body.clone(),
            Ok(_) | Err(BodyFault::TooLarge) => {
                return Err(ReceiveCoredumpError::TooLarge { limit });
            }
            Err(BodyFault::Unreadable) => return Err(ReceiveCoredumpError::Unreadable),
        };
        if body.length() == 0 {
            return Err(ReceiveCoredumpError::Empty);
        }
        Ok(Delivery {
            device: dump.device.clone(),
            chip: dump.chip.clone(),
            firmware_version: dump.firmware_version.clone(),
            body,
            change: incoming.change.clone(),
        })
    }

    /// Stores a body under a reserved id and records it.
    pub(super) async fn store(
        &self,
        Attempt { id, device_id, is_retried }: Attempt,
        delivery: &Delivery,
    ) -> Result<Received, ReceiveCoredumpError> {
        let Delivery { device: DeviceClaim { key: device, .. }, body, change, .. } = delivery;
        self.put(id, device, body).await?;
        let hint = hint_of(body);
        let position = self.queue.position(change.at, device, &hint);
        let record = RecordCoredump {
            id,
            device_id,
            device: device.clone(),
            chip: delivery.chip.clone(),
            firmware_version: delivery.firmware_version.clone(),
            size: body.length(),
            sha256: body.sha256(),
            build_id: hint.build_id,
            state: InitialState::Due { position },
            same_body_since: self.same_body_since(change.at),
            max_coredumps: self.settings.max_coredumps,
            is_retried,
        };
        match self.ports.deliveries.record(record, change).await? {
            Recorded::Stored { pruned } => {
                self.ports.wakeup.wake(Worker::Parsing);
                self.pruned.note(device, &pruned, &*self.ports.wakeup);
                Ok(Received::Stored(id))
            }
            Recorded::Repeated { id } => {
                self.ports.wakeup.wake(Worker::Outbox);
                Ok(Received::Repeated(id))
            }
            Recorded::DeviceDeleted => {
                self.ports.wakeup.wake(Worker::Outbox);
                Err(ReceiveCoredumpError::UnknownDevice)
            }
        }
    }

    /// Adds a dump of zeros in a fixed state, even if the device has one with the same body; `None`
    /// when the device does not exist any more.
    pub async fn seed(&self, seed: SeedCoredump) -> Result<Option<Coredump>, ReceiveCoredumpError> {
        let body = ArtifactBody::from(Bytes::from(vec![0; seed.size]));
        let id = self.ports.deliveries.reserve_id().await?;
        self.put(id, &seed.device, &body).await?;
        let record = RecordCoredump {
            id,
            device_id: seed.device_id,
            device: seed.device,
            chip: seed.chip,
            firmware_version: seed.firmware_version,
            size: body.length(),
            sha256: body.sha256(),
            build_id: None,
            state: InitialState::Fixed { status: seed.status, parsed_output: seed.parsed_output },
            same_body_since: None,
            max_coredumps: self.settings.max_coredumps,
            is_retried: false,
        };
        let change = Change::now(&*self.ports.clock, seed.origin);
        self.ports.deliveries.record(record, &change).await?;
        self.ports.wakeup.wake(Worker::Outbox);
        Ok(self.ports.coredumps.find(seed.device_id, id).await?)
    }

    async fn put(
        &self,
        id: i64,
        device: &DeviceKey,
        body: &ArtifactBody,
    ) -> Result<(), ReceiveCoredumpError> {
        let key = ArtifactKey::Coredump { device: device.clone(), id };
        self.ports.store.put(&key, body).await?;
        let bytes = body.length();
        tracing::info!(event = "coredump_s3_upload", id, %key, bytes, "object of dump {id} stored");
        Ok(())
    }

    fn same_body_since(&self, now: Timestamp) -> Option<Timestamp> {
        let window = self.settings.deduplication_window;
        (!window.is_zero()).then(|| now.before(window))
    }
}

/// The hint in the first kilobytes of a body, see [`cause_hint`].
fn hint_of(body: &ArtifactBody) -> CauseHint {
    match body {
        ArtifactBody::Bytes(body) => cause_hint(&mut Cursor::new(body.bytes())),
        ArtifactBody::File(file) => cause_hint(&mut file.reader()),
    }
}
