//! The queue of parse jobs, worked on by two replicas that make no reports.

use std::collections::HashSet;
use std::time::Instant;

use anyhow::{Result, ensure};

use super::replica::RunningReplica;
use super::{AT_ONCE, pgbench, told};
use crate::report::per_second;
use crate::report::{Figure, Limit};
use crate::server::release_binary;
use coredock_testkit::program::{program, run};
use coredock_testkit::services::postgres::PostgresServer;

const DATABASE: &str = "jobs";
const JOBS: usize = 10_000;
const REPLICAS: usize = 2;
/// What each device holds: as many dumps as `MAX_COREDUMPS` is by default.
const DEVICES: usize = JOBS / 20;

/// What pgbench does to a job, on the same table: one statement that chooses, locks and leases it, and
/// one that writes the result, each a commit.
const PEER: &str = "UPDATE coredumps SET lease_owner = 'pgbench', \
     lease_until = now() + interval '5 minutes', attempts = attempts + 1 WHERE id = (\
     SELECT id FROM coredumps WHERE parse_status = 'PENDING' AND next_attempt_at <= now() \
     AND (lease_until IS NULL OR lease_until <= now()) \
     ORDER BY turn_at NULLS FIRST, id LIMIT 1 FOR UPDATE SKIP LOCKED) RETURNING id \\gset\n\
     UPDATE coredumps SET parse_status = 'PARSED', parsed_output = 'empty', parsed_at = now(), \
     updated_at = now(), lease_owner = NULL, lease_until = NULL, next_attempt_at = NULL \
     WHERE id = :id;\n";

/// Ours and the peer in turns.
pub(super) fn measure(postgres: &PostgresServer, runs: usize) -> Result<Vec<Figure>> {
    println!("Jobs: {runs} times {JOBS} by pgbench, and by {REPLICAS} replicas");
    println!("  pgbench: an UPDATE that leases the first due job, and one that writes its result");
    postgres.create_database(DATABASE)?;
    let coredock = release_binary("coredock");
    let mut upgrade = program(&coredock.to_string_lossy(), &["upgrade-db"]);
    run(upgrade.env_clear().env("DATABASE_URL", postgres.url(DATABASE)))?;
    postgres.sql(DATABASE, &devices())?;
    let (mut ratios, mut ours, mut peers) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..runs {
        queue(postgres)?;
        let peer = pgbench::run((postgres, DATABASE), PEER, pgbench::Extent::Count(JOBS))?;
        check_results(postgres)?;
        queue(postgres)?;
        let rate = replicas(postgres)?;
        check_results(postgres)?;
        println!("  {rate:.0} jobs/s, pgbench {peer:.0}/s");
        ratios.push(rate / peer);
        ours.push(rate);
        peers.push(peer);
    }
    let what = "empty jobs, ratio to pgbench";
    Ok(vec![
        Figure { what, unit: "", runs: ratios, limit: Limit::AtLeast(0.5) },
        told("empty jobs claimed and finished by two replicas", "/s", ours),
        told("the same by two UPDATEs (pgbench, 16 clients)", "/s", peers),
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

/// Fills the table with nothing but due jobs.
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

/// Jobs per second.
fn replicas(postgres: &PostgresServer) -> Result<f64> {
    let start = || RunningReplica::start(&postgres.url(DATABASE), AT_ONCE / REPLICAS);
    let mut replicas = (0..REPLICAS).map(|_| start()).collect::<Result<Vec<_>>>()?;
    let began = Instant::now();
    for replica in &mut replicas {
        replica.begin()?;
    }
    let (mut claimed, mut distinct) = (0, HashSet::new());
    for replica in replicas {
        let of_replica = replica.claimed()?;
        claimed += of_replica.len();
        distinct.extend(of_replica);
    }
    let elapsed = began.elapsed();
    let twice = claimed - distinct.len();
    ensure!(twice == 0, "{twice} jobs were claimed twice");
    ensure!(claimed == JOBS, "{claimed} of {JOBS} jobs were claimed");
    per_second(JOBS, elapsed)
}

/// That every job got a result, in one attempt.
fn check_results(postgres: &PostgresServer) -> Result<()> {
    let parsed = "SELECT count(*) FROM coredumps WHERE parse_status = 'PARSED' AND attempts = 1 \
                  AND lease_owner IS NULL";
    let parsed = postgres.sql(DATABASE, parsed)?;
    ensure!(parsed == JOBS.to_string(), "{parsed} of {JOBS} jobs have a result");
    Ok(())
}
