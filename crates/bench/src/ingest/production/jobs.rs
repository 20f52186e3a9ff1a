//! The queue of parse jobs, drained by two replicas which write empty results.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::replica::RunningReplica;
use super::{CONCURRENCY, Extent, pgbench};
use crate::fleet::MAX_COREDUMPS;
use crate::report::{Figure, Limit, per_second};
use crate::server::release_binary;
use coredock_testkit::program::{program, run};
use coredock_testkit::services::postgres::PostgresServer;

const DATABASE: &str = "jobs";
const JOBS: usize = 10_000;
const REPLICAS: usize = 2;
/// Each device has as many dumps as the default limit allows.
const DEVICES: usize = JOBS / MAX_COREDUMPS;

/// The script of pgbench, on the same table: a statement which chooses, locks and leases a job, and
/// a statement which writes its result, each in its own commit.
const SCRIPT: &str = "UPDATE coredumps SET lease_owner = 'pgbench', \
     lease_until = now() + interval '5 minutes', attempts = attempts + 1 WHERE id = (\
     SELECT id FROM coredumps WHERE parse_status = 'PENDING' AND next_attempt_at <= now() \
     AND (lease_until IS NULL OR lease_until <= now()) \
     ORDER BY turn_at NULLS FIRST, id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id \\gset\n\
     UPDATE coredumps SET parse_status = 'PARSED', parsed_output = 'empty', parsed_at = now(), \
     updated_at = now(), lease_owner = NULL, lease_until = NULL, next_attempt_at = NULL \
     WHERE id = :id;\n";

/// Measures Coredock and pgbench alternately.
pub(super) fn measure(postgres: &PostgresServer, runs: usize) -> Result<Vec<Figure>> {
    println!("Jobs: {runs} times {JOBS} by pgbench, and by {REPLICAS} replicas");
    println!("  pgbench: an UPDATE leases the first due job, another UPDATE writes its result");
    postgres.create_database(DATABASE)?;
    let coredock = release_binary("coredock");
    let mut upgrade = program(&coredock.to_string_lossy(), &["upgrade-db"]);
    run(upgrade.env_clear().env("DATABASE_URL", postgres.url(DATABASE)))?;
    postgres.sql(DATABASE, &devices())?;
    let (mut ratios, mut rates, mut pgbench_rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        queue(postgres)?;
        let pgbench_rate = pgbench::run(postgres, DATABASE, SCRIPT, Extent::Count(JOBS))?;
        check_results(postgres)?;
        queue(postgres)?;
        let rate = replicas(postgres)?;
        check_results(postgres)?;
        println!("  {rate:.0} jobs/s, pgbench {pgbench_rate:.0}/s");
        ratios.push(rate / pgbench_rate);
        rates.push(rate);
        pgbench_rates.push(pgbench_rate);
    }
    let name = "empty jobs, ratio to pgbench";
    let name_of_pgbench = "the same by two UPDATEs (pgbench, 16 clients)";
    Ok(vec![
        Figure { name, unit: "", runs: ratios, limit: Limit::AtLeast(0.5) },
        Figure::without_limit("empty jobs claimed and finished by two replicas", "/s", rates),
        Figure::without_limit(name_of_pgbench, "/s", pgbench_rates),
    ])
}

fn devices() -> String {
    format!(
        "INSERT INTO device_models (code, name, created_at, updated_at) \
         VALUES ('demo', 'Demo', now(), now());\
         INSERT INTO devices (key, device_model_id, config, active, created_at, updated_at) \
         SELECT 'dev' || lpad(n::text, 5, '0'), 1, '{{}}', true, now(), now() \
         FROM generate_series(1, {DEVICES}) n"
    )
}

/// Replaces all dumps by dumps with due jobs.
fn queue(postgres: &PostgresServer) -> Result<()> {
    let jobs = format!(
        "TRUNCATE coredumps;\
         INSERT INTO coredumps (device_id, chip, firmware_version, size, sha256, parse_status, \
         next_attempt_at, turn_at, uploaded_at, created_at, updated_at) \
         SELECT 1 + n % {DEVICES}, 'esp32s3', '1.0.0', 65536, \
         encode(sha256(n::text::bytea), 'hex'), 'PENDING', t, t, t, t, t FROM (\
         SELECT n, now() - interval '1 hour' + n * interval '1 millisecond' AS t \
         FROM generate_series(1, {JOBS}) n) jobs;\
         VACUUM ANALYZE coredumps;\
         CHECKPOINT"
    );
    postgres.sql(DATABASE, &jobs).map(drop)
}

/// Jobs which the replicas claim and finish per second.
fn replicas(postgres: &PostgresServer) -> Result<f64> {
    let start = || RunningReplica::start(&postgres.url(DATABASE), CONCURRENCY / REPLICAS);
    let mut replicas = (0..REPLICAS).map(|_| start()).collect::<Result<Vec<_>>>()?;
    let began = Instant::now();
    for replica in &mut replicas {
        replica.begin()?;
    }
    let (mut claimed, mut distinct) = (0, HashSet::new());
    for replica in replicas {
        let ids = replica.claimed()?;
        claimed += ids.len();
        distinct.extend(ids);
    }
    let elapsed = began.elapsed();
    let twice = claimed - distinct.len();
    ensure!(twice == 0, "{twice} jobs were claimed twice");
    ensure!(claimed == JOBS, "expected {JOBS} claimed jobs, found {claimed}");
    per_second(JOBS, elapsed)
}

/// Checks that every job has a result after one attempt.
fn check_results(postgres: &PostgresServer) -> Result<()> {
    let parsed = "SELECT count(*) FROM coredumps WHERE parse_status = 'PARSED' AND attempts = 1 \
                  AND lease_owner IS NULL";
    let parsed = postgres.sql(DATABASE, parsed)?;
    let expected = JOBS.to_string();
    ensure!(parsed == expected, "expected {expected} jobs with a result, found {parsed}");
    Ok(())
}
