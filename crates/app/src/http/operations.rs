//! Routes for operators and their tools (contract §14, §8.6).

use std::future::{Ready, ready};

use actix_web::dev::Payload;
use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::web::Data;
use actix_web::{FromRequest, HttpRequest, HttpResponse};
use coredock_domain::Firmware;
use coredock_domain::coredumps::pruned::PrunedCoredumps;
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::openapi;
use super::request::error::{ApiError, ApiResult, ErrorView};
use super::request::identity::Public;
use crate::config::Secret;
use crate::health::{Health, Readiness};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// The answer of a process that is alive.
#[derive(Serialize, ToSchema)]
pub struct LivenessView {
    /// Always true.
    pub ready: bool,
    /// `alive`
    pub status: &'static str,
}

/// Whether the store decides readiness (`READYZ_STORE_REQUIRED`).
#[derive(Debug, Clone, Copy)]
pub struct StoreDecidesReadiness(pub bool);

/// The token that callers of `/metrics` must present; `None`: `/metrics` is open.
pub struct MetricsGuard(pub Option<Secret>);

/// Whether the process is alive.
#[utoipa::path(get, path = "/health/healthz", tag = "operation", operation_id = "get_liveness",
    responses((status = 200, body = LivenessView)))]
pub async fn get_liveness(_: Public) -> HttpResponse {
    HttpResponse::Ok().json(LivenessView { ready: true, status: "alive" })
}

/// Whether requests should be sent to this process.
#[utoipa::path(get, path = "/health/readyz", tag = "operation", operation_id = "get_readiness",
    responses((status = 200, body = serde_json::Value), (status = 503, body = serde_json::Value)))]
pub async fn get_readiness(
    _: Public,
    health: Data<Health>,
    store: Data<StoreDecidesReadiness>,
    shutdown: Data<Shutdown>,
) -> HttpResponse {
    if shutdown.has_begun() {
        let body = json!({"ready": false, "status": "shutting down"});
        return HttpResponse::ServiceUnavailable().json(body);
    }
    let found = health.readiness().await;
    let ready = found.migrations_pending == Some(0) && (found.store || !store.0);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(status).json(readiness_body(found, ready, &health))
}

fn readiness_body(found: Readiness, ready: bool, health: &Health) -> serde_json::Value {
    let parts = [
        (found.store, "artifact_store"),
        (found.symbolizer, "symbolizer"),
        (found.identity_provider, "identity_provider"),
    ];
    let degraded: Vec<&str> =
        parts.into_iter().filter(|(works, _)| !works).map(|(_, name)| name).collect();
    let migrated = found.migrations_pending == Some(0);
    json!({
        "status": if ready { "ready" } else { "not ready" },
        "ready": ready,
        "degraded": degraded,
        "database": {
            "ok": migrated,
            "connected": found.database_answers(),
            "migrations_pending": found.migrations_pending,
        },
        "artifact_store": {"ok": found.store, "kind": health.store_kind(), "writable": found.store},
        "symbolizer": {"ok": found.symbolizer, "engine": health.engine()},
        "mqtt": {"ok": true, "enabled": false, "connected": false},
        "identity_provider": {
            "ok": found.identity_provider,
            "enabled": health.has_identity_provider(),
        },
    })
}

/// The metrics of the process.
#[utoipa::path(get, path = "/metrics", tag = "operation", operation_id = "get_metrics",
    responses((status = 200, content_type = "text/plain", body = String),
        (status = 401, body = ErrorView)))]
pub async fn get_metrics(
    _: Public,
    _: MetricsReader,
    metrics: Data<Metrics>,
    health: Data<Health>,
    firmware: Data<Firmware>,
    pruned: Data<PrunedCoredumps>,
) -> ApiResult<HttpResponse> {
    metrics.read_database(health.database());
    metrics.read_resumes(firmware.resumes());
    metrics.read_pruned_dumps(pruned.count());
    let text = metrics.text().map_err(|error| ApiError::unexpected(error.to_string()))?;
    let content_type = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    Ok(HttpResponse::Ok().insert_header(content_type).body(text))
}

/// A caller that presents the token of the metrics, if one is set.
pub struct MetricsReader;

impl FromRequest for MetricsReader {
    type Error = ApiError;
    type Future = Ready<ApiResult<Self>>;

    fn from_request(request: &HttpRequest, _: &mut Payload) -> Self::Future {
        let token = request.app_data::<Data<MetricsGuard>>().and_then(|guard| guard.0.as_ref());
        let is_refused = token.is_some_and(|token| !presents(request.headers(), token));
        let error = || Err(ApiError::unauthenticated("the metrics token is required"));
        ready(if is_refused { error() } else { Ok(Self) })
    }
}

/// Compares digests, so that the duration of the comparison reveals nothing about the token.
fn presents(headers: &HeaderMap, token: &Secret) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|text| text.split_once(' '));
    sent.is_some_and(|(scheme, sent)| {
        scheme.eq_ignore_ascii_case("bearer")
            && Sha256::digest(sent) == Sha256::digest(token.reveal())
    })
}

/// The `OpenAPI` document.
#[utoipa::path(get, path = "/api/docs/openapi.json", tag = "operation",
    operation_id = "get_openapi", responses((status = 200, body = serde_json::Value)))]
pub async fn get_openapi(_: Public) -> ApiResult<HttpResponse> {
    let text = openapi::document().map_err(|error| ApiError::unexpected(error.to_string()))?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).body(text))
}
