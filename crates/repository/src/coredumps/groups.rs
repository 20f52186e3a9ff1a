//! Groups of dumps which share a signature (contract §8.5).

use std::collections::HashMap;

use coredock_domain::coredumps::groups::{
    CrashGroup, CrashGroupFilter, CrashGroupPosition, CrashGroupQuery, CrashGroups, VersionCount,
};
use coredock_domain::timestamp::Timestamp;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::query_builder::{Query, QueryFragment};
use diesel::sql_types::{BigInt, Nullable, Text, Untyped};
use diesel::sqlite::Sqlite;

use crate::columns::{Column, read_count};
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, StoredTime, UtcTimestamp};

#[derive(QueryableByName)]
struct HeadRow {
    #[diesel(sql_type = Text)]
    signature: String,
    #[diesel(sql_type = UtcTimestamp)]
    newest_at: StoredTime,
    #[diesel(sql_type = BigInt)]
    devices: i64,
}

impl HeadRow {
    fn newest_at(&self) -> Result<Timestamp, Failure> {
        self.newest_at.read(Column("coredumps", "uploaded_at"))
    }

    fn position(&self, until: Timestamp) -> Result<CrashGroupPosition, Failure> {
        let (newest_at, signature) = (self.newest_at()?, self.signature.clone());
        Ok(CrashGroupPosition { until, newest_at, signature })
    }
}

#[derive(QueryableByName)]
struct VersionRow {
    #[diesel(sql_type = Text)]
    signature: String,
    #[diesel(sql_type = Text)]
    version: String,
    #[diesel(sql_type = BigInt)]
    count: i64,
    #[diesel(sql_type = UtcTimestamp)]
    first_seen_at: StoredTime,
    #[diesel(sql_type = UtcTimestamp)]
    last_seen_at: StoredTime,
}

#[derive(QueryableByName)]
struct SampleRow {
    #[diesel(sql_type = Text)]
    signature: String,
    #[diesel(sql_type = BigInt)]
    id: i64,
    #[diesel(sql_type = Nullable<Text>)]
    title: Option<String>,
}

pub(super) async fn load(
    conn: &mut Connection,
    page: &CrashGroupQuery,
) -> Result<CrashGroups, Failure> {
    let mut heads = heads(conn, page).await?;
    let limit = page.limit as usize;
    let more = heads.len() > limit;
    heads.truncate(limit);
    let last = heads.last().filter(|_| more);
    let next = last.map(|last| last.position(page.after.until)).transpose()?;
    if heads.is_empty() {
        return Ok(CrashGroups::default());
    }
    let signatures: serde_json::Value =
        heads.iter().map(|head| serde_json::json!([head.signature])).collect();
    let signatures = signatures.to_string();
    let mut versions = versions(conn, page, &signatures).await?;
    let mut samples = samples(conn, page, &signatures).await?;
    let mut groups = Vec::with_capacity(heads.len());
    for head in heads {
        let versions = versions.remove(&head.signature);
        let sample = samples.remove(&head.signature);
        // A dump deleted between two statements is missing in the second one.
        if let Some((versions, sample)) = versions.zip(sample) {
            groups.push(group(head, &versions, sample)?);
        }
    }
    Ok(CrashGroups { groups, next })
}

/// The groups of a page, and one more if there is a next page.
async fn heads(conn: &mut Connection, page: &CrashGroupQuery) -> Result<Vec<HeadRow>, Failure> {
    let query = diesel::sql_query(heads_query(&page.filter))
        .bind::<UtcTimestamp, _>(At(since(&page.filter)))
        .bind::<UtcTimestamp, _>(At(page.after.until))
        .bind::<Nullable<Text>, _>(page.filter.model.as_deref())
        .bind::<Nullable<Text>, _>(page.filter.firmware_version.as_deref())
        .bind::<UtcTimestamp, _>(At(page.after.newest_at))
        .bind::<Text, _>(&page.after.signature)
        .bind::<BigInt, _>(i64::from(page.limit) + 1);
    Ok(on!(conn, |c| query.load::<HeadRow>(c))?)
}

/// `SQLite` numbers binds in the order of their first appearance, so each text names them in
/// ascending order.
fn heads_query(filter: &CrashGroupFilter) -> String {
    format!(
        "SELECT c.signature, max(c.uploaded_at) AS newest_at, \
         count(DISTINCT c.device_id) AS devices \
         FROM {} WHERE c.signature IS NOT NULL AND {} AND {} GROUP BY c.signature \
         HAVING max(c.uploaded_at) < $5 OR (max(c.uploaded_at) = $5 AND c.signature < $6) \
         ORDER BY newest_at DESC, c.signature DESC LIMIT $7",
        tables(filter),
        beginning(filter),
        conditions(filter, 2),
    )
}

/// The tables to read: those of devices and models only if the filter names a model.
fn tables(filter: &CrashGroupFilter) -> &'static str {
    match filter.model {
        None => "coredumps c",
        Some(_) => {
            "coredumps c JOIN devices d ON d.id = c.device_id \
             JOIN device_models m ON m.id = d.device_model_id"
        }
    }
}

/// The condition on the first bind. Without a start time nothing is compared, because a comparison
/// would let `SQLite` choose the index of times.
fn beginning(filter: &CrashGroupFilter) -> &'static str {
    match filter.since {
        None => "$1 IS NOT NULL",
        Some(_) => "c.uploaded_at >= $1",
    }
}

/// The conditions on the binds of the end, the model and the version. `NOT … >` keeps `SQLite` from
/// choosing the index of times: hardly any dump is later than the end.
fn conditions(filter: &CrashGroupFilter, first_bind: usize) -> String {
    let [until, model, version] = [first_bind, first_bind + 1, first_bind + 2];
    let model = match filter.model {
        None => format!("${model} IS NULL"),
        Some(_) => format!("m.code = ${model}"),
    };
    format!(
        "NOT c.uploaded_at > ${until} AND {model} \
         AND (${version} IS NULL OR c.firmware_version = ${version})"
    )
}

fn since(filter: &CrashGroupFilter) -> Timestamp {
    filter.since.unwrap_or(Timestamp::from_micros(0))
}

/// The dumps of a page: those of the filter with one of the signatures in the second bind.
fn of_page(conn: &Connection, filter: &CrashGroupFilter) -> String {
    format!(
        "FROM {} WHERE {} AND c.signature IN (SELECT value ->> 0 FROM {}) AND {}",
        tables(filter),
        beginning(filter),
        conn.elements_of_second_bind(),
        conditions(filter, 3),
    )
}

/// A query with the binds of [`of_page`].
fn bound_to_page(
    text: String,
    page: &CrashGroupQuery,
    signatures: &str,
) -> impl Query<SqlType = Untyped> + QueryFragment<Sqlite> + QueryFragment<Pg> + Send {
    diesel::sql_query(text)
        .bind::<UtcTimestamp, _>(At(since(&page.filter)))
        .bind::<Text, _>(signatures)
        .bind::<UtcTimestamp, _>(At(page.after.until))
        .bind::<Nullable<Text>, _>(page.filter.model.as_deref())
        .bind::<Nullable<Text>, _>(page.filter.firmware_version.as_deref())
}

/// The versions of each group, the most frequent first.
async fn versions(
    conn: &mut Connection,
    page: &CrashGroupQuery,
    signatures: &str,
) -> Result<HashMap<String, Vec<VersionRow>>, Failure> {
    let text = format!(
        "SELECT c.signature, c.firmware_version AS version, sum(c.occurrences) AS count, \
         min(c.uploaded_at) AS first_seen_at, \
         max(COALESCE(c.last_seen_at, c.uploaded_at)) AS last_seen_at \
         {} GROUP BY c.signature, c.firmware_version ORDER BY count DESC, version",
        of_page(conn, &page.filter)
    );
    let query = bound_to_page(text, page, signatures);
    let mut by_signature: HashMap<_, Vec<_>> = HashMap::new();
    for row in on!(conn, |c| query.load::<VersionRow>(c))? {
        by_signature.entry(row.signature.clone()).or_default().push(row);
    }
    Ok(by_signature)
}

/// The title of the signature in the report of a row of `coredumps`.
fn title_of_report(conn: &Connection) -> &'static str {
    match conn {
        Connection::Sqlite(_) => "coredumps.report -> 'signature' ->> 'title'",
        Connection::Postgres(_) => "coredumps.report::json -> 'signature' ->> 'title'",
    }
}

/// The newest dump of each group.
async fn samples(
    conn: &mut Connection,
    page: &CrashGroupQuery,
    signatures: &str,
) -> Result<HashMap<String, SampleRow>, Failure> {
    let text = format!(
        "SELECT ranked.signature, ranked.id, {} AS title \
         FROM (SELECT c.signature, c.id, row_number() OVER \
         (PARTITION BY c.signature ORDER BY c.uploaded_at DESC, c.id DESC) AS rank {}) ranked \
         JOIN coredumps ON coredumps.id = ranked.id WHERE ranked.rank = 1",
        title_of_report(conn),
        of_page(conn, &page.filter)
    );
    let query = bound_to_page(text, page, signatures);
    let rows = on!(conn, |c| query.load::<SampleRow>(c))?;
    Ok(rows.into_iter().map(|row| (row.signature.clone(), row)).collect())
}

fn group(head: HeadRow, versions: &[VersionRow], sample: SampleRow) -> Result<CrashGroup, Failure> {
    let first = |row: &VersionRow| row.first_seen_at.read(Column("coredumps", "uploaded_at"));
    let last = |row: &VersionRow| row.last_seen_at.read(Column("coredumps", "last_seen_at"));
    let first = versions.iter().map(first).collect::<Result<Vec<_>, _>>()?;
    let last = versions.iter().map(last).collect::<Result<Vec<_>, _>>()?;
    let count = |row: &VersionRow| read_count(row.count);
    let newest_at = head.newest_at()?;
    Ok(CrashGroup {
        signature: head.signature,
        title: sample.title,
        count: versions.iter().map(count).sum(),
        devices: read_count(head.devices),
        first_seen_at: first.into_iter().min().unwrap_or(newest_at),
        last_seen_at: last.into_iter().max().unwrap_or(newest_at),
        versions: versions
            .iter()
            .map(|row| VersionCount { version: row.version.clone(), count: count(row) })
            .collect(),
        sample_id: sample.id,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query_plans::plan;

    #[test]
    fn groups_are_found_in_their_index_alone_or_by_the_devices_of_their_model() {
        let everything = CrashGroupFilter::default;
        let model = Some("demo".to_owned());
        let since = Some(Timestamp::from_micros(0));
        for (filter, index) in [
            (everything(), "USING COVERING INDEX coredumps_by_signature"),
            (CrashGroupFilter { since, ..everything() }, "COVERING INDEX coredumps_by_signature"),
            (CrashGroupFilter { model, ..everything() }, "USING INDEX coredumps_by_device"),
        ] {
            let steps = plan(&heads_query(&filter));
            assert!(steps.iter().any(|step| step.contains(index)), "{steps:?}");
            assert!(!steps.iter().any(|step| step.contains("SCAN")), "{steps:?}");
        }
    }
}
