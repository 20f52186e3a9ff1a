//! What operators and their machines call (contract §14, §8.6).

use actix_web::http::StatusCode;
use actix_web::http::header::{self, HeaderMap};
use actix_web::{HttpRequest, HttpResponse, web};
use coredock_domain::{Coredumps, Firmware};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use utoipa::ToSchema;

use super::openapi;
use super::request::error::{ApiError, ErrorView};
use crate::config::Secret;
use crate::health::{Health, Readiness};
use crate::metrics::Metrics;
use crate::shutdown::Shutdown;

/// Liveness.
#[derive(Serialize, ToSchema)]
pub struct LivenessView {
    /// Always true.
    pub ready: bool,
    /// `alive`
    pub status: &'static str,
}

/// Whether the store decides readiness (`READYZ_STORE_REQUIRED`).
#[derive(Debug, Clone, Copy)]
pub struct StoreDecides(pub bool);

/// What `/metrics` asks for, if anything.
pub struct MetricsGuard(pub Option<Secret>);

/// Whether the process serves.
#[utoipa::path(get, path = "/health/healthz", tag = "operation", operation_id = "get_liveness",
    responses((status = 200, body = LivenessView)))]
pub async fn get_liveness() -> HttpResponse {
    HttpResponse::Ok().json(LivenessView { ready: true, status: "alive" })
}

/// Whether requests should be sent here.
#[utoipa::path(get, path = "/health/readyz", tag = "operation", operation_id = "get_readiness",
    responses((status = 200, body = serde_json::Value), (status = 503, body = serde_json::Value)))]
pub async fn get_readiness(
    health: web::Data<Health>,
    store: web::Data<StoreDecides>,
    shutdown: web::Data<Shutdown>,
) -> HttpResponse {
    if shutdown.has_begun() {
        let body = json!({"ready": false, "status": "shutting down"});
        return HttpResponse::ServiceUnavailable().json(body);
    }
    let found = health.readiness().await;
    let ready = found.database && found.migrations_pending == Some(0) && (found.store || !store.0);
    let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponse::build(status).json(readiness_body(found, ready, &health))
}

fn readiness_body(found: Readiness, ready: bool, health: &Health) -> serde_json::Value {
    let parts = [(found.store, "artifact_store"), (found.symbolizer, "symbolizer")];
    let degraded: Vec<&str> =
        parts.into_iter().filter(|(works, _)| !works).map(|(_, name)| name).collect();
    let migrated = found.migrations_pending == Some(0);
    json!({
        "status": if ready { "ready" } else { "not ready" },
        "ready": ready,
        "degraded": degraded,
        "database": {
            "ok": found.database && migrated,
            "connected": found.database,
            "migrations_pending": found.migrations_pending,
        },
        "artifact_store": {"ok": found.store, "kind": health.store_kind(), "writable": found.store},
        "symbolizer": {"ok": found.symbolizer, "engine": health.engine()},
        "mqtt": {"ok": true, "enabled": false, "connected": false},
        "identity_provider": {"ok": true, "enabled": false},
    })
}

/// The metrics of the process.
#[utoipa::path(get, path = "/metrics", tag = "operation", operation_id = "get_metrics",
    responses((status = 200, content_type = "text/plain", body = String),
        (status = 401, body = ErrorView)))]
pub async fn get_metrics(
    request: HttpRequest,
    metrics: web::Data<Metrics>,
    guard: web::Data<MetricsGuard>,
    (health, firmware, coredumps): (web::Data<Health>, web::Data<Firmware>, web::Data<Coredumps>),
) -> Result<HttpResponse, ApiError> {
    if let Some(token) = &guard.0
        && !presents(request.headers(), token)
    {
        return Err(ApiError::unauthenticated("the metrics token is required"));
    }
    metrics.read_database(health.database());
    metrics.read_resumes(firmware.resumes());
    metrics.read_pruned_dumps(coredumps.pruned());
    let text = metrics.text().map_err(|error| ApiError::unexpected(error.to_string()))?;
    let content_type = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    Ok(HttpResponse::Ok().insert_header(content_type).body(text))
}

/// Compares digests, so that the time taken tells nothing of the token.
fn presents(headers: &HeaderMap, token: &Secret) -> bool {
    let sent = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let sent = sent.and_then(|text| text.split_once(' '));
    sent.is_some_and(|(scheme, sent)| {
        scheme.eq_ignore_ascii_case("bearer")
            && Sha256::digest(sent) == Sha256::digest(token.reveal())
    })
}

/// This document.
#[utoipa::path(get, path = "/api/docs/openapi.json", tag = "operation",
    operation_id = "get_openapi", responses((status = 200, body = serde_json::Value)))]
pub async fn get_openapi() -> Result<HttpResponse, ApiError> {
    let text = openapi::document().map_err(|error| ApiError::unexpected(error.to_string()))?;
    Ok(HttpResponse::Ok().insert_header((header::CONTENT_TYPE, "application/json")).body(text))
}
