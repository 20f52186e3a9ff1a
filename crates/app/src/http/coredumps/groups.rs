//! Groups of dumps (contract §8.5).

use actix_web::{HttpRequest, HttpResponse};
use coredock_domain::Coredumps;
use coredock_domain::coredumps::groups::{CrashGroupFilter, CrashGroupPlace};
use coredock_domain::timestamp::Timestamp;

use super::group_views::CrashGroupPageView;
use super::page_limit;
use crate::http::request::cursor::{group_cursor, read_group_cursor};
use crate::http::request::error::{ApiError, ErrorView};
use crate::http::request::feature::Feature;
use crate::http::request::identity::Viewer;
use crate::http::request::query::QueryFields;

/// Dumps of all devices grouped by their signatures, newest first, page by page.
#[utoipa::path(get, path = "/api/crash-groups", tag = "coredumps",
    operation_id = "list_crash_groups",
    params(("model" = Option<String>, Query), ("firmware_version" = Option<String>, Query),
        ("since" = Option<String>, Query), ("limit" = Option<u32>, Query),
        ("cursor" = Option<String>, Query)),
    responses((status = 200, body = CrashGroupPageView), (status = 400, body = ErrorView),
        (status = 503, body = ErrorView)))]
pub async fn list_crash_groups(
    _: Viewer,
    request: HttpRequest,
    coredumps: Feature<Coredumps>,
) -> Result<HttpResponse, ApiError> {
    let Asked { filter, after, limit } = asked(request.query_string())?;
    let operation = coredumps.begin("list_crash_groups");
    let page = coredumps.groups(filter.clone(), after, limit).await;
    let page = operation.end(page.map_err(ApiError::from))?;
    let next_cursor = page.next.map(|place| group_cursor(&place, &filter));
    Ok(HttpResponse::Ok().json(CrashGroupPageView::new(page.groups, next_cursor)))
}

/// Which page is asked for.
struct Asked {
    filter: CrashGroupFilter,
    after: Option<CrashGroupPlace>,
    limit: u32,
}

fn asked(query: &str) -> Result<Asked, ApiError> {
    let mut fields = QueryFields::new(query);
    let text = |text: &str| Some(text.to_owned());
    let filter = CrashGroupFilter {
        model: fields.optional("model", "", text),
        firmware_version: fields.optional("firmware_version", "", text),
        since: fields.optional("since", "must be a time as in RFC 3339", Timestamp::parse),
    };
    let limit = page_limit(&mut fields);
    let rule = "must be the next_cursor of a page with the same filter";
    let after = fields.optional("cursor", rule, |text| read_group_cursor(text, &filter));
    fields.finish()?;
    Ok(Asked { filter, after, limit })
}
