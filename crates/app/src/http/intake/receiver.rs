//! Receives a dump within the time its device waits (contract §1.7, §6.1).

use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::web::Data;
use coredock_domain::Intake;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::intake::receive::{
    BodyFault, IncomingCoredump, ReceiveCoredump, ReceiveCoredumpError, Received,
};
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tracing::Instrument;

use super::{DumpParameters, receive_error};
use crate::http::request::detached::DetachedTasks;
use crate::http::request::device_body::DumpBody;
use crate::http::request::error::{ApiError, ApiResult};
use crate::http::request::identity::DeviceCaller;
use crate::metrics::Metrics;

/// Dumps received at once. More would wait for the same disk, and each occupies a thread.
const PERMITS: usize = 32;
/// A dump that is not stored by then is written to the rescue spool, and its device is answered.
/// Devices wait 10 s (contract §1.7), so this leaves enough time to sync the file.
const RESCUE_AFTER: Duration = Duration::from_secs(8);
/// How much longer the device waits if its dump cannot be rescued.
const FINAL_WAIT: Duration = Duration::from_secs(1);

/// Receives dumps. With a disk of this machine each step would block a thread: there a dump runs on
/// one thread of the blocking pool, which costs two changes of thread in total instead of two per
/// step. A dump that waits for servers occupies no thread.
pub struct DumpReceiver {
    intake: Intake,
    metrics: Data<Metrics>,
    threads: Handle,
    tasks: DetachedTasks,
    permits: Arc<Semaphore>,
    waits_for_disks: bool,
}

/// A dump that a device sent.
pub struct Delivery {
    pub caller: DeviceCaller,
    pub parameters: DumpParameters,
    pub body: DumpBody,
}

/// The state of a dump when its device must be answered.
enum Progress {
    Ended(Result<Received, ReceiveCoredumpError>),
    /// The dump is in the rescue spool, and is still being received.
    Rescued,
    /// The dump is still being received.
    Late,
}

/// Why a dump was not received.
struct NotReceived {
    error: ApiError,
    /// Label `result` of the metrics.
    result: &'static str,
}

impl DumpReceiver {
    /// Receives on the threads of the runtime in which this is called.
    pub fn new(
        intake: Intake,
        metrics: Data<Metrics>,
        tasks: DetachedTasks,
        waits_for_disks: bool,
    ) -> Self {
        let permits = Arc::new(Semaphore::new(PERMITS));
        Self { intake, metrics, threads: Handle::current(), tasks, permits, waits_for_disks }
    }

    /// Receives a dump and counts its result.
    pub(super) async fn receive(&self, delivery: Delivery) -> ApiResult<Received> {
        let count = IngestCount::begin(&self.metrics);
        let outcome = self.store(delivery).await;
        count.end(match &outcome {
            Ok(Received::Stored(_)) => "stored",
            Ok(Received::Repeated(_)) => "duplicate",
            Err(failure) => failure.result,
        });
        outcome.map_err(|failure| failure.error)
    }

    /// In the order of contract §4.5: device row, body.
    async fn store(&self, delivery: Delivery) -> Result<Received, NotReceived> {
        let Delivery { caller, parameters, body } = delivery;
        let bytes = body.length();
        let (body, unread) = match body {
            DumpBody::Complete(body) => (Ok(body), None),
            DumpBody::TooLarge => (Err(BodyFault::TooLarge), None),
            DumpBody::Unread(error) => (Err(BodyFault::Unreadable), Some(error)),
        };
        let dump = ReceiveCoredump {
            device: caller.claim()?.clone(),
            chip: parameters.chip,
            firmware_version: parameters.firmware_version,
            body,
            origin: caller.origin(),
        };
        let device = dump.device.key.clone();
        let late = || {
            ApiError::outage(format!("dump of device {device} not stored after {RESCUE_AFTER:?}"))
        };
        let received = match self.receive_in_time(dump).await? {
            Progress::Ended(received) => received,
            Progress::Rescued => return Err(NotReceived { error: late(), result: "rescued" }),
            Progress::Late => return Err(late().into()),
        };
        let limit = self.intake.settings().max_body_bytes;
        let received = received.map_err(|error| match (error, unread) {
            (ReceiveCoredumpError::UnknownDevice, _) => caller.unknown().into(),
            (ReceiveCoredumpError::Unreadable, Some(unread)) => unread.into(),
            (error @ ReceiveCoredumpError::Rescued(_), _) => {
                NotReceived { error: receive_error(&error, limit), result: "rescued" }
            }
            (error, _) => receive_error(&error, limit).into(),
        })?;
        self.metrics.coredump_ingest_bytes.inc_by(bytes);
        Ok(received)
    }

    /// Receives a dump even if its device hangs up, because the device erases its dump whatever the
    /// answer is. A dump that takes long is also written to the rescue spool.
    async fn receive_in_time(&self, dump: ReceiveCoredump) -> ApiResult<Progress> {
        let waits = self.waits_for_disks || matches!(dump.body, Ok(ArtifactBody::File(_)));
        let incoming = Arc::new(self.intake.arrived(dump));
        let mut receiving = self.start(Arc::clone(&incoming), waits);
        let intake = self.intake.clone();
        let watching = async move {
            if let Ok(ended) = timeout(RESCUE_AFTER, &mut receiving).await {
                return Ok::<_, ApiError>(Progress::Ended(ended??));
            }
            if intake.rescue(&incoming).await {
                return Ok(Progress::Rescued);
            }
            match timeout(FINAL_WAIT, &mut receiving).await {
                Ok(ended) => Ok(Progress::Ended(ended??)),
                Err(_) => Ok(Progress::Late),
            }
        };
        self.tasks.run(watching).await?
    }

    /// Starts to receive the dump as soon as a permit is free.
    fn start(
        &self,
        incoming: Arc<IncomingCoredump>,
        waits: bool,
    ) -> JoinHandle<Result<Result<Received, ReceiveCoredumpError>, JoinError>> {
        let (threads, permits) = (self.threads.clone(), Arc::clone(&self.permits));
        let intake = self.intake.clone();
        let receiving = async move { intake.receive(&incoming).await }.in_current_span();
        self.tasks.0.spawn(async move {
            let _permit = permits.acquire_owned().await;
            if !waits {
                return threads.spawn(receiving).await;
            }
            let runtime = threads.clone();
            threads.spawn_blocking(move || runtime.block_on(receiving)).await
        })
    }
}

impl From<ApiError> for NotReceived {
    fn from(error: ApiError) -> Self {
        let result = if error.is_refusal() { "rejected" } else { "unavailable" };
        Self { error, result }
    }
}

/// Counts a delivery when it ends, even if its device hangs up.
pub(super) struct IngestCount {
    metrics: Data<Metrics>,
    began: Instant,
    /// Label `result` of the metrics.
    result: &'static str,
}

impl IngestCount {
    pub(super) fn begin(metrics: &Data<Metrics>) -> Self {
        Self { metrics: metrics.clone(), began: Instant::now(), result: "unavailable" }
    }

    pub(super) fn end(mut self, result: &'static str) {
        self.result = result;
    }
}

impl Drop for IngestCount {
    fn drop(&mut self) {
        self.metrics.coredump_ingest.with_label_values(&[self.result]).inc();
        self.metrics.coredump_ingest_seconds.observe(self.began.elapsed().as_secs_f64());
    }
}
