//! Dumps, for admins (contract §8.4, §8.5).

pub mod download;
pub mod group_views;
pub mod groups;
pub mod views;

use actix_web::web::{Data, Json, Path};
use coredock_domain::Coredumps;
use coredock_domain::coredumps::coredump::ParseStatus;
use coredock_domain::coredumps::repository::{
    CoredumpFilter, CoredumpPosition, CoredumpQuery, WhichCoredumps,
};
use coredock_domain::timestamp::Timestamp;
use serde::Deserialize;

use super::devices::unknown_device;
use super::request::answer::{Accepted, NoContent};
use super::request::error::{ApiError, ApiResult, ErrorView};
use super::request::identity::{Editor, Viewer};
use super::request::paging::{Cursor, CursorKey, page_limit, page_start};
use super::request::query::{FromQuery, QueryFields, ValidQuery};
use crate::logging::chain;
use views::{CoredumpListView, CoredumpReportView, CoredumpView, FleetCoredumpPageView};

/// The segments of a path which name a dump.
#[derive(Deserialize)]
pub struct CoredumpSegments {
    /// The device.
    id: i64,
    coredump_id: i64,
}

type CoredumpPath = Path<CoredumpSegments>;

/// The dumps of a device, newest first.
#[utoipa::path(get, path = "/api/devices/{id}/coredumps", tag = "coredumps",
    operation_id = "list_coredumps", params(("id" = i64, Path)),
    responses((status = 200, body = CoredumpListView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn list_coredumps(
    _: Viewer,
    id: Path<i64>,
    coredumps: Data<Coredumps>,
) -> ApiResult<Json<CoredumpListView>> {
    let listed = coredumps.list(*id).await?.ok_or_else(|| unknown_device(*id))?;
    Ok(Json(listed.into()))
}

/// One dump.
#[utoipa::path(get, path = "/api/devices/{id}/coredumps/{coredump_id}", tag = "coredumps",
    operation_id = "get_coredump", params(("id" = i64, Path), ("coredump_id" = i64, Path)),
    responses((status = 200, body = CoredumpView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn get_coredump(
    _: Viewer,
    path: CoredumpPath,
    coredumps: Data<Coredumps>,
) -> ApiResult<Json<CoredumpView>> {
    let found = coredumps.find(path.id, path.coredump_id).await?;
    Ok(Json(found.ok_or_else(|| unknown_coredump(path.coredump_id))?.into()))
}

/// The state of a dump's parse, and its report.
#[utoipa::path(get, path = "/api/devices/{id}/coredumps/{coredump_id}/report", tag = "coredumps",
    operation_id = "get_coredump_report", params(("id" = i64, Path), ("coredump_id" = i64, Path)),
    responses((status = 200, body = CoredumpReportView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn get_coredump_report(
    _: Viewer,
    path: CoredumpPath,
    coredumps: Data<Coredumps>,
) -> ApiResult<Json<CoredumpReportView>> {
    let found = coredumps.find(path.id, path.coredump_id).await?;
    let found = found.ok_or_else(|| unknown_coredump(path.coredump_id))?;
    let view = CoredumpReportView::new(found);
    Ok(Json(view.map_err(|error| ApiError::unexpected(chain(&error)))?))
}

/// Deletes a dump.
#[utoipa::path(delete, path = "/api/devices/{id}/coredumps/{coredump_id}", tag = "coredumps",
    operation_id = "delete_coredump", params(("id" = i64, Path), ("coredump_id" = i64, Path)),
    responses((status = 204), (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn delete_coredump(
    caller: Editor,
    path: CoredumpPath,
    coredumps: Data<Coredumps>,
) -> ApiResult<NoContent> {
    let which = WhichCoredumps::One(path.coredump_id);
    let deleted = coredumps.delete(path.id, which, caller.origin()).await?;
    deleted.ok_or_else(|| unknown_coredump(path.coredump_id))?;
    Ok(NoContent)
}

/// Deletes every dump of a device.
#[utoipa::path(delete, path = "/api/devices/{id}/coredumps", tag = "coredumps",
    operation_id = "delete_all_coredumps", params(("id" = i64, Path)),
    responses((status = 204), (status = 404, body = ErrorView), (status = 503, body = ErrorView)))]
pub async fn delete_all_coredumps(
    caller: Editor,
    id: Path<i64>,
    coredumps: Data<Coredumps>,
) -> ApiResult<NoContent> {
    let deleted = coredumps.delete(*id, WhichCoredumps::All, caller.origin()).await?;
    deleted.ok_or_else(|| unknown_device(*id))?;
    Ok(NoContent)
}

/// Queues a dump to be parsed again.
#[utoipa::path(post, path = "/api/devices/{id}/coredumps/{coredump_id}/reparse",
    tag = "coredumps", operation_id = "reparse_coredump",
    params(("id" = i64, Path), ("coredump_id" = i64, Path)),
    responses((status = 202, body = CoredumpView), (status = 404, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn reparse_coredump(
    caller: Editor,
    path: CoredumpPath,
    coredumps: Data<Coredumps>,
) -> ApiResult<Accepted<CoredumpView>> {
    let dump = coredumps.reparse(path.id, path.coredump_id, caller.origin()).await?;
    Ok(Accepted(dump.ok_or_else(|| unknown_coredump(path.coredump_id))?.into()))
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
    page: ValidQuery<CoredumpQuery>,
    coredumps: Data<Coredumps>,
) -> ApiResult<Json<FleetCoredumpPageView>> {
    let CoredumpQuery { filter, after, limit } = page.0;
    // One dump more than the limit shows whether there is a next page.
    let longer = CoredumpQuery { filter: filter.clone(), after, limit: limit + 1 };
    let mut dumps = coredumps.page(longer).await?;
    let more = dumps.len() > limit as usize;
    dumps.truncate(limit as usize);
    let last = dumps.last().filter(|_| more).map(|dump| &dump.summary);
    let position = last.map(|last| CoredumpPosition { uploaded_at: last.uploaded_at, id: last.id });
    let next_cursor = position.map(|position| Cursor(position).text(&filter));
    Ok(Json(FleetCoredumpPageView::new(dumps, next_cursor)))
}

impl FromQuery for CoredumpQuery {
    fn from_query(mut fields: QueryFields<'_>) -> ApiResult<Self> {
        let text = |text: &str| Some(text.to_owned());
        let status = "must be PENDING, PARSED or ERROR";
        let filter = CoredumpFilter {
            model: fields.optional("model", "", text),
            firmware_version: fields.optional("firmware_version", "", text),
            status: fields.optional("status", status, ParseStatus::parse),
            signature: fields.optional("signature", "", text),
            since: fields.optional("since", "must be a time as in RFC 3339", Timestamp::parse),
        };
        let limit = page_limit(&mut fields);
        let after = page_start(&mut fields, &filter);
        fields.finish()?;
        Ok(Self { filter, after, limit })
    }
}

impl CursorKey for CoredumpPosition {
    const LIST: &'static str = "coredumps";
    type Filter = CoredumpFilter;

    fn to_bytes(&self) -> Vec<u8> {
        [self.uploaded_at.micros().to_be_bytes(), self.id.to_be_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (micros, id) = bytes.split_first_chunk()?;
        let uploaded_at = Timestamp::from_micros(i64::from_be_bytes(*micros));
        Some(Self { uploaded_at, id: i64::from_be_bytes(id.try_into().ok()?) })
    }

    fn filter_texts(filter: &CoredumpFilter) -> Vec<Option<String>> {
        let CoredumpFilter { model, firmware_version, status, signature, since } = filter;
        vec![
            model.clone(),
            firmware_version.clone(),
            status.map(|status| status.as_str().to_owned()),
            signature.clone(),
            since.map(|since| since.to_string()),
        ]
    }
}

fn unknown_coredump(id: i64) -> ApiError {
    ApiError::not_found("Coredump", id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_under_its_filter_only() {
        let uploaded_at = Timestamp::from_micros(1_700_000_000_000_001);
        let cursor = Cursor(CoredumpPosition { uploaded_at, id: 17 });
        let filter = CoredumpFilter { model: Some("demo".into()), ..CoredumpFilter::default() };
        let text = cursor.text(&filter);
        assert_eq!(Cursor::read(&text, &filter), Some(cursor));
        assert_eq!(Cursor::<CoredumpPosition>::read(&text, &CoredumpFilter::default()), None);
    }
}
