//! Routes for test benches (contract §17): they answer in testing mode only.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::{FromRequest, HttpRequest, HttpResponse, web};
use coredock_domain::audit::Origin;
use coredock_domain::coredumps::coredump::{Chip, Coredump, ParseStatus, ReportedVersion};
use coredock_domain::fields::{JsonFields, integer, verbatim_text};
use coredock_domain::ids::DeviceKey;
use coredock_domain::intake::receive::SeedCoredump;
use coredock_domain::{Coredumps, Devices};
use serde_json::Value;

use super::coredumps::views::CoredumpView;
use super::devices::unknown_device;
use super::intake::receive_error;
use super::request::body::JsonBody;
use super::request::error::{ApiError, ErrorCode, ErrorView};
use super::request::identity::Editor;

/// Largest body a device may deliver under any configuration (contract §13).
const LARGEST_SIZE: i64 = 16 * 1024 * 1024;
const DEFAULT_CHIP: &str = "esp32s3";
const DEFAULT_VERSION: &str = "0.0.0-test";
const DEFAULT_SIZE: i64 = 262_144;
const DEFAULT_REASON: &str = "Unable to parse coredump: made up for a test bench";
const DEFAULT_REPORT: &str = "This report was made up for a test bench.";

/// Whether this is a test bench (`COREDOCK_ENV=testing`).
#[derive(Debug, Clone, Copy)]
pub struct TestingMode(pub bool);

/// A request that may use the routes of testing mode.
pub struct Bench;

impl FromRequest for Bench {
    type Error = ApiError;
    type Future = Ready<Result<Self, ApiError>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let mode = request.app_data::<web::Data<TestingMode>>();
        let message = "the route answers in testing mode only";
        let refused = || ApiError::new(ErrorCode::RouteNotAvailable, message);
        ready(mode.filter(|mode| mode.0).map(|_| Self).ok_or_else(refused))
    }
}

/// Adds a dump of zeros that no worker ever claims.
#[utoipa::path(post, path = "/api/testing/coredumps", tag = "testing",
    operation_id = "seed_coredump",
    request_body(content = serde_json::Value, description = "`device_id`, and optionally `chip`, `firmware_version`, `size`, `parse_status`, `parsed_output`"),
    responses((status = 201, body = CoredumpView), (status = 400, body = ErrorView),
        (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn seed_coredump(
    _: Bench,
    caller: Editor,
    body: JsonBody,
    (devices, coredumps): (web::Data<Devices>, web::Data<Coredumps>),
) -> Result<HttpResponse, ApiError> {
    let wanted = wanted(body.0)?;
    let device = devices.find(wanted.device_id).await?;
    let device = device.ok_or_else(|| unknown_device(wanted.device_id))?;
    let dump = seed(&coredumps, wanted, device.key, caller.origin()).await?;
    Ok(HttpResponse::Created().json(CoredumpView::from(dump)))
}

struct Wanted {
    device_id: i64,
    chip: Chip,
    firmware_version: ReportedVersion,
    size: usize,
    status: ParseStatus,
    parsed_output: Option<String>,
}

async fn seed(
    coredumps: &Coredumps,
    wanted: Wanted,
    device: DeviceKey,
    origin: Origin,
) -> Result<Coredump, ApiError> {
    let device_id = wanted.device_id;
    let seeded = coredumps.seed(SeedCoredump {
        device_id,
        device,
        chip: wanted.chip,
        firmware_version: wanted.firmware_version,
        size: wanted.size,
        status: wanted.status,
        parsed_output: wanted.parsed_output,
        origin,
    });
    let limit = coredumps.settings().largest_body;
    let seeded = seeded.await.map_err(|error| receive_error(&error, limit))?;
    seeded.ok_or_else(|| unknown_device(device_id))
}

fn wanted(mut fields: JsonFields) -> Result<Wanted, ApiError> {
    let device_id = fields.required("device_id", integer);
    let chip = fields.optional("chip", |value| text(value, Chip::parse));
    let version = fields.optional("firmware_version", |value| text(value, ReportedVersion::parse));
    let size = fields.optional("size", size);
    let status = fields.optional("parse_status", |value| text(value, ParseStatus::parse));
    let parsed_output = fields.optional("parsed_output", verbatim_text);
    fields.finish()?;
    let defaulted = || {
        let status = status.flatten().unwrap_or(ParseStatus::Parsed);
        let made_up = || match status {
            ParseStatus::Pending => None,
            ParseStatus::Parsed => Some(DEFAULT_REPORT.to_owned()),
            ParseStatus::Error => Some(DEFAULT_REASON.to_owned()),
        };
        Some(Wanted {
            device_id: device_id?,
            chip: chip.flatten().or_else(|| Chip::parse(DEFAULT_CHIP))?,
            firmware_version: version
                .flatten()
                .or_else(|| ReportedVersion::parse(DEFAULT_VERSION))?,
            size: usize::try_from(size.flatten().unwrap_or(DEFAULT_SIZE)).ok()?,
            status,
            parsed_output: parsed_output.clone().flatten().or_else(made_up),
        })
    };
    defaulted().ok_or_else(|| ApiError::unexpected("a field is missing without a fault"))
}

fn text<T>(value: &Value, read: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
    read(&verbatim_text(value)?).ok_or_else(|| "is not acceptable".into())
}

fn size(value: &Value) -> Result<i64, String> {
    let size = integer(value)?;
    let fits = (1..=LARGEST_SIZE).contains(&size);
    fits.then_some(size).ok_or_else(|| format!("must be from 1 to {LARGEST_SIZE}"))
}
