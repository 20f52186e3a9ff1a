use std::time::Duration;

use coredock_testkit::invariants::{Fact, ModelRow, check_pointers};

use super::super::events::Span;
use super::*;

/// Two models, their versions and the events of a life.
struct Bench {
    versions: Versions,
    fleet: Fleet,
    events: Events,
    time: u64,
}

fn set(name: &str) -> SetFacts {
    [Fact::of(name.as_bytes()); 5]
}

/// A version that is visible after a life, with the name of its set.
struct LeftVersion<'a> {
    version: &'a str,
    set: &'a str,
}

const fn left_version<'a>(version: &'a str, set: &'a str) -> LeftVersion<'a> {
    LeftVersion { version, set }
}

impl Bench {
    fn new() -> Self {
        let fleet = Fleet { models: vec![1, 2], devices: Vec::new() };
        Self { versions: Versions::default(), fleet, events: Events::default(), time: 0 }
    }

    fn act(&mut self, version: &'static str, act: VersionAct, outcome: Outcome) {
        self.time += 2;
        let answered = (outcome != Outcome::Lost).then(|| Duration::from_micros(self.time + 1));
        let span = Span { sent: Duration::from_micros(self.time), answered };
        self.events.versions.push(VersionChange { model: 0, version, act, span, outcome });
    }

    fn publish(&mut self, version: &'static str, name: &str, outcome: Outcome) {
        self.act(version, VersionAct::Publish(Box::new(set(name))), outcome);
    }

    /// Ends the life; these versions of the first model are visible, oldest first. Returns the
    /// violations.
    fn left(&mut self, versions: &[LeftVersion<'_>], current: Option<&str>) -> Vec<String> {
        let row = |(id, left): (i64, &LeftVersion<'_>)| VersionRow {
            id,
            model_id: 1,
            version: left.version.to_owned(),
            facts: set(left.set),
            staging: None,
            uploaded_at: id.to_string(),
        };
        let versions = (1..).zip(versions).map(row).collect();
        let model = |id, current: Option<&str>| ModelRow {
            id,
            code: MODELS[0].into(),
            current: current.map(str::to_owned),
        };
        let models = vec![model(1, current), model(2, None)];
        let rows = Rows { versions, models, ..Rows::default() };
        let mut findings = Findings::default();
        let events = std::mem::take(&mut self.events);
        check_pointers(&rows, &mut findings);
        self.versions.compare(&events, &rows, &self.fleet, &mut findings).unwrap();
        findings.violations().map(str::to_owned).collect()
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
fn an_answered_version_exists_with_its_set_and_is_current() {
    let mut bench = Bench::new();
    bench.publish("1.0.0", "a", Outcome::Done);
    assert_eq!(bench.left(&[left_version("1.0.0", "a")], Some("1.0.0")), [""; 0]);
    bench.publish("1.0.1", "b", Outcome::Done);
    assert_found(
        &bench.left(&[left_version("1.0.0", "a")], Some("1.0.0")),
        "is missing without a reason",
    );
    bench.publish("1.0.1", "b", Outcome::Done);
    let violations =
        bench.left(&[left_version("1.0.0", "a"), left_version("1.0.1", "c")], Some("1.0.1"));
    assert_found(&violations, "has a set that it must not have");
    bench.publish("1.0.1", "b", Outcome::Done);
    let violations =
        bench.left(&[left_version("1.0.0", "a"), left_version("1.0.1", "b")], Some("1.0.0"));
    assert_found(&violations, "which no client set last");
}

#[test]
fn the_set_of_a_lost_replacement_may_be_the_old_or_the_new_one() {
    for (visible, is_plausible) in [("a", true), ("b", true), ("c", false)] {
        let mut bench = Bench::new();
        bench.publish("1.0.0", "a", Outcome::Done);
        assert_eq!(bench.left(&[left_version("1.0.0", "a")], Some("1.0.0")), [""; 0]);
        bench.publish("1.0.0", "b", Outcome::Lost);
        assert_eq!(
            bench.left(&[left_version("1.0.0", visible)], Some("1.0.0")).is_empty(),
            is_plausible,
            "{visible}"
        );
    }
}

#[test]
fn an_answered_replacement_overwrites_the_set() {
    let mut bench = Bench::new();
    bench.publish("1.0.0", "a", Outcome::Done);
    bench.publish("1.0.0", "b", Outcome::Done);
    assert_found(&bench.left(&[left_version("1.0.0", "a")], Some("1.0.0")), "has a set");
}

#[test]
fn refused_changes_have_no_effect() {
    let mut bench = Bench::new();
    bench.publish("1.0.0", "a", Outcome::Done);
    bench.publish("1.0.1", "b", Outcome::Done);
    bench.act("1.0.0", VersionAct::Activate, Outcome::Refused);
    bench.act("1.0.1", VersionAct::Delete, Outcome::Refused);
    let violations = bench.left(&[left_version("1.0.0", "a")], Some("1.0.0"));
    assert_found(&violations, "is missing without a reason");
    assert_found(&violations, "which no client set last");
}

#[test]
fn deleted_versions_stay_deleted() {
    let mut bench = Bench::new();
    bench.publish("1.0.0", "a", Outcome::Done);
    bench.publish("1.0.1", "b", Outcome::Done);
    bench.act("1.0.0", VersionAct::Delete, Outcome::Done);
    assert_eq!(bench.left(&[left_version("1.0.1", "b")], Some("1.0.1")), [""; 0]);
    assert_eq!(bench.versions.without_objects().count(), 1);
    let violations =
        bench.left(&[left_version("1.0.0", "a"), left_version("1.0.1", "b")], Some("1.0.1"));
    assert_found(&violations, "version 1.0.0 of drill_a has a set that it must not have");
}

#[test]
fn a_pointer_names_an_existing_version() {
    let mut bench = Bench::new();
    bench.publish("1.0.0", "a", Outcome::Done);
    bench.act("1.0.0", VersionAct::Delete, Outcome::Lost);
    assert_found(&bench.left(&[], Some("1.0.0")), "which does not exist");
}

#[test]
fn retention_deletes_a_version_only_after_enough_newer_versions() {
    for (newer, is_plausible) in [(MAX_FIRMWARES, true), (MAX_FIRMWARES - 1, false)] {
        let mut bench = Bench::new();
        bench.publish("1.0.0", "a", Outcome::Done);
        assert_eq!(bench.left(&[left_version("1.0.0", "a")], Some("1.0.0")), [""; 0]);
        let versions = &["2.0.0", "2.0.1", "2.0.2"][..newer];
        for version in versions {
            bench.publish(version, "b", Outcome::Done);
        }
        let left: Vec<_> = versions.iter().map(|version| left_version(version, "b")).collect();
        assert_eq!(bench.left(&left, versions.last().copied()).is_empty(), is_plausible, "{newer}");
    }
}
