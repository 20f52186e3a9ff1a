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
use super::request::error::{ApiError, ApiResult, ErrorView};
use super::request::identity::DeviceCaller;
use super::request::query::QueryFields;
use crate::metrics::Metrics;
use receiver::{Delivery, DumpReceiver, IngestCount};

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
    claims: DumpClaims,
    body: DumpBody,
    request: HttpRequest,
    receiver: Data<DumpReceiver>,
) -> ApiResult<Created<ReceivedView>> {
    let origin = caller.origin(&request);
    let delivery = Delivery { caller, claims, body, origin };
    let coredump_id = receiver.receive(delivery).await?.id();
    Ok(Created(ReceivedView { status: "ok", coredump_id }))
}

/// What a device says of its dump. A delivery that is refused for it is counted all the same.
pub struct DumpClaims {
    chip: Chip,
    firmware_version: ReportedVersion,
}

impl FromRequest for DumpClaims {
    type Error = ApiError;
    type Future = LocalBoxFuture<'static, ApiResult<Self>>;

    /// Counts when the future is polled, which does not happen when the caller was refused.
    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let request = request.clone();
        Box::pin(async move {
            let claims = Self::read(QueryFields::new(request.query_string()));
            if let (Err(_), Some(metrics)) = (&claims, request.app_data::<Data<Metrics>>()) {
                IngestCount::begin(metrics).end("rejected");
            }
            claims
        })
    }
}

impl DumpClaims {
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
        ReceiveCoredumpError::UnknownDevice => ApiError::not_found("Device", "of this dump"),
        ReceiveCoredumpError::Empty | ReceiveCoredumpError::TooLarge { .. } => {
            ApiError::invalid(format!("{error}; a dump has from 1 to {limit} bytes"))
        }
        ReceiveCoredumpError::Unreadable => ApiError::invalid(error.to_string()),
        ReceiveCoredumpError::Repository(error) => error.into(),
        ReceiveCoredumpError::Store(error) => error.into(),
        ReceiveCoredumpError::Rescued(_) => ApiError::unavailable(error),
    }
}
