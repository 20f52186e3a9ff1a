//! Taking a dump in (contract §4.5, §6.1–§6.3): bytes first, then the row, then the answer.

use std::io::Cursor;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;

use crate::artifacts::body::ArtifactBody;
use crate::artifacts::key::ArtifactKey;
use crate::artifacts::store::ArtifactStoreError;
use crate::audit::{Change, Origin};
use crate::coredumps::Coredumps;
use crate::coredumps::body;
use crate::coredumps::body::Glance;
use crate::coredumps::coredump::{Chip, Coredump, ParseStatus, ReportedVersion};
use crate::coredumps::repository::{InitialState, RecordCoredump, Recorded, SameBody};
use crate::error::RepositoryError;
use crate::ids::DeviceKey;
use crate::intake::replay::Reception;
use crate::timestamp::Timestamp;

/// A dump on its way in.
#[derive(Debug, Clone)]
pub struct ReceiveCoredump {
    /// The device that sends it.
    pub device: DeviceKey,
    /// The chip it names.
    pub chip: Chip,
    /// The version it names.
    pub firmware_version: ReportedVersion,
    /// The body; `None` when it was larger than the limit.
    pub body: Option<ArtifactBody>,
    /// Where it comes from.
    pub origin: Origin,
}

/// A dump that arrived and has an acceptable size: all that recording it takes, now or later.
#[derive(Debug, Clone)]
pub struct Delivery {
    /// The device that sent it.
    pub device: DeviceKey,
    /// The chip it named.
    pub chip: Chip,
    /// The version it named.
    pub firmware_version: ReportedVersion,
    /// The bytes.
    pub body: ArtifactBody,
    /// When it arrived, and where from.
    pub change: Change,
}

/// What became of a dump.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Received {
    /// It is durable and visible under this id.
    Stored(i64),
    /// The dump of this id has the same body and was counted once more.
    Repeated(i64),
}

impl Received {
    /// The id the device is told.
    pub const fn id(self) -> i64 {
        match self {
            Self::Stored(id) | Self::Repeated(id) => id,
        }
    }
}

/// Why a dump was not taken in. What is in it is never a reason.
#[derive(Debug, thiserror::Error)]
pub enum ReceiveCoredumpError {
    /// There is no such device.
    #[error("device does not exist")]
    UnknownDevice,
    /// The body has no byte.
    #[error("body is empty")]
    Empty,
    /// The body is larger than the limit.
    #[error("body is larger than {limit} bytes")]
    TooLarge {
        /// The limit in bytes.
        limit: u64,
    },
    /// The database failed.
    #[error(transparent)]
    Repository(#[from] RepositoryError),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] ArtifactStoreError),
    /// Store or database failed; the dump waits in the rescue spool.
    #[error("dump was put aside")]
    Rescued(#[source] Box<ReceiveCoredumpError>),
}

/// A dump made up for a test bench (contract §17).
#[derive(Debug, Clone)]
pub struct SeedCoredump {
    /// Row of the device.
    pub device_id: i64,
    /// Key of the device.
    pub device: DeviceKey,
    /// The chip.
    pub chip: Chip,
    /// The version.
    pub firmware_version: ReportedVersion,
    /// Length of the object, all zeros, in bytes.
    pub size: usize,
    /// The state, for good.
    pub status: ParseStatus,
    /// The report for people.
    pub parsed_output: Option<String>,
    /// Who asks.
    pub origin: Origin,
}

/// An attempt to store and record a delivery.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Attempt {
    /// The reserved id.
    pub(crate) id: i64,
    /// Row of the device.
    pub(crate) device_id: i64,
    /// Whether the outcome of an earlier attempt is not known.
    pub(crate) is_retried: bool,
}

/// Counts among the dumps that are being taken in until it is dropped.
struct Arriving<'a>(&'a AtomicUsize);

impl<'a> Arriving<'a> {
    fn begin(arriving: &'a AtomicUsize) -> Self {
        arriving.fetch_add(1, Ordering::Relaxed);
        Self(arriving)
    }
}

impl Drop for Arriving<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Coredumps {
    /// Begins to take a dump in: this is the instant it arrived.
    pub fn arrived(&self, dump: ReceiveCoredump) -> Reception {
        let change = self.change(dump.origin.clone());
        Reception::new(dump, change)
    }

    /// Takes a dump in. When it returns `Ok` the bytes are durable and the row is committed (I2);
    /// when it returns an error nothing is visible, but what was rescued will be (I3).
    pub async fn receive(&self, reception: &Reception) -> Result<Received, ReceiveCoredumpError> {
        let _arriving = Arriving::begin(&self.arriving);
        let outcome = self.take_in(reception).await;
        self.conclude(reception, outcome).await
    }

    /// Whether dumps arrive faster than one after another.
    pub(crate) fn many_arrive(&self) -> bool {
        self.arriving.load(Ordering::Relaxed) > 1
    }

    async fn take_in(&self, reception: &Reception) -> Result<Received, ReceiveCoredumpError> {
        let Reception { dump, change, .. } = reception;
        let since = self.same_body_since(change.at);
        let same = dump.body.as_ref().zip(since);
        let same = same.map(|(body, since)| SameBody { sha256: body.sha256(), since });
        let sender = self.ports.coredumps.find_sender(&dump.device, same).await?;
        let sender = sender.ok_or(ReceiveCoredumpError::UnknownDevice)?;
        let delivery = self.delivery(reception)?;
        if let Some(id) = sender.repeated
            && self.ports.coredumps.repeat(id, change).await?
        {
            return Ok(Received::Repeated(id));
        }
        let id = self.reserve_for(reception).await?;
        let attempt = Attempt { id, device_id: sender.device_id, is_retried: false };
        self.keep(attempt, &delivery).await
    }

    /// What there is to record of a reception: nothing of a body that is empty or too large.
    pub(crate) fn delivery(&self, reception: &Reception) -> Result<Delivery, ReceiveCoredumpError> {
        let dump = &reception.dump;
        let limit = self.settings.largest_body;
        let body = match &dump.body {
            Some(body) if body.length() <= limit => body.clone(),
            Some(_) | None => return Err(ReceiveCoredumpError::TooLarge { limit }),
        };
        if body.length() == 0 {
            return Err(ReceiveCoredumpError::Empty);
        }
        Ok(Delivery {
            device: dump.device.clone(),
            chip: dump.chip.clone(),
            firmware_version: dump.firmware_version.clone(),
            body,
            change: reception.change.clone(),
        })
    }

    /// Stores a body under a reserved id and records it.
    pub(crate) async fn keep(
        &self,
        Attempt { id, device_id, is_retried }: Attempt,
        delivery: &Delivery,
    ) -> Result<Received, ReceiveCoredumpError> {
        let Delivery { device, body, change, .. } = delivery;
        self.put(id, device, body).await?;
        let glance = glance(body);
        let turn = self.turns.of(change.at, device, &glance);
        let record = RecordCoredump {
            id,
            device_id,
            device: device.clone(),
            chip: delivery.chip.clone(),
            firmware_version: delivery.firmware_version.clone(),
            size: body.length(),
            sha256: body.sha256(),
            build_id: glance.build_id,
            state: InitialState::Due { turn },
            same_body_since: self.same_body_since(change.at),
            kept_coredumps: self.settings.kept_coredumps,
            is_retried,
        };
        match self.ports.coredumps.record(record, change).await? {
            Recorded::Stored { pruned } => {
                self.ports.due.wake();
                self.note_pruned(device, &pruned);
                Ok(Received::Stored(id))
            }
            Recorded::Repeated { id } => {
                self.ports.outbox.wake();
                Ok(Received::Repeated(id))
            }
            Recorded::DeviceGone => {
                self.ports.outbox.wake();
                Err(ReceiveCoredumpError::UnknownDevice)
            }
        }
    }

    /// Adds a dump of zeros in a fixed state, whatever was received before; `None` when the device
    /// is gone.
    pub async fn seed(&self, seed: SeedCoredump) -> Result<Option<Coredump>, ReceiveCoredumpError> {
        let body = ArtifactBody::from(Bytes::from(vec![0; seed.size]));
        let id = self.ports.coredumps.reserve_id().await?;
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
            kept_coredumps: self.settings.kept_coredumps,
            is_retried: false,
        };
        self.ports.coredumps.record(record, &self.change(seed.origin)).await?;
        self.ports.outbox.wake();
        Ok(self.find(seed.device_id, id).await?)
    }

    async fn put(
        &self,
        id: i64,
        device: &DeviceKey,
        body: &ArtifactBody,
    ) -> Result<(), ReceiveCoredumpError> {
        let key = ArtifactKey::Coredump { device: device.clone(), id };
        self.ports.store.put(&key, body).await?;
        tracing::info!(event = "coredump_s3_upload", id, %key, bytes = body.length(), "dump stored");
        Ok(())
    }

    fn same_body_since(&self, now: Timestamp) -> Option<Timestamp> {
        let window = self.settings.same_body_for;
        (!window.is_zero()).then(|| now.before(window))
    }
}

/// What a body tells without being unwrapped; looks at a few kilobytes.
fn glance(body: &ArtifactBody) -> Glance {
    match body {
        ArtifactBody::Bytes(body) => body::glance(&mut Cursor::new(body.bytes())),
        ArtifactBody::File(file) => body::glance(&mut file.reader()),
    }
}
