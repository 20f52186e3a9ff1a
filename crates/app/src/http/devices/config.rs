//! The configuration that a device requests (contract §4.2).

use actix_web::HttpResponse;
use actix_web::http::header::{self, HeaderName};
use actix_web::web::Data;
use coredock_domain::Devices;

use crate::http::request::error::{ApiResult, ErrorView};
use crate::http::request::identity::DeviceCaller;

/// Marks a configuration that may be out of date (contract §4.2).
const STALE: HeaderName = HeaderName::from_static("x-coredock-stale");

/// The configuration of the device.
#[utoipa::path(
    get, path = "/api/iot/config", tag = "device", operation_id = "get_iot_config",
    params(("device_key" = Option<String>, Query, description = "The device, without OIDC")),
    responses(
        (status = 200, description = "The stored configuration; with `X-Coredock-Stale: true` the configuration served last, while the database is unreachable", content_type = "application/json", body = serde_json::Value),
        (status = 401, body = ErrorView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView),
    )
)]
pub async fn get_iot_config(
    caller: DeviceCaller,
    devices: Data<Devices>,
) -> ApiResult<HttpResponse> {
    let config = devices.served_config(caller.claim()?).await;
    let config = config.map_err(|error| caller.refused(&error))?;
    let mut answer = HttpResponse::Ok();
    answer
        .insert_header((header::CONTENT_TYPE, "application/json"))
        .insert_header((header::CACHE_CONTROL, "no-cache"));
    if config.is_stale {
        answer.insert_header((STALE, "true"));
    }
    Ok(answer.body(config.text.to_string()))
}
