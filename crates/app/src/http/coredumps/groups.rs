//! Groups of dumps (contract §8.5).

use actix_web::web::{Data, Json};
use coredock_domain::Coredumps;
use coredock_domain::coredumps::groups::{CrashGroupFilter, CrashGroupPosition};
use coredock_domain::timestamp::Timestamp;

use super::group_views::CrashGroupPageView;
use crate::http::request::error::{ApiResult, ErrorView};
use crate::http::request::identity::Viewer;
use crate::http::request::paging::{Cursor, CursorKey, page_limit, page_start};
use crate::http::request::query::{FromQuery, QueryFields, ValidQuery};

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
    page: ValidQuery<CrashGroupPageQuery>,
    coredumps: Data<Coredumps>,
) -> ApiResult<Json<CrashGroupPageView>> {
    let CrashGroupPageQuery { filter, after, limit } = page.0;
    let page = coredumps.groups(filter.clone(), after, limit).await?;
    let next_cursor = page.next.map(|position| Cursor(position).text(&filter));
    Ok(Json(CrashGroupPageView::new(page.groups, next_cursor)))
}

pub struct CrashGroupPageQuery {
    filter: CrashGroupFilter,
    after: Option<CrashGroupPosition>,
    limit: u32,
}

impl FromQuery for CrashGroupPageQuery {
    fn from_query(mut fields: QueryFields<'_>) -> ApiResult<Self> {
        let text = |text: &str| Some(text.to_owned());
        let filter = CrashGroupFilter {
            model: fields.optional("model", "", text),
            firmware_version: fields.optional("firmware_version", "", text),
            since: fields.optional("since", "must be a time as in RFC 3339", Timestamp::parse),
        };
        let limit = page_limit(&mut fields);
        let after = page_start(&mut fields, &filter);
        fields.finish()?;
        Ok(Self { filter, after, limit })
    }
}

impl CursorKey for CrashGroupPosition {
    const LIST: &'static str = "crash groups";
    type Filter = CrashGroupFilter;

    fn to_bytes(&self) -> Vec<u8> {
        let times = [self.until, self.newest_at].map(|time| time.micros().to_be_bytes());
        [times.concat().as_slice(), self.signature.as_bytes()].concat()
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (until, rest) = bytes.split_first_chunk()?;
        let (newest_at, signature) = rest.split_first_chunk()?;
        let time = |bytes: &[u8; 8]| Timestamp::from_micros(i64::from_be_bytes(*bytes));
        let signature = String::from_utf8(signature.to_vec()).ok()?;
        Some(Self { until: time(until), newest_at: time(newest_at), signature })
    }

    fn filter_texts(filter: &CrashGroupFilter) -> Vec<Option<String>> {
        let CrashGroupFilter { model, firmware_version, since } = filter;
        vec![model.clone(), firmware_version.clone(), since.map(|since| since.to_string())]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_of_groups_reads_back_unedited_under_its_filter_only() {
        let filter = CrashGroupFilter { model: Some("demo".into()), ..CrashGroupFilter::default() };
        let cursor = Cursor(CrashGroupPosition {
            until: Timestamp::from_micros(1_700_000_000_000_001),
            newest_at: Timestamp::from_micros(1_600_000_000_000_001),
            signature: "9f86d081884c7d65".into(),
        });
        let text = cursor.text(&filter);
        assert_eq!(Cursor::read(&text, &filter), Some(cursor));
        let read = Cursor::<CrashGroupPosition>::read;
        assert_eq!(read(&text, &CrashGroupFilter::default()), None);
        for foreign in ["", "x", "00", &text.to_uppercase(), &text[2..], &format!("{text}00")] {
            assert_eq!(read(foreign, &filter), None, "{foreign}");
        }
        for position in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[position] = if edited[position] == b'0' { b'1' } else { b'0' };
            let edited = String::from_utf8(edited).unwrap();
            assert_eq!(read(&edited, &filter), None, "{edited}");
        }
    }
}
