use coredock_domain::coredumps::coredump::{BuildId, ParseErrorCode, ParseFault, ParseStatus};
use coredock_domain::coredumps::repository::CoredumpRepository;
use coredock_domain::devices::repository::DeviceRepository;
use coredock_domain::symbolication::jobs::{FinishJob, Finished};

use crate::support::dumps::{Dump, parsed};
use crate::support::{Bench, change, second};

#[tokio::test]
async fn a_result_replaces_every_column_of_an_older_result() {
    let (bench, device_id) = Bench::with_device().await;
    let id = bench.store(&Dump { build: Some("64d3738c1"), ..Dump::default() }).await;
    let job = bench.job("aa", 100).await;
    bench.sql("UPDATE coredumps SET error_code = 'ENGINE_FAILED', error_message = 'once'");
    let finished = bench.finish(parsed(&job, "aa", 120)).await;
    assert_eq!(finished, Some(Finished::default()));
    let dump = bench.coredump(device_id, id).await;
    assert_eq!(dump.summary.parse_status, ParseStatus::Parsed);
    assert_eq!((dump.summary.parsed_at, dump.updated_at), (Some(second(120)), second(120)));
    assert_eq!(dump.summary.signature.as_deref(), Some("9f86d081884c7d65"));
    assert_eq!(dump.summary.build_id, BuildId::parse("64d3738c1"), "not changed");
    assert_eq!((dump.report.as_deref(), dump.fault), (Some("{}"), None));
    assert_eq!(bench.claim_job("bb", 1000).await, None);

    let other = bench.store(&Dump { body: "other", at: 130, ..Dump::default() }).await;
    let job = bench.job("cc", 130).await;
    let build_id = BuildId::parse("deadbeef99");
    let result = FinishJob { build_id: build_id.clone(), ..parsed(&job, "cc", 131) };
    bench.finish(result).await.unwrap();
    assert_eq!(bench.coredump(device_id, other).await.summary.build_id, build_id);
}

#[tokio::test]
async fn a_result_after_the_loss_of_the_lease_changes_nothing() {
    let (bench, device_id) = Bench::with_device().await;
    let id = bench.store(&Dump::default()).await;
    let first = bench.job("aa", 100).await;
    let second_job = bench.job("bb", 160).await;
    let before = bench.coredump(device_id, id).await;
    assert_eq!(bench.finish(parsed(&first, "aa", 161)).await, None);
    bench.postpone(&first, "aa", 500, false).await;
    assert_eq!(bench.coredump(device_id, id).await, before);
    assert!(bench.finish(parsed(&second_job, "bb", 162)).await.is_some());
    let parsed_once = bench.coredump(device_id, id).await;
    assert_eq!(bench.finish(parsed(&second_job, "bb", 170)).await, None);
    assert_eq!(bench.coredump(device_id, id).await, parsed_once);
}

#[tokio::test]
async fn a_result_for_a_dump_of_a_deleted_device_is_dropped() {
    let (bench, device_id) = Bench::with_device().await;
    bench.store(&Dump::default()).await;
    let job = bench.job("aa", 100).await;
    assert!(DeviceRepository::delete(&bench.db, device_id, &change(110)).await.unwrap());
    assert_eq!(bench.finish(parsed(&job, "aa", 111)).await, None);
    bench.postpone(&job, "aa", 120, true).await;
    assert_eq!(bench.claim_job("bb", 1000).await, None);
}

#[tokio::test]
async fn a_dump_with_a_result_can_be_parsed_again() {
    let (bench, device_id) = Bench::with_device().await;
    let id = bench.store(&Dump { build: Some("64d3738c1"), ..Dump::default() }).await;
    let fault = ParseFault { code: ParseErrorCode::EngineFailed, message: "three times".into() };
    for (at, fault) in [(100, None), (200, Some(fault))] {
        let job = bench.job("aa", at).await;
        assert_eq!(job.attempts, 1);
        bench.finish(FinishJob { fault, ..parsed(&job, "aa", at + 1) }).await.unwrap();
        let again = CoredumpRepository::reparse(&bench.db, device_id, id, &change(at + 50))
            .await
            .unwrap()
            .unwrap();
        assert_eq!(again, bench.coredump(device_id, id).await);
        assert_eq!(again.summary.parse_status, ParseStatus::Pending);
        assert_eq!((again.attempts, again.next_attempt_at), (0, Some(second(at + 50))));
        assert_eq!((again.parsed_output, again.report, again.fault), (None, None, None));
        assert_eq!((again.summary.signature, again.summary.parsed_at), (None, None));
        assert_eq!(again.summary.build_id, BuildId::parse("64d3738c1"));
        assert_eq!(bench.audited().last().unwrap(), &format!("coredump.updated {id}"));
    }
}

#[tokio::test]
async fn parsing_a_pending_dump_again_changes_nothing() {
    let (bench, device_id) = Bench::with_device().await;
    let other = bench.device(1, "zzzzzzz2").await;
    let id = bench.store(&Dump::default()).await;
    let job = bench.job("aa", 100).await;
    let (before, audited) = (bench.coredump(device_id, id).await, bench.audited());
    let again = CoredumpRepository::reparse(&bench.db, device_id, id, &change(110)).await.unwrap();
    assert_eq!(again, Some(before));
    assert_eq!(
        CoredumpRepository::reparse(&bench.db, other, id, &change(110)).await.unwrap(),
        None
    );
    assert_eq!(
        CoredumpRepository::reparse(&bench.db, device_id, 77, &change(110)).await.unwrap(),
        None
    );
    assert_eq!(bench.audited(), audited);
    assert!(bench.finish(parsed(&job, "aa", 111)).await.is_some(), "the parse went on");
}
