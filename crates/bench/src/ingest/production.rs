//! Dumps and parse jobs on `PostgreSQL` and an S3 server, against what the two do for clients of
//! their own.

mod jobs;
mod pgbench;
mod puts;
mod replica;

use std::time::Duration;

use anyhow::Result;

use super::burst::{Burst, Extent};
use super::{AT_ONCE, KEEP_ALL, OFF, note, told};
use crate::report::{Figure, Limit};
use crate::server::{Server, release_binary};
use coredock_testkit::services::postgres::{Durability, PostgresServer};
use coredock_testkit::services::s3::S3s;
use pgbench::Extent as Clients;
use puts::Headers;
pub use replica::Replica;

/// Of each peer, and of ours.
const DURATION: Duration = Duration::from_secs(4);
/// One row per commit, about as long as that of a dump.
const INSERT: &str = "INSERT INTO notes (text) VALUES (repeat('x', 300));\n";

/// Servers that both Coredock and its peers talk to.
struct Rig {
    postgres: PostgresServer,
    s3: S3s,
}

impl Rig {
    fn start() -> Result<Self> {
        Ok(Self {
            postgres: PostgresServer::start(Durability::Full)?,
            s3: S3s::start_as(&release_binary("xtask"))?,
        })
    }

    /// Coredock on a database and a bucket of its own.
    fn server(&self, name: &str) -> Result<Server> {
        self.postgres.create_database(name)?;
        let mut settings = self.s3.settings(&name.replace('_', "-"));
        settings.push(("DATABASE_URL", self.postgres.url(name)));
        let mut settings: Vec<_> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        settings.extend([OFF, KEEP_ALL]);
        Server::start(&settings)
    }
}

/// All figures of the servers.
pub(crate) fn measure(runs: usize) -> Result<Vec<Figure>> {
    let rig = Rig::start()?;
    let mut figures = rates(&rig, runs)?;
    figures.extend(jobs::measure(&rig.postgres, runs)?);
    Ok(figures)
}

/// Ours and both peers in turns, so that the machine's mood hits all of them.
fn rates(rig: &Rig, runs: usize) -> Result<Vec<Figure>> {
    println!("Ingest: {runs} times {DURATION:?} of commits, of PUTs and of dumps in turns");
    rig.postgres.create_database("peer")?;
    let notes = "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
                 text text NOT NULL)";
    rig.postgres.sql("peer", notes)?;
    rig.s3.make_bucket("peer")?;
    let (mut ratios, mut ours) = (Vec::new(), Vec::new());
    let (mut commits, mut puts) = (Vec::new(), Vec::new());
    let (mut strict, mut bare_puts) = (Vec::new(), Vec::new());
    let (mut medians, mut p99s) = (Vec::new(), Vec::new());
    for run in 0..runs {
        let of_commits = pgbench::run((&rig.postgres, "peer"), INSERT, Clients::For(DURATION))?;
        let bucket = rig.s3.settings("peer");
        let of_puts = puts::rate(&bucket, Headers::OfCoredock, DURATION)?;
        let of_bare_puts = puts::rate(&bucket, Headers::None, DURATION)?;
        let server = rig.server(&format!("dumps_{run}"))?;
        let taken = Burst::prepare(&server)?.run(Extent::For(DURATION))?;
        println!(
            "  {:.0} dumps/s, {of_commits:.0} commits/s, {of_puts:.0} PUTs/s, \
             {of_bare_puts:.0} bare PUTs/s",
            taken.per_second
        );
        ratios.push(taken.per_second / of_commits.min(of_puts));
        strict.push(taken.per_second / of_commits.min(of_bare_puts));
        commits.push(of_commits);
        bare_puts.push(of_bare_puts);
        puts.push(of_puts);
        note(&taken, &mut [&mut ours, &mut medians, &mut p99s]);
    }
    let what = "dumps, ratio to the slower of both";
    Ok(vec![
        Figure { what, unit: "", runs: ratios, limit: Limit::AtLeast(0.5) },
        told("the same, PUTs without metadata and checksum", "", strict),
        told("dumps of 64 KiB (16 connections, PostgreSQL, S3)", "/s", ours),
        told("commits of one row (pgbench, 16 clients), alone", "/s", commits),
        told("PUTs of 64 KiB (16 at once), alone", "/s", puts),
        told("PUTs without metadata and checksum, alone", "/s", bare_puts),
        told("dumps, median", "ms", medians),
        told("dumps, p99", "ms", p99s),
    ])
}
