//! Dumps as admins see them (contract §8.4, §8.5).

pub mod group_views;
pub mod groups;
pub mod views;

use actix_web::{HttpRequest, HttpResponse, web};
use coredock_domain::Coredumps;
use coredock_domain::coredumps::ReadCoredumpError;
use coredock_domain::coredumps::coredump::{Coredump, ParseStatus};
use coredock_domain::coredumps::repository::{CoredumpFilter, CoredumpPage, WhichCoredumps};
use coredock_domain::timestamp::Timestamp;

use super::devices::unknown_device;
use super::request::conditions::{Plan, Representation};
use super::request::cursor::Cursor;
use super::request::error::{ApiError, ErrorView};
use super::request::feature::Feature;
use super::request::identity::{Editor, Viewer};
use super::request::query::QueryFields;
use super::request::transfer::{Download, DownloadKind};
use crate::logging::chain;
use crate::metrics::Metrics;
use views::{CoredumpListView, CoredumpReportView, CoredumpView, FleetCoredumpPageView};

const DEFAULT_LIMIT: u32 = 50;
const LARGEST_LIMIT: u32 = 200;

/// How many lines a page has (contract §1.9).
pub(super) fn page_limit(fields: &mut QueryFields<'_>) -> u32 {
    let rule = "must be a whole number from 1 to 200";
    let limit = fields.optional("limit", rule, |text| {
        let limit = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        limit.filter(|limit| (1..=LARGEST_LIMIT).contains(limit))
    });
    limit.unwrap_or(DEFAULT_LIMIT)
}

/// Row ids of a device and of a dump.
type DumpPath = web::Path<(i64, i64)>;

/// The dumps of a device, newest first.
#[utoipa::path(get, path = "/api/devices/{id}/coredumps", tag = "coredumps",
    operation_id = "list_coredumps", params(("id" = i64, Path)),
    responses((status = 200, body = CoredumpListView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn list_coredumps(
    _: Viewer,
    id: web::Path<i64>,
    coredumps: Feature<Coredumps>,
) -> Result<HttpResponse, ApiError> {
    let operation = coredumps.begin("list_coredumps");
    let listed = coredumps.list(*id).await.map_err(ApiError::from);
    let listed = listed.and_then(|listed| listed.ok_or_else(|| unknown_device(*id)));
    Ok(HttpResponse::Ok().json(CoredumpListView::from(operation.end(listed)?)))
}

/// One dump.
#[utoipa::path(get, path = "/api/devices/{id}/coredumps/{coredump_id}", tag = "coredumps",
    operation_id = "get_coredump", params(("id" = i64, Path), ("coredump_id" = i64, Path)),
    responses((status = 200, body = CoredumpView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn get_coredump(
    _: Viewer,
    path: DumpPath,
    coredumps: Feature<Coredumps>,
) -> Result<HttpResponse, ApiError> {
    let operation = coredumps.begin("get_coredump");
    let found = operation.end(found(&coredumps, *path).await)?;
    Ok(HttpResponse::Ok().json(CoredumpView::from(found)))
}

/// The state of a dump's parse, and its report.
#[utoipa::path(get, path = "/api/devices/{id}/coredumps/{coredump_id}/report", tag = "coredumps",
    operation_id = "get_coredump_report", params(("id" = i64, Path), ("coredump_id" = i64, Path)),
    responses((status = 200, body = CoredumpReportView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn get_coredump_report(
    _: Viewer,
    path: DumpPath,
    coredumps: Feature<Coredumps>,
) -> Result<HttpResponse, ApiError> {
    let operation = coredumps.begin("get_coredump_report");
    let view = found(&coredumps, *path).await.and_then(|found| {
        CoredumpReportView::new(found).map_err(|error| ApiError::unexpected(chain(&error)))
    });
    Ok(HttpResponse::Ok().json(operation.end(view)?))
}

/// The stored body of a dump.
#[utoipa::path(get, path = "/api/devices/{id}/coredumps/{coredump_id}/download",
    tag = "coredumps", operation_id = "download_coredump",
    params(("id" = i64, Path), ("coredump_id" = i64, Path)),
    responses((status = 200, description = "The body", content_type = "application/octet-stream"),
        (status = 206, description = "A range of it", content_type = "application/octet-stream"),
        (status = 304, description = "The caller has it already"), (status = 404, body = ErrorView),
        (status = 412, body = ErrorView), (status = 416, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn download_coredump(
    _: Viewer,
    path: DumpPath,
    request: HttpRequest,
    (coredumps, metrics): (Feature<Coredumps>, web::Data<Metrics>),
) -> Result<HttpResponse, ApiError> {
    let operation = coredumps.begin("download_coredump");
    let plan = |dump: &Coredump| Plan::of(&request, representation(dump)).range(dump.summary.size);
    let read = coredumps.read(*path, &plan).await;
    let read = read.map_err(|error| read_error(&error, path.1, &metrics));
    operation.end(read.and_then(|read| {
        let object = representation(&read.coredump);
        let (kind, extra) = (DownloadKind::Coredump, Vec::new());
        let file_name = format!("coredump_{}.dmp", path.1);
        let (request, metrics) = (&request, &metrics);
        Download { request, object, kind, file_name, extra, metrics }.answer(read.body)
    }))
}

/// Deletes a dump.
#[utoipa::path(delete, path = "/api/devices/{id}/coredumps/{coredump_id}", tag = "coredumps",
    operation_id = "delete_coredump", params(("id" = i64, Path), ("coredump_id" = i64, Path)),
    responses((status = 204), (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn delete_coredump(
    caller: Editor,
    path: DumpPath,
    coredumps: Feature<Coredumps>,
) -> Result<HttpResponse, ApiError> {
    let operation = coredumps.begin("delete_coredump");
    let which = WhichCoredumps::One(path.1);
    let deleted = coredumps.delete(path.0, which, caller.origin()).await.map_err(ApiError::from);
    operation.end(deleted.and_then(|deleted| deleted.ok_or_else(|| unknown(path.1))))?;
    Ok(HttpResponse::NoContent().finish())
}

/// Deletes every dump of a device.
#[utoipa::path(delete, path = "/api/devices/{id}/coredumps", tag = "coredumps",
    operation_id = "delete_all_coredumps", params(("id" = i64, Path)),
    responses((status = 204), (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn delete_all_coredumps(
    caller: Editor,
    id: web::Path<i64>,
    coredumps: Feature<Coredumps>,
) -> Result<HttpResponse, ApiError> {
    let operation = coredumps.begin("delete_all_coredumps");
    let deleted = coredumps.delete(*id, WhichCoredumps::All, caller.origin()).await;
    let deleted = deleted.map_err(ApiError::from);
    operation.end(deleted.and_then(|deleted| deleted.ok_or_else(|| unknown_device(*id))))?;
    Ok(HttpResponse::NoContent().finish())
}

/// Has a dump parsed again.
#[utoipa::path(post, path = "/api/devices/{id}/coredumps/{coredump_id}/reparse",
    tag = "coredumps", operation_id = "reparse_coredump",
    params(("id" = i64, Path), ("coredump_id" = i64, Path)),
    responses((status = 202, body = CoredumpView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn reparse_coredump(
    caller: Editor,
    path: DumpPath,
    coredumps: Feature<Coredumps>,
) -> Result<HttpResponse, ApiError> {
    let operation = coredumps.begin("reparse_coredump");
    let dump = coredumps.reparse(path.0, path.1, caller.origin()).await.map_err(ApiError::from);
    let dump = operation.end(dump.and_then(|dump| dump.ok_or_else(|| unknown(path.1))))?;
    Ok(HttpResponse::Accepted().json(CoredumpView::from(dump)))
}

/// Dumps of all devices, newest first, page by page.
#[utoipa::path(get, path = "/api/coredumps", tag = "coredumps",
    operation_id = "list_fleet_coredumps",
    params(("model" = Option<String>, Query), ("firmware_version" = Option<String>, Query),
        ("status" = Option<String>, Query), ("signature" = Option<String>, Query),
        ("since" = Option<String>, Query), ("limit" = Option<u32>, Query),
        ("cursor" = Option<String>, Query)),
    responses((status = 200, body = FleetCoredumpPageView), (status = 400, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn list_fleet_coredumps(
    _: Viewer,
    request: HttpRequest,
    coredumps: Feature<Coredumps>,
) -> Result<HttpResponse, ApiError> {
    let page = fleet_page(request.query_string())?;
    let operation = coredumps.begin("list_fleet_coredumps");
    let (filter, limit) = (page.filter.clone(), page.limit);
    // One more than asked for tells whether there is a next page.
    let read = coredumps.page(CoredumpPage { limit: limit + 1, ..page }).await;
    let mut dumps = operation.end(read.map_err(ApiError::from))?;
    let more = dumps.len() > limit as usize;
    dumps.truncate(limit as usize);
    let last = dumps.last().filter(|_| more).map(|dump| &dump.summary);
    let next_cursor = last.map(|last| Cursor::behind(last).text(&filter));
    Ok(HttpResponse::Ok().json(FleetCoredumpPageView::new(dumps, next_cursor)))
}

fn fleet_page(query: &str) -> Result<CoredumpPage, ApiError> {
    let mut fields = QueryFields::new(query);
    let text = |text: &str| Some(text.to_owned());
    let filter = CoredumpFilter {
        model: fields.optional("model", "", text),
        firmware_version: fields.optional("firmware_version", "", text),
        status: fields.optional("status", "must be PENDING, PARSED or ERROR", ParseStatus::parse),
        signature: fields.optional("signature", "", text),
        since: fields.optional("since", "must be a time as in RFC 3339", Timestamp::parse),
    };
    let limit = page_limit(&mut fields);
    let rule = "must be the next_cursor of a page with the same filter";
    let cursor = fields.optional("cursor", rule, |text| Cursor::read(text, &filter));
    fields.finish()?;
    let after = cursor.map(Cursor::place);
    Ok(CoredumpPage { filter, after, limit })
}

async fn found(coredumps: &Coredumps, (device_id, id): (i64, i64)) -> Result<Coredump, ApiError> {
    coredumps.find(device_id, id).await?.ok_or_else(|| unknown(id))
}

fn unknown(id: i64) -> ApiError {
    ApiError::not_found("Coredump", id)
}

fn representation(dump: &Coredump) -> Representation {
    let summary = &dump.summary;
    Representation { size: summary.size, sha256: dump.sha256, modified: summary.uploaded_at }
}

/// A missing object is a 404 (contract §2.6), another object is an outage; both are broken
/// invariants.
fn read_error(error: &ReadCoredumpError, id: i64, metrics: &Metrics) -> ApiError {
    match error {
        ReadCoredumpError::Unknown => unknown(id),
        ReadCoredumpError::ObjectMissing(key) => {
            metrics.violation("object_missing");
            tracing::error!(%key, "a visible row has no object");
            unknown(id)
        }
        ReadCoredumpError::ObjectDiffers(key) => {
            metrics.violation("object_differs");
            tracing::error!(%key, "a visible row has another object than it says");
            ApiError::unavailable(error)
        }
        ReadCoredumpError::Repository(error) => error.into(),
        ReadCoredumpError::Store(error) => error.into(),
    }
}
