//! Takes a dump from the wire to its commit (contract §4.5, §6.1).

use std::future::{Ready, ready};
use std::sync::Arc;
use std::time::{Duration, Instant};

use actix_web::dev::Payload;
use actix_web::{Error, FromRequest, HttpRequest, HttpResponse, web};
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::coredumps::coredump::{Chip, ReportedVersion};
use coredock_domain::fields::FieldFault;
use coredock_domain::intake::receive::{ReceiveCoredump, ReceiveCoredumpError, Received};
use coredock_domain::intake::replay::Reception;
use coredock_domain::{Coredumps, blocking};
use serde::Serialize;
use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::task::{JoinError, JoinHandle};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tracing::Instrument;
use utoipa::ToSchema;

use super::request::device_body::DumpBody;
use super::request::error::{ApiError, ErrorView};
use super::request::feature::Operation;
use super::request::identity::DeviceCaller;
use super::request::query::QueryFields;
use crate::metrics::Metrics;

/// The answer to a delivered dump. The number keeps it from harming a device (contract §2.4).
#[derive(Serialize, ToSchema)]
pub struct ReceivedView {
    /// Always `ok`.
    pub status: &'static str,
    /// The dump that holds the body.
    pub coredump_id: i64,
}

/// Takes a dump in.
#[utoipa::path(
    post, path = "/api/iot/coredump", tag = "device", operation_id = "upload_coredump",
    params(("device_key" = Option<String>, Query, description = "The device, without OIDC"),
        ("chip" = String, Query, description = "1 to 50 characters `a-z0-9_-`"),
        ("firmware_version" = String, Query, description = "1 to 50 printable characters")),
    request_body(content_type = "application/octet-stream", description = "The dump, whatever its framing"),
    responses(
        (status = 201, body = ReceivedView), (status = 400, body = ErrorView),
        (status = 401, body = ErrorView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView),
    )
)]
pub async fn upload_coredump(
    caller: DeviceCaller,
    intake: Intake,
) -> Result<HttpResponse, ApiError> {
    let received = intake.receive(&caller).await?;
    Ok(HttpResponse::Created().json(ReceivedView { status: "ok", coredump_id: received.id() }))
}

/// Dumps taken in at once. More would wait for the same disk, and each holds a thread.
const SEATS: usize = 32;
/// A dump that is not taken in by then is put aside and its device told so: of the 10 s it waits
/// (contract §1.7) this leaves enough to sync the file.
const RESCUE_AFTER: Duration = Duration::from_secs(8);
/// How much longer its device waits if it cannot be put aside.
const LAST_CHANCE: Duration = Duration::from_secs(1);

/// Where dumps are taken in. What lies on disks of this machine makes a thread wait: there each dump
/// gets one of its own, and changes threads twice and not at each step. Servers are waited for
/// without a thread.
pub struct IntakeDesk {
    threads: Handle,
    tasks: TaskTracker,
    seats: Arc<Semaphore>,
    waits_for_disks: bool,
}

impl IntakeDesk {
    /// Uses the threads of the runtime this is called in; `tasks` are waited for at shutdown.
    pub fn new(tasks: TaskTracker, waits_for_disks: bool) -> Self {
        let seats = Arc::new(Semaphore::new(SEATS));
        Self { threads: Handle::current(), tasks, seats, waits_for_disks }
    }

    /// Takes a dump in, whether or not anybody waits for it: the device erases its dump whatever it
    /// hears, so one that hangs up is not let down. One that takes long is put aside meanwhile.
    async fn take_in(
        &self,
        coredumps: &Coredumps,
        dump: ReceiveCoredump,
    ) -> Result<Taken, JoinError> {
        let waits = self.waits_for_disks || matches!(dump.body, Some(ArtifactBody::File(_)));
        let reception = Arc::new(coredumps.arrived(dump));
        let mut taken = self.seated(coredumps.clone(), Arc::clone(&reception), waits);
        let coredumps = coredumps.clone();
        let watching = async move {
            if let Ok(taken) = timeout(RESCUE_AFTER, &mut taken).await {
                return Ok(Taken::Ended(taken??));
            }
            if coredumps.rescue(&reception).await {
                return Ok(Taken::PutAside);
            }
            match timeout(LAST_CHANCE, &mut taken).await {
                Ok(taken) => Ok(Taken::Ended(taken??)),
                Err(_) => Ok(Taken::Late),
            }
        };
        self.tasks.spawn(watching.in_current_span()).await?
    }

    fn seated(
        &self,
        coredumps: Coredumps,
        reception: Arc<Reception>,
        waits: bool,
    ) -> JoinHandle<Result<Result<Received, ReceiveCoredumpError>, JoinError>> {
        let (threads, seats) = (self.threads.clone(), Arc::clone(&self.seats));
        let receiving = async move { coredumps.receive(&reception).await }.in_current_span();
        self.tasks.spawn(async move {
            let _seat = seats.acquire_owned().await;
            if !waits {
                return threads.spawn(receiving).await;
            }
            let runtime = threads.clone();
            let waiting = move || blocking::allow(|| runtime.block_on(receiving));
            threads.spawn_blocking(waiting).await
        })
    }
}

/// How far a dump came within the time a device waits.
enum Taken {
    /// This became of it.
    Ended(Result<Received, ReceiveCoredumpError>),
    /// It lies in the rescue spool, and is still being taken in.
    PutAside,
    /// It is still being taken in.
    Late,
}

/// Counts a delivery when it ends, also when nobody waits for its answer any more.
struct Count {
    metrics: web::Data<Metrics>,
    began: Instant,
    /// As metrics call it.
    result: &'static str,
}

impl Count {
    fn begin(metrics: web::Data<Metrics>) -> Self {
        Self { metrics, began: Instant::now(), result: "unavailable" }
    }
}

impl Drop for Count {
    fn drop(&mut self) {
        self.metrics.coredump_ingest.with_label_values(&[self.result]).inc();
        self.metrics.coredump_ingest_seconds.observe(self.began.elapsed().as_secs_f64());
    }
}

/// A dump that was not taken in.
struct Unreceived {
    error: ApiError,
    /// As metrics call it.
    result: &'static str,
}

impl From<ApiError> for Unreceived {
    fn from(error: ApiError) -> Self {
        let result = if error.is_refusal() { "rejected" } else { "unavailable" };
        Self { error, result }
    }
}

/// What a dump is taken in with; its body has been read already.
pub struct Intake {
    request: HttpRequest,
    body: Result<Option<ArtifactBody>, ApiError>,
    coredumps: web::Data<Coredumps>,
    metrics: web::Data<Metrics>,
    desk: web::Data<IntakeDesk>,
}

impl FromRequest for Intake {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let from = |payload: &mut Payload| {
            Ok(Self {
                request: request.clone(),
                body: DumpBody::from_request(request, payload).into_inner()?.0,
                coredumps: web::Data::from_request(request, payload).into_inner()?,
                metrics: web::Data::from_request(request, payload).into_inner()?,
                desk: web::Data::from_request(request, payload).into_inner()?,
            })
        };
        ready(from(payload))
    }
}

/// What a device says of its dump.
struct Claims {
    chip: Chip,
    firmware_version: ReportedVersion,
}

impl Intake {
    /// Takes the dump in and counts what became of it.
    pub async fn receive(self, caller: &DeviceCaller) -> Result<Received, ApiError> {
        let mut count = Count::begin(self.metrics.clone());
        let outcome = self.receive_uncounted(caller).await;
        count.result = match &outcome {
            Ok(Received::Stored(_)) => "stored",
            Ok(Received::Repeated(_)) => "duplicate",
            Err(unreceived) => unreceived.result,
        };
        outcome.map_err(|unreceived| unreceived.error)
    }

    /// In the order of contract §4.5: parameters, device row, body.
    async fn receive_uncounted(self, caller: &DeviceCaller) -> Result<Received, Unreceived> {
        let claims = claims(self.request.query_string()).map_err(ApiError::from)?;
        let operation = Operation::begin("iot_upload_coredump", &self.metrics);
        operation.end(self.store(caller, claims).await)
    }

    async fn store(self, caller: &DeviceCaller, claims: Claims) -> Result<Received, Unreceived> {
        let (body, unread) = match self.body {
            Ok(body) => (body, None),
            Err(error) => (None, Some(error)),
        };
        let bytes = body.as_ref().map_or(0, ArtifactBody::length);
        let dump = ReceiveCoredump {
            device: caller.known_key()?.clone(),
            chip: claims.chip,
            firmware_version: claims.firmware_version,
            body,
            origin: caller.origin(&self.request),
        };
        let taken = self.desk.take_in(&self.coredumps, dump).await;
        let late = || ApiError::outage("a dump was not taken in in time");
        let received = match taken.map_err(|error| ApiError::unexpected(error.to_string()))? {
            Taken::Ended(received) => received,
            Taken::PutAside => return Err(Unreceived { error: late(), result: "rescued" }),
            Taken::Late => return Err(late().into()),
        };
        let limit = self.coredumps.settings().largest_body;
        let received = received.map_err(|error| match (error, unread) {
            (ReceiveCoredumpError::UnknownDevice, _) => caller.unknown().into(),
            (ReceiveCoredumpError::TooLarge { .. }, Some(unread)) => unread.into(),
            (error @ ReceiveCoredumpError::Rescued(_), _) => {
                Unreceived { error: receive_error(&error, limit), result: "rescued" }
            }
            (error, _) => receive_error(&error, limit).into(),
        })?;
        self.metrics.coredump_ingest_bytes.inc_by(bytes);
        Ok(received)
    }
}

pub(super) fn receive_error(error: &ReceiveCoredumpError, limit: u64) -> ApiError {
    match error {
        ReceiveCoredumpError::UnknownDevice => ApiError::not_found("Device", "of this dump"),
        ReceiveCoredumpError::Empty | ReceiveCoredumpError::TooLarge { .. } => {
            ApiError::invalid(format!("{error}; a dump has from 1 to {limit} bytes"))
        }
        ReceiveCoredumpError::Repository(error) => error.into(),
        ReceiveCoredumpError::Store(error) => error.into(),
        ReceiveCoredumpError::Rescued(_) => ApiError::unavailable(error),
    }
}

/// Both parameters are reported when both are wrong.
fn claims(query: &str) -> Result<Claims, Vec<FieldFault>> {
    let mut fields = QueryFields::new(query);
    let rule = "must be 1 to 50 characters a-z, 0-9, _ or -";
    let chip = fields.required("chip", rule, Chip::parse);
    let rule = "must be 1 to 50 printable characters";
    let version = fields.required("firmware_version", rule, ReportedVersion::parse);
    let claims =
        chip.zip(version).map(|(chip, firmware_version)| Claims { chip, firmware_version });
    let faults = fields.finish();
    claims.ok_or_else(|| faults.err().unwrap_or_default())
}
