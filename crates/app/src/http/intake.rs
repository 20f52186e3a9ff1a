//! Dumps that devices deliver (contract §4.5, §6.1).

pub mod receiver;

use actix_web::dev::Payload;
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest};
use coredock_domain::coredumps::coredump::{Chip, ReportedVersion};
use coredock_domain::intake::receive::ReceiveCoredumpError;
use futures::future::LocalBoxFuture;
use serde::Serialize;
use utoipa::ToSchema;

use super::request::answer::Created;
use super::request::body::complete;
use super::request::device_body::DumpBody;
use super::request::error::{ApiError, ApiResult, ErrorCode, ErrorView};
use super::request::identity::DeviceCaller;
use super::request::query::QueryFields;
use crate::metrics::Metrics;
use receiver::{Delivery, DumpReceiver, IngestCount};

/// The answer to a delivered dump. The number makes the body safe for devices (contract §2.4).
#[derive(Serialize, ToSchema)]
pub struct ReceivedView {
    /// Always `ok`.
    pub status: &'static str,
    /// Id of the dump which contains the body.
    pub coredump_id: i64,
}

/// Receives a dump.
#[utoipa::path(
    post, path = "/api/iot/coredump", tag = "device", operation_id = "upload_coredump",
    params(("device_key" = Option<String>, Query, description = "The device, without OIDC"),
        ("chip" = String, Query, description = "1 to 50 characters `a-z0-9_-`"),
        ("firmware_version" = String, Query, description = "1 to 50 printable characters")),
    request_body(content_type = "application/octet-stream",
        description = "The dump, in any framing"),
    responses(
        (status = 201, body = ReceivedView), (status = 400, body = ErrorView),
        (status = 401, body = ErrorView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView),
    )
)]
pub async fn upload_coredump(
    caller: DeviceCaller,
    parameters: DumpParameters,
    body: DumpBody,
    receiver: Data<DumpReceiver>,
) -> ApiResult<Created<ReceivedView>> {
    let delivery = Delivery { caller, parameters, body };
    let coredump_id = receiver.receive(delivery).await?.id();
    Ok(Created(ReceivedView { status: "ok", coredump_id }))
}

/// The query parameters of a delivery. A delivery is also counted if they are refused.
pub struct DumpParameters {
    chip: Chip,
    firmware_version: ReportedVersion,
}

impl FromRequest for DumpParameters {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, ApiResult<Self>>;

    /// Counts when the future is polled: it is not polled if the caller was refused.
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let parameters = Self::read(QueryFields::new(request.query_string()));
            if let (Err(_), Some(metrics)) = (&parameters, request.app_data::<Data<Metrics>>()) {
                IngestCount::begin(metrics).end("rejected");
            }
            parameters
        })
    }
}

impl DumpParameters {
    fn read(mut fields: QueryFields<'_>) -> ApiResult<Self> {
        let rule = "must be 1 to 50 characters a-z, 0-9, _ or -";
        let chip = fields.required("chip", rule, Chip::parse);
        let rule = "must be 1 to 50 printable characters";
        let version = fields.required("firmware_version", rule, ReportedVersion::parse);
        fields.finish()?;
        Ok(Self { chip: complete(chip)?, firmware_version: complete(version)? })
    }
}

pub(super) fn receive_error(error: &ReceiveCoredumpError, limit: u64) -> ApiError {
    match error {
        ReceiveCoredumpError::UnknownDevice => {
            let message = "the device that sent this dump does not exist";
            ApiError::new(ErrorCode::RecordNotFound, message)
        }
        ReceiveCoredumpError::ForeignModel(error) => error.into(),
        ReceiveCoredumpError::Empty | ReceiveCoredumpError::TooLarge { .. } => {
            ApiError::invalid(format!("{error}; a dump has from 1 to {limit} bytes"))
        }
        ReceiveCoredumpError::Unreadable => ApiError::invalid(error.to_string()),
        ReceiveCoredumpError::Repository(error) => error.into(),
        ReceiveCoredumpError::Store(error) => error.into(),
        ReceiveCoredumpError::Rescued(_) => ApiError::unavailable(error),
    }
}
