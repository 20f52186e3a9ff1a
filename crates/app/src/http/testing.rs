//! Routes for test benches (contract §17), which are available in testing mode only.

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use coredock_domain::audit::Origin;
use coredock_domain::coredumps::coredump::{Chip, ParseStatus, ReportedVersion};
use coredock_domain::fields::{JsonFields, integer, verbatim_text};
use coredock_domain::ids::DeviceKey;
use coredock_domain::intake::receive::SeedCoredump;
use coredock_domain::{Devices, Intake};
use serde_json::Value;

use super::coredumps::views::CoredumpView;
use super::devices::unknown_device;
use super::intake::receive_error;
use super::request::answer::Created;
use super::request::body::{FromBody, ValidBody, complete};
use super::request::error::{ApiError, ApiResult, ErrorCode, ErrorView};
use super::request::identity::Editor;

/// Maximum length of a dump under any configuration (contract §13).
const MAX_SIZE: i64 = 16 * 1024 * 1024;
const DEFAULT_CHIP: &str = "esp32s3";
const DEFAULT_VERSION: &str = "0.0.0-test";
const DEFAULT_SIZE: i64 = 262_144;
const DEFAULT_REASON: &str = "Unable to parse coredump: made up for a test bench";
const DEFAULT_REPORT: &str = "This report was made up for a test bench.";

/// Whether this is a test bench (`COREDOCK_ENV=testing`).
#[derive(Debug, Clone, Copy)]
pub struct TestingMode(pub bool);

/// Any caller, in testing mode.
pub struct TestBench;

impl FromRequest for TestBench {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let mode = request.app_data::<Data<TestingMode>>();
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
    _: TestBench,
    caller: Editor,
    body: ValidBody<RequestedCoredump>,
    devices: Data<Devices>,
    intake: Data<Intake>,
) -> ApiResult<Created<CoredumpView>> {
    let device_id = body.0.device_id;
    let device = devices.find(device_id).await?.ok_or_else(|| unknown_device(device_id))?;
    let seeded = intake.seed(body.0.into_seed(device.key, caller.origin())).await;
    let limit = intake.settings().max_body_bytes;
    let seeded = seeded.map_err(|error| receive_error(&error, limit))?;
    Ok(Created(seeded.ok_or_else(|| unknown_device(device_id))?.into()))
}

/// The dump to be added.
pub struct RequestedCoredump {
    device_id: i64,
    chip: Chip,
    firmware_version: ReportedVersion,
    size: usize,
    status: ParseStatus,
    parsed_output: Option<String>,
}

impl RequestedCoredump {
    fn into_seed(self, device: DeviceKey, origin: Origin) -> SeedCoredump {
        SeedCoredump {
            device_id: self.device_id,
            device,
            chip: self.chip,
            firmware_version: self.firmware_version,
            size: self.size,
            status: self.status,
            parsed_output: self.parsed_output,
            origin,
        }
    }
}

impl FromBody for RequestedCoredump {
    fn from_body(mut fields: JsonFields, _: &HttpRequest) -> ApiResult<Self> {
        let device_id = fields.required("device_id", integer);
        let rule = "must be 1 to 50 characters a-z, 0-9, _ or -";
        let chip = fields.optional("chip", |value| text(value, rule, Chip::parse));
        let rule = "must be 1 to 50 printable characters";
        let read_version = |value: &Value| text(value, rule, ReportedVersion::parse);
        let version = fields.optional("firmware_version", read_version);
        let size = fields.optional("size", size);
        let rule = "must be PENDING, PARSED or ERROR";
        let status = fields.optional("parse_status", |value| text(value, rule, ParseStatus::parse));
        let parsed_output = fields.optional("parsed_output", verbatim_text);
        fields.finish()?;
        let status = status.flatten().unwrap_or(ParseStatus::Parsed);
        let default_output = || match status {
            ParseStatus::Pending => None,
            ParseStatus::Parsed => Some(DEFAULT_REPORT.to_owned()),
            ParseStatus::Error => Some(DEFAULT_REASON.to_owned()),
        };
        let default_version = || ReportedVersion::parse(DEFAULT_VERSION);
        Ok(Self {
            device_id: complete(device_id)?,
            chip: complete(chip.flatten().or_else(|| Chip::parse(DEFAULT_CHIP)))?,
            firmware_version: complete(version.flatten().or_else(default_version))?,
            size: complete(usize::try_from(size.flatten().unwrap_or(DEFAULT_SIZE)).ok())?,
            status,
            parsed_output: parsed_output.flatten().or_else(default_output),
        })
    }
}

fn text<T>(value: &Value, rule: &str, read: impl FnOnce(&str) -> Option<T>) -> Result<T, String> {
    read(&verbatim_text(value)?).ok_or_else(|| rule.into())
}

fn size(value: &Value) -> Result<i64, String> {
    let size = integer(value)?;
    let fits = (1..=MAX_SIZE).contains(&size);
    fits.then_some(size).ok_or_else(|| format!("must be from 1 to {MAX_SIZE}"))
}
