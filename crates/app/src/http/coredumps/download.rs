//! Downloads of dumps (contract §8.4).

use actix_web::web::Data;
use actix_web::{HttpRequest, HttpResponse};
use coredock_domain::Coredumps;
use coredock_domain::coredumps::ReadCoredumpError;
use coredock_domain::coredumps::coredump::Coredump;

use super::{CoredumpPath, unknown_coredump};
use crate::http::request::conditions::{Plan, Representation};
use crate::http::request::error::{ApiError, ApiResult, ErrorView};
use crate::http::request::identity::Viewer;
use crate::http::request::transfer::{Download, DownloadKind};
use crate::metrics::Metrics;

/// The stored body of a dump.
#[utoipa::path(get, path = "/api/devices/{id}/coredumps/{coredump_id}/download",
    tag = "coredumps", operation_id = "download_coredump",
    params(("id" = i64, Path), ("coredump_id" = i64, Path)),
    responses((status = 200, description = "The body", content_type = "application/octet-stream"),
        (status = 206, description = "A range of the body",
            content_type = "application/octet-stream"),
        (status = 304, description = "The caller already has the body"),
        (status = 404, body = ErrorView), (status = 412, body = ErrorView),
        (status = 416, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn download_coredump(
    _: Viewer,
    path: CoredumpPath,
    request: HttpRequest,
    coredumps: Data<Coredumps>,
    metrics: Data<Metrics>,
) -> ApiResult<HttpResponse> {
    let plan = |dump: &Coredump| Plan::of(&request, representation(dump)).range(dump.summary.size);
    let read = coredumps.read(path.id, path.coredump_id, &plan).await;
    let read = read.map_err(|error| read_error(&error, path.coredump_id, &metrics))?;
    let object = representation(&read.coredump);
    let (kind, extra) = (DownloadKind::Coredump, Vec::new());
    let file_name = format!("coredump_{}.dmp", path.coredump_id);
    let (request, metrics) = (&request, &metrics);
    Download { request, object, kind, file_name, extra, metrics }.answer(read.body)
}

fn representation(dump: &Coredump) -> Representation {
    let summary = &dump.summary;
    Representation { size: summary.size, sha256: dump.sha256, modified: summary.uploaded_at }
}

/// A missing object is a 404 (contract §2.6), an object with other content a 503; each violates an
/// invariant.
fn read_error(error: &ReadCoredumpError, id: i64, metrics: &Metrics) -> ApiError {
    match error {
        ReadCoredumpError::Unknown => unknown_coredump(id),
        ReadCoredumpError::ObjectMissing(key) => {
            metrics.violation("object_missing");
            tracing::error!(%key, "object {key} is in the database, but not in the artifact store; restore it from a backup or delete dump {id}");
            unknown_coredump(id)
        }
        ReadCoredumpError::ObjectDiffers(key) => {
            metrics.violation("object_differs");
            tracing::error!(%key, "object {key} of dump {id} is not the one that was stored: its length or SHA-256 differs from the database");
            ApiError::unavailable(error)
        }
        ReadCoredumpError::Repository(error) => error.into(),
        ReadCoredumpError::Store(error) => error.into(),
    }
}
