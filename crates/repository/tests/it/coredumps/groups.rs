use coredock_domain::coredumps::groups::{
    CrashGroup, CrashGroupFilter, CrashGroupPosition, CrashGroupQuery, CrashGroups, VersionCount,
};
use coredock_domain::coredumps::repository::CoredumpRepository;

use crate::support::{Bench, second};

/// A dump with a signature.
#[derive(Clone, Copy)]
struct Crash<'a> {
    device_id: i64,
    signature: &'a str,
    version: &'a str,
    occurrences: u32,
    /// Second of its upload.
    at: i64,
    /// Second of its last delivery.
    seen: i64,
}

impl Default for Crash<'_> {
    fn default() -> Self {
        Self { device_id: 1, signature: "aa", version: "1.0.0", occurrences: 1, at: 100, seen: 100 }
    }
}

impl Crash<'_> {
    /// Inserts the dump with a report whose title is the signature and its id; returns its id.
    fn add(&self, bench: &Bench) -> i64 {
        let id = bench.dump(self.device_id, self.version, "PARSED");
        let report =
            format!(r#"{{"signature":{{"version":1,"title":"{} in {id}"}}}}"#, self.signature);
        bench.sql(&format!(
            "UPDATE coredumps SET signature = '{}', occurrences = {}, uploaded_at = '{}', \
             last_seen_at = '{}', report = '{report}' WHERE id = {id}",
            self.signature,
            self.occurrences,
            second(self.at),
            second(self.seen),
        ));
        id
    }
}

async fn page(bench: &Bench, filter: CrashGroupFilter, until: i64) -> CrashGroups {
    let after = CrashGroupPosition::front(second(until));
    bench.db.groups(CrashGroupQuery { filter, after, limit: 200 }).await.unwrap()
}

/// Signatures, counts and devices of the dumps that pass a filter.
async fn counted(bench: &Bench, filter: CrashGroupFilter) -> Vec<(String, u64, u64)> {
    let groups = page(bench, filter, 1_000).await.groups;
    groups.into_iter().map(|group| (group.signature, group.count, group.devices)).collect()
}

fn lines(lines: &[(&str, u64, u64)]) -> Vec<(String, u64, u64)> {
    lines.iter().map(|line| (line.0.to_owned(), line.1, line.2)).collect()
}

#[tokio::test]
async fn a_group_counts_occurrences_devices_and_versions_and_shows_its_newest_dump() {
    let (bench, device) = Bench::with_device().await;
    let other = bench.device(1, "abcd2346").await;
    let crash = Crash { device_id: device, ..Crash::default() };
    Crash { occurrences: 5, at: 110, seen: 500, ..crash }.add(&bench);
    Crash { version: "2.0.0", at: 100, seen: 100, ..crash }.add(&bench);
    let same_time = Crash { device_id: other, version: "2.0.0", at: 120, seen: 130, ..crash };
    same_time.add(&bench);
    let sample = Crash { version: "0.9.0", ..same_time }.add(&bench);
    bench.dump(device, "1.0.0", "ERROR");
    let count = |version: &str, count| VersionCount { version: version.into(), count };
    let group = CrashGroup {
        signature: "aa".into(),
        title: Some(format!("aa in {sample}")),
        count: 8,
        devices: 2,
        first_seen_at: second(100),
        last_seen_at: second(500),
        versions: vec![count("1.0.0", 5), count("2.0.0", 2), count("0.9.0", 1)],
        sample_id: sample,
    };
    let expected = CrashGroups { groups: vec![group], next: None };
    assert_eq!(page(&bench, CrashGroupFilter::default(), 1_000).await, expected);
}

#[tokio::test]
async fn a_group_shows_no_value_that_its_dumps_lack() {
    let (bench, _) = Bench::with_device().await;
    assert_eq!(page(&bench, CrashGroupFilter::default(), 1_000).await, CrashGroups::default());
    for (second, report) in [(101, "NULL"), (102, "'{\"signature\":null}'")] {
        Crash { at: second, ..Crash::default() }.add(&bench);
        bench.sql(&format!("UPDATE coredumps SET report = {report}, last_seen_at = NULL"));
        let groups = page(&bench, CrashGroupFilter::default(), 1_000).await.groups;
        assert_eq!(groups[0].title, None, "{report}");
        assert_eq!(groups[0].last_seen_at, self::second(second));
    }
}

#[tokio::test]
async fn filters_choose_dumps_before_they_are_grouped() {
    let (bench, device) = Bench::with_device().await;
    let other = bench.model("other").await;
    let lamp = bench.device(other, "abcd2346").await;
    let crash = Crash { device_id: device, ..Crash::default() };
    crash.add(&bench);
    Crash { device_id: lamp, version: "2.0.0", occurrences: 3, at: 110, ..crash }.add(&bench);
    Crash { signature: "bb", version: "2.0.0", at: 105, ..crash }.add(&bench);
    let all = CrashGroupFilter::default();
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(counted(&bench, all.clone()).await, lines(&[("aa", 4, 2), ("bb", 1, 1)]));
    let of_model = CrashGroupFilter { model: text("demo"), ..all.clone() };
    assert_eq!(counted(&bench, of_model.clone()).await, lines(&[("bb", 1, 1), ("aa", 1, 1)]));
    let of_version = CrashGroupFilter { firmware_version: text("2.0.0"), ..all.clone() };
    assert_eq!(counted(&bench, of_version).await, lines(&[("aa", 3, 1), ("bb", 1, 1)]));
    let both = CrashGroupFilter { firmware_version: text("1.0.0"), ..of_model };
    assert_eq!(counted(&bench, both).await, lines(&[("aa", 1, 1)]));
    let since = CrashGroupFilter { since: Some(second(105)), ..all.clone() };
    assert_eq!(counted(&bench, since).await, lines(&[("aa", 3, 1), ("bb", 1, 1)]));
    let since = CrashGroupFilter { since: Some(second(111)), ..all.clone() };
    assert_eq!(counted(&bench, since).await, lines(&[]));
    let unknown = CrashGroupFilter { model: text("nope"), ..all };
    assert_eq!(counted(&bench, unknown).await, lines(&[]));
}

#[tokio::test]
async fn a_walk_over_pages_skips_and_repeats_nothing_while_dumps_arrive() {
    let (bench, device) = Bench::with_device().await;
    let crash = |n: u32, at| {
        let signature = format!("{n:02x}");
        Crash { device_id: device, signature: &signature, at, ..Crash::default() }.add(&bench)
    };
    for n in 0..50 {
        crash(n, 100 + i64::from(n) / 3);
    }
    let mut walked = Vec::new();
    let mut after = CrashGroupPosition::front(second(200));
    loop {
        let filter = CrashGroupFilter::default();
        let page = bench.db.groups(CrashGroupQuery { filter, after, limit: 7 }).await.unwrap();
        walked.extend(page.groups.into_iter().map(|group| (group.signature, group.count)));
        // The last group would move to the front, and a new group appears.
        crash(0, 201);
        crash(200, 202);
        let Some(next) = page.next else { break };
        after = next;
    }
    let expected: Vec<_> = (0..50).rev().map(|n| (format!("{n:02x}"), 1)).collect();
    assert_eq!(walked, expected);
}

#[tokio::test]
async fn a_full_last_page_has_no_next_page() {
    let (bench, _) = Bench::with_device().await;
    for signature in ["aa", "bb"] {
        Crash { signature, ..Crash::default() }.add(&bench);
    }
    let filter = CrashGroupFilter::default();
    let after = CrashGroupPosition::front(second(100));
    let whole = bench.db.groups(CrashGroupQuery { filter, after, limit: 2 }).await.unwrap();
    assert_eq!((whole.groups.len(), whole.next), (2, None));
}

#[tokio::test]
async fn pages_cost_the_same_statements_for_1_and_for_100_groups() {
    let (bench, _) = Bench::with_device().await;
    for (groups, statements) in [(0, 1), (1, 3), (100, 3)] {
        for n in 0..groups {
            Crash { signature: &format!("{n:02x}"), ..Crash::default() }.add(&bench);
        }
        let before = bench.db.statement_count();
        let read = page(&bench, CrashGroupFilter::default(), 1_000).await;
        assert_eq!(read.groups.len(), groups);
        assert_eq!(bench.db.statement_count() - before, statements, "{groups} groups");
    }
}
