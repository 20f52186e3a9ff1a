mod groups;
mod retention;

use coredock_domain::coredumps::coredump::{ParseErrorCode, ParseFault, ParseStatus};
use coredock_domain::coredumps::repository::CoredumpRepository;
use coredock_domain::coredumps::repository::{
    CoredumpFilter, CoredumpPosition, CoredumpQuery, WhichCoredumps,
};
use coredock_domain::error::RepositoryError;

use crate::support::dumps::{Dump, KEY, object, parsed};
use crate::support::{Bench, change, second};

/// Adds many dumps of a device: two at each second, in all three states.
fn fill(bench: &Bench, device_id: i64, dumps: u32) {
    let (minute, second_of_it) = (bench.digits("i / 120", 2), bench.digits("i / 2 % 60", 2));
    let uploaded = format!("'2026-11-01T00:' || {minute} || ':' || {second_of_it} || '.000000Z'");
    bench.sql(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < {dumps}) \
         INSERT INTO coredumps (device_id, chip, firmware_version, size, sha256, parse_status, \
         parsed_output, uploaded_at, created_at, updated_at) SELECT {device_id}, 'esp32', '1.0.0', \
         4, {sha256}, \
         CASE i % 3 WHEN 0 THEN 'PENDING' WHEN 1 THEN 'PARSED' ELSE 'ERROR' END, 'text', \
         {uploaded}, {at}, {at} FROM n",
        sha256 = bench.digits("i", 64),
        uploaded = bench.instant(&uploaded),
        at = bench.instant(&format!("'{}'", second(50))),
    ));
}

async fn page(bench: &Bench, filter: &CoredumpFilter) -> Vec<i64> {
    let page = CoredumpQuery { filter: filter.clone(), after: None, limit: 200 };
    bench.db.page(page).await.unwrap().into_iter().map(|dump| dump.summary.id).collect()
}

#[tokio::test]
async fn listings_cost_the_same_statements_for_10_and_for_1000_dumps() {
    let (bench, device_id) = Bench::with_device().await;
    let all = || CoredumpQuery { filter: CoredumpFilter::default(), after: None, limit: 200 };
    for (added, expected, on_page) in [(10, 10, 10), (990, 1000, 200)] {
        fill(&bench, device_id, added);
        let before = bench.db.statement_count();
        let list = bench.db.list(device_id).await.unwrap().unwrap();
        assert_eq!((list.len(), bench.db.statement_count() - before), (expected, 2));
        let page = bench.db.page(all()).await.unwrap();
        assert_eq!((page.len(), bench.db.statement_count() - before), (on_page, 3));
    }
    assert_eq!(bench.db.list(77).await.unwrap(), None);
}

#[tokio::test]
async fn a_walk_over_pages_skips_and_repeats_nothing_even_among_equal_times() {
    let (bench, device_id) = Bench::with_device().await;
    fill(&bench, device_id, 100);
    let mut walked = Vec::new();
    let mut after = None;
    loop {
        let filter = CoredumpFilter::default();
        let page = bench.db.page(CoredumpQuery { filter, after, limit: 7 }).await.unwrap();
        let Some(last) = page.last() else { break };
        let (uploaded_at, id) = (last.summary.uploaded_at, last.summary.id);
        after = Some(CoredumpPosition { uploaded_at, id });
        walked.extend(page.iter().map(|dump| dump.summary.id));
        // A dump that is recorded during the walk belongs to earlier pages.
        bench.dump(device_id, "1.0.0", "PARSED");
    }
    let expected: Vec<i64> = (1..=100).rev().collect();
    assert_eq!(walked, expected);
}

#[tokio::test]
async fn pages_name_the_device_and_pass_every_filter() {
    let (bench, device_id) = Bench::with_device().await;
    let model = bench.model("other").await;
    let other = bench.device(model, "zzzzzzz2").await;
    let one = bench.store(&Dump::default()).await;
    let dump = Dump { device_id: other, key: "zzzzzzz2", version: "2.0.0", ..Dump::default() };
    let two = bench.store(&Dump { at: 110, ..dump }).await;
    let job = bench.job("aa", 110).await;
    assert_eq!(job.id, one);
    bench.finish(parsed(&job, "aa", 111)).await.unwrap();

    let all = CoredumpFilter::default();
    let text = |text: &str| Some(text.to_owned());
    let cases = [
        (all.clone(), vec![two, one]),
        (CoredumpFilter { model: text("demo"), ..all.clone() }, vec![one]),
        (CoredumpFilter { model: text("nope"), ..all.clone() }, vec![]),
        (CoredumpFilter { firmware_version: text("2.0.0"), ..all.clone() }, vec![two]),
        (CoredumpFilter { status: Some(ParseStatus::Parsed), ..all.clone() }, vec![one]),
        (CoredumpFilter { status: Some(ParseStatus::Error), ..all.clone() }, vec![]),
        (CoredumpFilter { signature: text("9f86d081884c7d65"), ..all.clone() }, vec![one]),
        (CoredumpFilter { since: Some(second(110)), ..all.clone() }, vec![two]),
        (CoredumpFilter { model: text("other"), since: Some(second(111)), ..all.clone() }, vec![]),
    ];
    for (filter, expected) in cases {
        assert_eq!(page(&bench, &filter).await, expected, "{filter:?}");
    }
    let page = bench.db.page(CoredumpQuery { filter: all, after: None, limit: 1 }).await.unwrap();
    assert_eq!(page.len(), 1);
    assert_eq!((page[0].device_key.as_str(), page[0].model_code.as_str()), ("zzzzzzz2", "other"));
    assert_eq!(page[0].device_name.as_deref(), Some("Boiler"));
    let list = bench.db.list(device_id).await.unwrap().unwrap();
    assert_eq!(list.len(), 1);
}

#[tokio::test]
async fn a_dump_is_found_under_its_device_only_and_says_why_it_failed() {
    let (bench, device_id) = Bench::with_device().await;
    let other = bench.device(1, "zzzzzzz2").await;
    let id = bench.store(&Dump::default()).await;
    assert_eq!(bench.db.find(other, id).await.unwrap(), None);
    assert_eq!(bench.db.find(device_id, id + 1).await.unwrap(), None);
    let job = bench.job("aa", 100).await;
    let fault = ParseFault { code: ParseErrorCode::ElfNotFound, message: "no 64d3738c1".into() };
    let result = parsed(&job, "aa", 120);
    bench
        .finish(coredock_domain::symbolication::jobs::FinishJob {
            fault: Some(fault.clone()),
            report: None,
            ..result
        })
        .await
        .unwrap();
    let dump = bench.coredump(device_id, id).await;
    assert_eq!((dump.fault, dump.report, dump.attempts), (Some(fault), None, 1));
    assert_eq!((dump.next_attempt_at, dump.summary.parsed_at), (None, Some(second(120))));
    assert_eq!(dump.parsed_output.as_deref(), Some("a report"));
}

#[tokio::test]
async fn impossible_values_are_reported_and_harmless_ones_read_as_none() {
    let (bench, device_id) = Bench::with_device().await;
    let id = bench.store(&Dump::default()).await;
    bench.sql("UPDATE coredumps SET build_id = '64d3738'");
    assert_eq!(bench.coredump(device_id, id).await.summary.build_id, None);
    bench.sql("UPDATE coredumps SET sha256 = NULL");
    let error = bench.db.find(device_id, id).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Corrupt { table: "coredumps", column: "sha256" }));
    assert_eq!(bench.db.list(device_id).await.unwrap().unwrap().len(), 1);
    assert_eq!(page(&bench, &CoredumpFilter::default()).await, [id]);
}

#[tokio::test]
async fn a_dump_can_be_deleted_while_its_parse_runs() {
    let (bench, device_id) = Bench::with_device().await;
    let other = bench.device(1, "zzzzzzz2").await;
    let id = bench.store(&Dump::default()).await;
    let job = bench.job("aa", 100).await;
    let delete = async |device_id| {
        bench.db.delete(device_id, WhichCoredumps::One(id), &change(110)).await.unwrap()
    };
    assert_eq!(delete(other).await, None);
    assert_eq!(delete(device_id).await, Some(1));
    assert_eq!(delete(device_id).await, None);
    assert_eq!(delete(99).await, None);
    assert_eq!(bench.queued(), [object(KEY, id)]);
    assert_eq!(bench.finish(parsed(&job, "aa", 111)).await, None);
    assert_eq!(bench.audited().last().unwrap(), &format!("coredump.deleted {id}"));
}

#[tokio::test]
async fn deleting_all_dumps_of_a_device_costs_a_few_statements() {
    let (bench, device_id) = Bench::with_device().await;
    let other = bench.device(1, "zzzzzzz2").await;
    let spared = bench.dump(other, "1.0.0", "PARSED");
    fill(&bench, device_id, 2500);
    let before = bench.db.statement_count();
    let all = async |id| bench.db.delete(id, WhichCoredumps::All, &change(9)).await.unwrap();
    assert_eq!(all(device_id).await, Some(2500));
    assert_eq!(bench.db.statement_count() - before, 10 + bench.locks(1));
    assert_eq!(all(device_id).await, Some(0));
    assert_eq!(all(99).await, None);
    assert_eq!(bench.queued().len(), 2500);
    assert_eq!(bench.dumps(other).await, [spared]);
    let audited = bench.lines(&format!(
        "SELECT DISTINCT actor_subject || ' ' || actor_name || ' ' || actor_kind || ' ' || action \
         || ' ' || target_type || ' ' || correlation_id || ' ' || remote_address || ' ' || outcome \
         || ' ' || {at} AS line FROM audit_records WHERE action = 'coredump.deleted'",
        at = bench.instant_text("at")
    ));
    let expected =
        format!("7f Ada user coredump.deleted Coredump request-1 192.0.2.1 success {}", second(9));
    assert_eq!(audited, [expected]);
    let count = "SELECT CAST(count(DISTINCT target_id) AS text) AS line FROM audit_records \
                 WHERE action = 'coredump.deleted'";
    assert_eq!(bench.lines(count), ["2500"]);
}
