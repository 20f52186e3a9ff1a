use coredock_domain::coredumps::coredump::{BuildId, ParseErrorCode, ParseFault, ParseStatus};
use coredock_domain::digest::Sha256Digest;
use coredock_domain::firmware::publication::PublishedObjects;
use coredock_domain::ids::ModelCode;
use coredock_domain::symbolication::jobs::{FinishJob, MissingElf, WantedBuild, WantedElf};

use crate::support::dumps::{Dump, parsed};
use crate::support::{Bench, Set, facts, second};

/// Records a dump and lets it fail because its ELF is missing; returns its id.
async fn without_elf(bench: &Bench, dump: &Dump<'_>) -> i64 {
    let id = bench.record(&Dump { max_dumps: 100, ..dump.clone() }).await.0;
    bench.sql(&format!(
        "UPDATE coredumps SET parse_status = 'ERROR', error_code = 'ELF_NOT_FOUND', \
         error_message = 'none', parsed_output = 'none', attempts = 1, next_attempt_at = NULL, \
         parsed_at = uploaded_at WHERE id = {id}"
    ));
    id
}

fn pending(bench: &Bench) -> Vec<i64> {
    let ids = "SELECT CAST(id AS text) AS line FROM coredumps WHERE parse_status = 'PENDING' \
               AND next_attempt_at IS NOT NULL ORDER BY id";
    bench.lines(ids).iter().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test]
async fn dumps_of_a_build_are_pending_again_when_its_symbols_arrive() {
    let (bench, device_id) = Bench::with_device().await;
    let model = bench.model("other").await;
    let other = bench.device(model, "zzzzzzz2").await;
    let build = facts("first").build_id().to_string();
    let of_other = Dump { device_id: other, key: "zzzzzzz2", version: "9.9.9", ..Dump::default() };
    let mut expected = Vec::new();
    for length in [8, 9, 64] {
        let dump = Dump { build: Some(&build[..length]), ..of_other.clone() };
        expected.push(without_elf(&bench, &dump).await);
    }
    let longer = format!("{}{}", &build[..9], if build.as_bytes()[9] == b'0' { "1" } else { "0" });
    without_elf(&bench, &Dump { build: Some(&longer), ..Dump::default() }).await;
    bench.publish(&Set::default()).await;
    assert_eq!(pending(&bench), expected);
    let dump = bench.coredump(other, expected[0]).await;
    assert_eq!((dump.attempts, dump.next_attempt_at), (0, Some(second(100))));
    assert_eq!((dump.fault, dump.parsed_output, dump.summary.parsed_at), (None, None, None));
    assert_eq!(dump.summary.build_id.unwrap().as_str(), &build[..8]);
    assert_eq!(bench.dumps(device_id).await.len(), 1);
}

#[tokio::test]
async fn dumps_without_a_build_id_are_found_by_model_and_version() {
    let (bench, device_id) = Bench::with_device().await;
    let model = bench.model("other").await;
    let other = bench.device(model, "zzzzzzz2").await;
    let expected = without_elf(&bench, &Dump::default()).await;
    without_elf(&bench, &Dump { body: "b", version: "1.0.1", ..Dump::default() }).await;
    without_elf(&bench, &Dump { body: "c", build: Some("deadbeef"), ..Dump::default() }).await;
    without_elf(&bench, &Dump { device_id: other, key: "zzzzzzz2", ..Dump::default() }).await;
    let failed = without_elf(&bench, &Dump { body: "d", ..Dump::default() }).await;
    bench.sql(&format!("UPDATE coredumps SET error_code = 'ENGINE_FAILED' WHERE id = {failed}"));
    bench.publish(&Set::default()).await;
    assert_eq!(pending(&bench), [expected]);
    let dump = bench.coredump(device_id, failed).await;
    assert_eq!(dump.summary.parse_status, ParseStatus::Error);
}

#[tokio::test]
async fn a_dump_waits_for_symbols_once_per_commit_that_brings_them() {
    let (bench, _) = Bench::with_device().await;
    let id = without_elf(&bench, &Dump::default()).await;
    bench.publish(&Set::default()).await;
    let job = bench.job("aa", 101).await;
    assert_eq!(job.id, id);
    let unchanged = Set { objects: PublishedObjects::Unchanged, at: 110, ..Set::default() };
    bench.publish(&unchanged).await;
    assert!(bench.finish(crate::support::dumps::parsed(&job, "aa", 111)).await.is_some());
    bench.publish(&Set { at: 120, ..unchanged }).await;
    assert_eq!(pending(&bench), Vec::<i64>::new());

    let late = without_elf(&bench, &Dump { body: "late", at: 130, ..Dump::default() }).await;
    bench.publish(&Set { at: 140, ..unchanged }).await;
    assert_eq!(pending(&bench), [late], "every commit of a set brings its symbols");
}

#[tokio::test]
async fn the_version_dumps_wait_for_again_survives_the_retention_of_the_same_commit() {
    let (bench, _) = Bench::with_device().await;
    let shared = |version, at| Set { version, seed: "shared", at, ..Set::default() };
    bench.publish(&shared("1.0.0", 100)).await;
    bench.publish(&shared("1.0.1", 101)).await;
    let build = facts("shared").build_id().to_string();
    without_elf(&bench, &Dump { build: Some(&build[..9]), ..Dump::default() }).await;
    let published = bench.publish(&shared("1.0.2", 102)).await;
    assert_eq!((published.pruned.len(), published.protected.len()), (0, 1));
    assert_eq!(bench.versions(1).await, ["1.0.0", "1.0.1", "1.0.2"]);
}

/// A publication that commits after the search for an ELF and before the result finds no `ERROR` to
/// requeue; the result finds the publication instead.
#[tokio::test]
async fn a_job_whose_elf_was_published_meanwhile_is_due_again() {
    let (bench, device_id) = Bench::with_device().await;
    let build = facts("late").build_id();
    let missing = |tried: Vec<Sha256Digest>, by_build: bool| MissingElf {
        wanted: if by_build {
            WantedElf::Build(WantedBuild {
                build_id: BuildId::parse(&build.to_string()[..9]).unwrap(),
                model: ModelCode::parse("demo").unwrap(),
                version: "1.0.0".into(),
            })
        } else {
            WantedElf::Version { model_id: 1, version: "1.0.0".into() }
        },
        tried,
    };
    let end = async |at: i64, body: &'static str, missing_elf: MissingElf| {
        let id = bench.record(&Dump { body, at, max_dumps: 100, ..Dump::default() }).await.0;
        let job = bench.job("aa", at + 1).await;
        let fault = ParseFault { code: ParseErrorCode::ElfNotFound, message: "none".into() };
        let (fault, missing_elf) = (Some(fault), Some(missing_elf));
        let result = FinishJob { fault, missing_elf, ..parsed(&job, "aa", at + 2) };
        let finished = bench.finish(result).await.unwrap();
        let dump = bench.coredump(device_id, id).await;
        assert_eq!(finished.requeued, dump.summary.parse_status == ParseStatus::Pending);
        if finished.requeued {
            assert_eq!((dump.attempts, dump.next_attempt_at), (0, Some(second(at + 2))));
            bench.sql(&format!("DELETE FROM coredumps WHERE id = {id}"));
        }
        finished.requeued
    };
    assert!(!end(10, "nothing came", missing(vec![], true)).await);
    assert!(!end(20, "no version came", missing(vec![], false)).await);
    bench.publish(&Set { version: "1.0.0", seed: "late", at: 30, ..Set::default() }).await;
    bench.sql("DELETE FROM coredumps");
    assert!(end(40, "the build came", missing(vec![], true)).await);
    assert!(end(50, "the version came", missing(vec![], false)).await);
    assert!(!end(60, "its object is lost", missing(vec![build], true)).await);
    assert!(!end(70, "its object is lost too", missing(vec![build], false)).await);
}
