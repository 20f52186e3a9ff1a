use super::super::fleet::{Device, Fleet};
use super::*;

/// One device, its dumps and the events of a life.
struct Bench {
    dumps: Dumps,
    fleet: Fleet,
    events: Events,
    time: u64,
}

/// A dump that is visible after a life.
struct LeftDump<'a> {
    id: i64,
    body: &'a str,
    occurrences: i64,
}

fn left_dump(id: i64, body: &str, occurrences: i64) -> LeftDump<'_> {
    LeftDump { id, body, occurrences }
}

impl Bench {
    fn new() -> Self {
        let device = Device { id: 1, key: "abcd2345".into(), model: 0 };
        let fleet = Fleet { models: vec![1], devices: vec![device] };
        Self { dumps: Dumps::default(), fleet, events: Events::default(), time: 0 }
    }

    fn span(&mut self, is_answered: bool) -> Span {
        self.time += 2;
        let answered = is_answered.then(|| Duration::from_micros(self.time + 1));
        Span { sent: Duration::from_micros(self.time), answered }
    }

    /// Posts this body; `None`: there is no answer.
    fn post(&mut self, body: &str, id: Option<i64>) {
        let (fact, span) = (Fact::of(body.as_bytes()), self.span(id.is_some()));
        let (chip, version) = ("esp32s3".into(), "1.0.0".into());
        let (sha256, size) = (fact.sha256, fact.size);
        self.events.posts.push(Post {
            device: 0,
            sha256,
            size,
            chip,
            version,
            span,
            id,
            is_rescued: false,
        });
    }

    fn delete(&mut self, id: Option<i64>, outcome: Outcome) {
        let span = self.span(outcome != Outcome::Lost);
        self.events.removals.push(Removal { device: 0, id, span, outcome });
    }

    /// Ends the life; `dumps` are visible. Returns the violations.
    fn left(&mut self, dumps: &[LeftDump<'_>]) -> Vec<String> {
        let visible =
            |dump: &LeftDump<'_>| row(dump.id, Fact::of(dump.body.as_bytes()), dump.occurrences);
        let rows = Rows { dumps: dumps.iter().map(visible).collect(), ..Rows::default() };
        let mut findings = Findings::default();
        let events = std::mem::take(&mut self.events);
        self.dumps.compare(&events, &rows, &self.fleet, &mut findings).unwrap();
        findings.violations().map(str::to_owned).collect()
    }
}

/// A parsed dump of the first device.
fn row(id: i64, fact: Fact, occurrences: i64) -> DumpRow {
    DumpRow {
        id,
        device_id: 1,
        chip: "esp32s3".into(),
        firmware_version: "1.0.0".into(),
        fact,
        parse_status: "PARSED".into(),
        error_code: None,
        attempts: 1,
        occurrences,
        uploaded_at: format!("{id:09}"),
        is_leased: false,
    }
}

#[track_caller]
fn assert_found(violations: &[String], text: &str) {
    assert!(
        violations.iter().any(|violation| violation.contains(text)),
        "{text} is not in {violations:?}"
    );
}

#[test]
fn an_answered_dump_must_exist() {
    let mut bench = Bench::new();
    bench.post("a", Some(1));
    bench.post("b", Some(2));
    assert_found(
        &bench.left(&[left_dump(1, "a", 1)]),
        "dump 2 of device 0 was answered and is missing",
    );
    // A dump that was missing must not appear again.
    assert_found(
        &bench.left(&[left_dump(1, "a", 1), left_dump(2, "b", 1)]),
        "dump 2 was deleted and exists again",
    );
}

#[test]
fn a_dump_without_an_answer_may_exist_or_not() {
    for visible in [&[left_dump(1, "a", 1)][..], &[]] {
        let mut bench = Bench::new();
        bench.post("a", None);
        assert_eq!(bench.left(visible), [""; 0]);
        assert_eq!(bench.left(visible), [""; 0]);
    }
}

#[test]
fn a_dump_that_was_never_sent_is_found() {
    let mut bench = Bench::new();
    bench.post("a", Some(1));
    let violations = bench.left(&[left_dump(1, "a", 1), left_dump(2, "b", 1)]);
    assert_found(&violations, "dump 2 of device 0 was never sent");
    let mut bench = Bench::new();
    bench.post("a", None);
    assert_eq!(bench.left(&[]), [""; 0]);
    // The server that could have stored the dump was killed.
    assert_found(&bench.left(&[left_dump(1, "a", 1)]), "no client can have sent it");
}

#[test]
fn repetitions_are_counted_between_those_answered_and_those_sent() {
    for (occurrences, is_plausible) in [(1, false), (2, true), (3, true), (4, false)] {
        let mut bench = Bench::new();
        bench.post("a", Some(1));
        bench.post("a", Some(1));
        bench.post("a", None);
        assert_eq!(
            bench.left(&[left_dump(1, "a", occurrences)]).is_empty(),
            is_plausible,
            "{occurrences}"
        );
    }
    let mut bench = Bench::new();
    bench.post("a", Some(1));
    bench.post("a", Some(2));
    assert_found(
        &bench.left(&[left_dump(1, "a", 1), left_dump(2, "a", 1)]),
        "has the body of another dump",
    );
}

#[test]
fn deletes_explain_what_is_missing_unless_they_came_first() {
    let mut bench = Bench::new();
    bench.post("a", Some(1));
    bench.post("b", Some(2));
    bench.delete(Some(1), Outcome::Done);
    bench.delete(Some(2), Outcome::Lost);
    assert_eq!(bench.left(&[]), [""; 0]);
    bench.delete(None, Outcome::Done);
    bench.post("c", Some(3));
    assert_found(&bench.left(&[]), "dump 3 of device 0 was answered and is missing");
    bench.post("d", Some(4));
    bench.delete(Some(4), Outcome::Refused);
    assert_found(&bench.left(&[]), "dump 4 of device 0 was answered and is missing");
}

#[test]
fn an_answered_delete_must_have_deleted() {
    let mut bench = Bench::new();
    bench.post("a", Some(1));
    bench.delete(Some(1), Outcome::Done);
    assert_found(&bench.left(&[left_dump(1, "a", 1)]), "dump 1 of device 0 was deleted with a 204");
    let mut bench = Bench::new();
    bench.post("a", Some(1));
    assert_eq!(bench.left(&[left_dump(1, "a", 1)]), [""; 0]);
    bench.delete(None, Outcome::Done);
    bench.post("b", Some(2));
    assert_found(
        &bench.left(&[left_dump(1, "a", 1), left_dump(2, "b", 1)]),
        "dump 1 of device 0 was deleted",
    );
}

#[test]
fn retention_explains_what_is_missing_only_with_enough_newer_dumps() {
    for (newer, is_plausible) in [(MAX_COREDUMPS, true), (MAX_COREDUMPS - 1, false)] {
        let mut bench = Bench::new();
        bench.post("old", Some(1));
        assert_eq!(bench.left(&[left_dump(1, "old", 1)]), [""; 0]);
        let bodies: Vec<_> = (0..newer).map(|body| body.to_string()).collect();
        let mut visible = Vec::new();
        for (id, body) in (2..).zip(&bodies) {
            bench.post(body, Some(id));
            visible.push(left_dump(id, body, 1));
        }
        assert_eq!(bench.left(&visible).is_empty(), is_plausible, "{newer} newer");
    }
}
