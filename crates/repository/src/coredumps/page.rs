//! Pages of the dumps of the fleet (contract §8.5).

use coredock_domain::coredumps::coredump::FleetCoredump;
use coredock_domain::coredumps::repository::CoredumpQuery;
use diesel::prelude::*;
use diesel::sql_types::Text;

use crate::connection::{Connection, on};
use crate::coredumps::row::SummaryRow;
use crate::failure::Failure;
use crate::schema::{coredumps, device_models, devices};
use crate::statement::RunQueryDsl;
use crate::timestamps::At;

type PageRow = (SummaryRow, String, Option<String>, String);

/// The query of a page. A macro, because the type of a boxed query names the backend: a function
/// that is generic over the backend would need a bound for each column and operator of the query.
macro_rules! page_query {
    ($page:expr) => {{
        let page: &CoredumpQuery = $page;
        let mut query = coredumps::table
            .inner_join(devices::table.inner_join(device_models::table))
            .order((coredumps::uploaded_at.desc(), coredumps::id.desc()))
            .limit(page.limit.into())
            .select((
                SummaryRow::as_select(),
                devices::key,
                devices::device_name,
                device_models::code,
            ))
            .into_boxed();
        if let Some(model) = &page.filter.model {
            query = query.filter(device_models::code.eq(model));
        }
        if let Some(version) = &page.filter.firmware_version {
            query = query.filter(coredumps::firmware_version.eq(version));
        }
        if let Some(status) = page.filter.status {
            // A literal: SQLite uses the partial index of a state only if the text names the state.
            let status = diesel::dsl::sql::<Text>(&format!("'{}'", status.as_str()));
            query = query.filter(coredumps::parse_status.eq(status));
        }
        if let Some(signature) = &page.filter.signature {
            query = query.filter(coredumps::signature.eq(signature));
        }
        if let Some(since) = page.filter.since {
            query = query.filter(coredumps::uploaded_at.ge(At(since)));
        }
        if let Some(position) = page.after {
            let at = At(position.uploaded_at);
            // The first condition follows from the second and lets SQLite seek in an index.
            query = query
                .filter(coredumps::uploaded_at.le(at))
                .filter(coredumps::uploaded_at.lt(at).or(coredumps::id.lt(position.id)));
        }
        query
    }};
}

/// Loads a page, newest first.
pub(super) async fn load(
    conn: &mut Connection,
    page: &CoredumpQuery,
) -> Result<Vec<FleetCoredump>, Failure> {
    let rows = on!(conn, |c| page_query!(page).load::<PageRow>(c))?;
    rows.into_iter().map(|(row, key, name, code)| row.read_with(key, name, code)).collect()
}

#[cfg(test)]
mod tests {
    use coredock_domain::coredumps::coredump::ParseStatus;
    use coredock_domain::coredumps::repository::{CoredumpFilter, CoredumpPosition};
    use coredock_domain::timestamp::Timestamp;

    use super::*;
    use crate::query_plans::plan_of;

    fn plan(filter: CoredumpFilter) -> Vec<String> {
        let position = CoredumpPosition { uploaded_at: Timestamp::from_micros(0), id: 1 };
        let page = CoredumpQuery { filter, after: Some(position), limit: 50 };
        plan_of(&page_query!(&page))
    }

    #[test]
    fn pages_are_read_in_the_order_of_an_index() {
        let everything = CoredumpFilter::default();
        let status = Some(ParseStatus::Error);
        let signature = Some("9f86d081884c7d65".to_owned());
        let cases = [
            ("coredumps_by_time", everything.clone()),
            ("coredumps_errors", CoredumpFilter { status, ..everything.clone() }),
            ("coredumps_by_signature", CoredumpFilter { signature, ..everything }),
        ];
        for (index, filter) in cases {
            let steps = plan(filter);
            assert!(steps[0].contains(index), "{steps:?}");
            assert!(!steps.iter().any(|step| step.contains("TEMP B-TREE")), "{steps:?}");
        }
    }

    #[test]
    fn no_filter_scans_a_whole_table() {
        let text = || Some("demo".to_owned());
        let everything = CoredumpFilter::default();
        for filter in [
            CoredumpFilter { model: text(), ..everything.clone() },
            CoredumpFilter { firmware_version: text(), ..everything },
        ] {
            let steps = plan(filter);
            assert!(!steps.iter().any(|step| step.contains("SCAN")), "{steps:?}");
        }
    }
}
