use std::collections::HashSet;

use coredock_domain::coredumps::coredump::{BuildId, ParseStatus};
use coredock_domain::digest::Sha256Digest;
use coredock_domain::error::RepositoryError;
use coredock_domain::ids::ModelCode;
use coredock_domain::intake::repository::InitialState;
use coredock_domain::symbolication::jobs::ParseJobRepository;
use coredock_domain::symbolication::jobs::{
    ClaimJobs, Claimed, FinishJob, ParseJob, QueueState, WantedBuild, WantedElf,
};

use crate::support::dumps::{Dump, KEY, digest, parsed};
use crate::support::{Bench, MINUTE, Set, code, device_key, facts, owner as owner_of, second};

#[tokio::test]
async fn due_jobs_are_claimed_in_the_order_of_their_positions() {
    let (bench, device_id) = Bench::with_device().await;
    let model_id = 1;
    let due = |at| InitialState::Due { position: second(at) };
    let late = Dump { body: "late", at: 110, state: due(900), ..Dump::default() };
    let late = bench.store(&late).await;
    let other = bench.device(model_id, "zzzzzzz2").await;
    let early =
        Dump { device_id: other, key: "zzzzzzz2", at: 120, state: due(50), ..Dump::default() };
    let early = bench.store(&early).await;
    assert_eq!(bench.claim_job("aa", 109).await, None, "a position alone does not make a job due");
    assert_eq!(bench.job("aa", 200).await.id, early);
    let expected = ParseJob {
        id: late,
        device_id,
        device: device_key(KEY),
        model_id,
        model: code("demo"),
        chip: "esp32s3".into(),
        firmware_version: "1.0.0".into(),
        size: 4,
        sha256: digest("late"),
        attempts: 1,
    };
    assert_eq!(bench.job("bb", 200).await, expected);
    assert_eq!(bench.claim_job("cc", 200).await, None);
}

#[tokio::test]
async fn an_idle_poll_costs_one_statement_and_a_claim_one_short_transaction_more() {
    let (bench, _) = Bench::with_device().await;
    let before = bench.db.statement_count();
    assert_eq!(bench.claim_job("aa", 200).await, None);
    assert_eq!(bench.db.statement_count() - before, 1);
    bench.store(&Dump::default()).await;
    let before = bench.db.statement_count();
    bench.job("aa", 200).await;
    // PostgreSQL chooses, locks and leases in one statement.
    let claim = if coredock_testkit::production_backends() { 1 } else { 1 + 2 + 2 };
    assert_eq!(bench.db.statement_count() - before, claim);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn eight_workers_share_five_hundred_jobs_without_a_double_claim() {
    let (bench, device_id) = Bench::with_device().await;
    bench.sql(&format!(
        "WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i + 1 < 500) \
         INSERT INTO coredumps (device_id, chip, firmware_version, size, sha256, next_attempt_at, \
         uploaded_at, created_at, updated_at) SELECT {device_id}, 'esp32', '1.0.0', 4, \
         {sha256}, {at}, {at}, {at}, {at} FROM n",
        sha256 = bench.digits("i", 64),
        at = bench.instant(&format!("'{}'", second(50)))
    ));
    let mut workers = tokio::task::JoinSet::new();
    for worker in 0..8 {
        let db = bench.db.clone();
        workers.spawn(async move {
            let mut ids = Vec::new();
            loop {
                let owner = owner_of(&format!("{worker}{:03x}", ids.len()));
                let (now, until) = (second(100), second(100).after(MINUTE));
                let claim = ClaimJobs { owner, now, until, max_attempts: 3, max_jobs: 1 };
                match ParseJobRepository::claim(&db, claim).await.unwrap().pop() {
                    Some(Claimed::Job(job)) => ids.push(job.id),
                    Some(Claimed::Exhausted(job)) => panic!("{job:?}"),
                    None => return ids,
                }
            }
        });
    }
    let claimed = workers.join_all().await.concat();
    assert_eq!(claimed.len(), 500);
    assert_eq!(claimed.iter().collect::<HashSet<_>>().len(), 500);
}

#[tokio::test]
async fn jobs_never_tried_are_claimed_and_finished_together_and_tried_ones_alone() {
    let (bench, device_id) = Bench::with_device().await;
    let mut ids = Vec::new();
    for body in ["a", "b", "c", "d", "e"] {
        ids.push(bench.store(&Dump { body, max_dumps: 10, ..Dump::default() }).await);
    }
    let claim = async |owner: &str, at| {
        let (now, until) = (second(at), second(at).after(MINUTE));
        let owner = owner_of(owner);
        let claim = ClaimJobs { owner, now, until, max_attempts: 3, max_jobs: 3 };
        let jobs = ParseJobRepository::claim(&bench.db, claim).await.unwrap();
        jobs.into_iter()
            .map(|claimed| match claimed {
                Claimed::Job(job) => *job,
                Claimed::Exhausted(_) => panic!("{claimed:?}"),
            })
            .collect::<Vec<_>>()
    };
    let ids_of = |jobs: &[ParseJob]| jobs.iter().map(|job| job.id).collect::<Vec<_>>();
    // PostgreSQL leases one job per claim.
    let together = if coredock_testkit::production_backends() { 1 } else { 3 };
    let jobs = claim("a1", 100).await;
    assert_eq!(ids_of(&jobs), ids[..together]);
    assert!(jobs.iter().all(|job| job.attempts == 1));

    let result = |job, owner| FinishJob { max_coredumps: 10, ..parsed(job, owner, 101) };
    let mut results: Vec<_> = jobs.iter().map(|job| result(job, "a1")).collect();
    results.push(result(&jobs[0], "ff"));
    let finished = ParseJobRepository::finish(&bench.db, &results).await.unwrap();
    let expected = [vec![true; together], vec![false]].concat();
    assert_eq!(finished.iter().map(Option::is_some).collect::<Vec<_>>(), expected);
    for id in &ids[..together] {
        assert_eq!(bench.coredump(device_id, *id).await.summary.parse_status, ParseStatus::Parsed);
    }

    bench.sql(&format!("UPDATE coredumps SET attempts = 1 WHERE id = {}", ids[together]));
    assert_eq!(ids_of(&claim("a2", 102).await), [ids[together]], "alone");
    assert_eq!(claim("a3", 102).await[0].id, ids[together + 1]);
}

#[tokio::test]
async fn an_expired_lease_counts_as_an_attempt_until_none_is_left() {
    let (bench, device_id) = Bench::with_device().await;
    let id = bench.store(&Dump::default()).await;
    for (owner, at, attempts) in [("a1", 100, 1), ("a2", 160, 2), ("a3", 220, 3)] {
        assert_eq!(bench.job(owner, at).await.attempts, attempts);
        assert_eq!(bench.claim_job("ff", at + 59).await, None);
    }
    for (owner, at) in [("a4", 280), ("a5", 340)] {
        let Some(Claimed::Exhausted(job)) = bench.claim_job(owner, at).await else { panic!() };
        assert_eq!((job.id, job.attempts), (id, 3));
        assert_eq!(bench.claim_job("ff", at).await, None, "an exhausted job is leased too");
    }
    let Some(Claimed::Exhausted(job)) = bench.claim_job("a6", 400).await else { panic!() };
    assert_eq!(bench.finish(parsed(&job, "a6", 401)).await.unwrap().pruned, Vec::<i64>::new());
    assert_eq!(bench.coredump(device_id, id).await.attempts, 3);
}

#[tokio::test]
async fn only_the_owner_renews_a_lease() {
    let (bench, _) = Bench::with_device().await;
    let id = bench.store(&Dump::default()).await;
    bench.job("aa", 100).await;
    let renew = async |owner| bench.db.renew(id, &owner_of(owner), second(300)).await.unwrap();
    assert!(renew("aa").await);
    assert!(!renew("bb").await);
    assert_eq!(bench.claim_job("bb", 299).await, None);
    let job = bench.job("bb", 300).await;
    assert!(!renew("aa").await);
    bench.finish(parsed(&job, "bb", 301)).await.unwrap();
    assert!(!renew("bb").await, "a finished job has no lease");
    assert!(!bench.db.renew(77, &owner_of("bb"), second(300)).await.unwrap());
}

#[tokio::test]
async fn a_postponed_job_is_due_later_and_its_attempt_counts_or_not() {
    let (bench, device_id) = Bench::with_device().await;
    let id = bench.store(&Dump::default()).await;
    let attempts = async || bench.coredump(device_id, id).await.attempts;
    let job = bench.job("aa", 100).await;
    bench.postpone(&job, "ff", 500, true).await;
    assert_eq!(bench.claim_job("bb", 110).await, None, "only the owner of the lease can postpone");
    bench.postpone(&job, "aa", 130, true).await;
    assert_eq!(attempts().await, 1);
    assert_eq!(bench.coredump(device_id, id).await.next_attempt_at, Some(second(130)));
    assert_eq!(bench.claim_job("bb", 129).await, None);
    let job = bench.job("bb", 130).await;
    assert_eq!(job.attempts, 2);
    bench.postpone(&job, "bb", 160, false).await;
    assert_eq!(attempts().await, 1);
    let job = bench.job("cc", 160).await;
    bench.sql("UPDATE coredumps SET attempts = 0");
    bench.postpone(&job, "cc", 170, false).await;
    assert_eq!(attempts().await, 0);
}

#[tokio::test]
async fn the_queue_is_counted_by_what_its_jobs_wait_for() {
    let (bench, _) = Bench::with_device().await;
    assert_eq!(bench.db.queue(second(0)).await.unwrap(), QueueState::default());
    let bodies = ["a", "b", "c", "d", "e", "f"];
    for (body, at) in bodies.iter().zip(100..) {
        bench.store(&Dump { body, at, max_dumps: 10, ..Dump::default() }).await;
    }
    let jobs = [bench.job("a1", 110).await, bench.job("a2", 110).await];
    bench.finish(FinishJob { max_coredumps: 10, ..parsed(&jobs[0], "a1", 111) }).await.unwrap();
    bench.sql("UPDATE coredumps SET parse_status = 'ERROR', next_attempt_at = NULL WHERE id = 6");
    let delayed = bench.job("a3", 110).await;
    bench.postpone(&delayed, "a3", 200, true).await;
    bench.store(&Dump { body: "g", at: 100, max_dumps: 10, ..Dump::default() }).await;
    let before = bench.db.statement_count();
    let expected = QueueState {
        parsed: 1,
        errors: 1,
        pending: 5,
        ready: 3,
        delayed: 1,
        running: 1,
        oldest_ready: Some(second(100)),
    };
    assert_eq!(bench.db.queue(second(112)).await.unwrap(), expected);
    assert_eq!(bench.db.statement_count() - before, 1);
    let later = bench.db.queue(second(200)).await.unwrap();
    assert_eq!((later.ready, later.delayed, later.running), (5, 0, 0), "the lease expired");
}

#[tokio::test]
async fn a_job_without_a_digest_is_reported_as_corrupt() {
    let (bench, _) = Bench::with_device().await;
    bench.store(&Dump::default()).await;
    bench.sql("UPDATE coredumps SET sha256 = NULL");
    let (now, until) = (second(200), second(260));
    let owner = owner_of("aa");
    let claim = ClaimJobs { owner, now, until, max_attempts: 3, max_jobs: 1 };
    let error = ParseJobRepository::claim(&bench.db, claim).await.unwrap_err();
    assert!(matches!(error, RepositoryError::Corrupt { table: "coredumps", column: "sha256" }));
}

#[tokio::test]
async fn builds_come_in_the_order_of_how_well_they_fit() {
    let bench = Bench::new().await;
    let (one, two) = (bench.model("one").await, bench.model("two").await);
    let of_one = Set { model_id: one, model: "one", ..Set::default() };
    let of_two = Set { model_id: two, model: "two", ..Set::default() };
    bench.publish(&Set { version: "1.0.0", seed: "a", at: 100, ..of_one }).await;
    bench.publish(&Set { version: "1.1.0", seed: "b", at: 101, upload: "bb", ..of_one }).await;
    bench.publish(&Set { version: "1.2.0", seed: "c", at: 102, upload: "cc", ..of_one }).await;
    bench.publish(&Set { version: "1.0.0", seed: "d", at: 103, upload: "dd", ..of_two }).await;
    bench.publish(&Set { version: "2.0.0", seed: "c", at: 104, upload: "ee", ..of_two }).await;
    // The hashes of tests have no common prefix: give them one.
    let common = "64d3738c";
    for table in ["known_builds", "firmware_versions"] {
        bench.sql(&format!("UPDATE {table} SET elf_sha256 = '{common}' || substr(elf_sha256, 9)"));
    }
    let build = |seed: &str| {
        let text = facts(seed).build_id().to_string();
        format!("{common}{}", &text[8..]).parse::<Sha256Digest>().unwrap()
    };
    let builds = async |id: &str, model: &str, version: &str| {
        let build_id = BuildId::parse(id).unwrap();
        let model = ModelCode::parse(model).unwrap();
        let wanted = WantedBuild { build_id, model, version: version.to_owned() };
        let found = bench.db.builds(&WantedElf::Build(wanted)).await.unwrap();
        found.into_iter().map(|build| build.elf_sha256).collect::<Vec<Sha256Digest>>()
    };
    let before = bench.db.statement_count();
    let of_one = [build("a"), build("c"), build("b"), build("d")];
    assert_eq!(builds(common, "one", "1.0.0").await, of_one);
    assert_eq!(bench.db.statement_count() - before, 2);
    let of_unknown_model = [build("d"), build("a"), build("c"), build("b")];
    assert_eq!(builds(common, "unknown", "1.0.0").await, of_unknown_model);
    assert_eq!(builds(&build("b").to_string(), "one", "1.0.0").await, [build("b")]);
    assert_eq!(builds("64d3738d", "one", "1.0.0").await, []);
}
