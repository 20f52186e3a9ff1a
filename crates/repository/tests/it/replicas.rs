//! Several processes on one `PostgreSQL` database.

use std::collections::HashMap;

use coredock_domain::symbolication::jobs::ParseJobRepository;
use coredock_domain::symbolication::jobs::{ClaimJobs, Claimed, FinishJob};
use coredock_repository::Database;

use crate::support::dumps::parsed;
use crate::support::{Bench, MINUTE, connect_to, owner as owner_of, second};

const JOBS: usize = 10_000;

/// Claims and finishes until nothing is left; the ids of the jobs.
async fn work(db: Database, worker: usize) -> Vec<i64> {
    let mut ids = Vec::new();
    loop {
        let owner = format!("{worker:x}{:08x}", ids.len());
        let (now, until) = (second(100), second(100).after(MINUTE));
        let claim = ClaimJobs { owner: owner_of(&owner), now, until, max_attempts: 3, max_jobs: 1 };
        match ParseJobRepository::claim(&db, claim).await.unwrap().pop() {
            Some(Claimed::Job(job)) => {
                let result = FinishJob { max_coredumps: 1_000, ..parsed(&job, &owner, 110) };
                let finished = ParseJobRepository::finish(&db, &[result]).await.unwrap();
                assert!(finished[0].is_some(), "another worker had leased the job");
                ids.push(job.id);
            }
            Some(Claimed::Exhausted(job)) => panic!("{job:?}"),
            None => return ids,
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn two_replicas_share_ten_thousand_jobs_without_a_double_claim() {
    let bench = Bench::postgres().await;
    let model_id = bench.model("demo").await;
    for device in 0..20 {
        let device_id = bench.device(model_id, &format!("{device:08}")).await;
        bench.sql(&format!(
            "INSERT INTO coredumps (device_id, chip, firmware_version, size, sha256, \
             next_attempt_at, uploaded_at, created_at, updated_at) \
             SELECT {device_id}, 'esp32', '1.0.0', 4, lpad(i::text, 64, '0'), t, t, t, t \
             FROM generate_series(1, {}) i, (VALUES ('{}'::timestamptz)) at(t)",
            JOBS / 20,
            second(50)
        ));
    }
    let mut workers = tokio::task::JoinSet::new();
    for replica in 0..2 {
        let db = connect_to(&bench.url()).unwrap();
        for worker in 0..4 {
            workers.spawn(work(db.clone(), replica * 4 + worker));
        }
    }
    let mut claims: HashMap<i64, usize> = HashMap::new();
    while let Some(ids) = workers.join_next().await {
        ids.unwrap().into_iter().for_each(|id| *claims.entry(id).or_default() += 1);
    }
    assert_eq!(claims.len(), JOBS);
    assert!(claims.values().all(|times| *times == 1), "claimed twice");
    let once = "SELECT count(*) FROM coredumps WHERE parse_status = 'PARSED' AND attempts = 1";
    assert_eq!(bench.lines(once), [JOBS.to_string()]);
    let deadlocks = "SELECT deadlocks FROM pg_stat_database WHERE datname = current_database()";
    assert_eq!(bench.lines(deadlocks), ["0"]);
}
