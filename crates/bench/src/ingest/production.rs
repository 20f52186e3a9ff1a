//! Dumps and parse jobs on PostgreSQL and an S3 server, against the rates which the servers reach
//! with pgbench and an S3 client.

mod jobs;
mod pgbench;
mod puts;
mod replica;

use std::time::Duration;

use anyhow::Result;

use super::burst::{Burst, Bursts, Extent};
use super::{CONCURRENCY, NO_EVICTION, NO_SYMBOLIZER};
use crate::report::{Figure, Limit};
use crate::server::{Server, release_binary};
use coredock_testkit::services::postgres::{Durability, PostgresServer};
use coredock_testkit::services::s3::S3s;
use puts::Headers;
pub use replica::Replica;

/// Of each measurement.
const DURATION: Duration = Duration::from_secs(4);
/// One row per commit, about as long as the row of a dump.
const INSERT: &str = "INSERT INTO notes (text) VALUES (repeat('x', 300));\n";

/// The servers which Coredock and its peers use.
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

    /// Starts Coredock on a new database and a new bucket.
    fn server(&self, name: &str) -> Result<Server> {
        self.postgres.create_database(name)?;
        let mut settings = self.s3.settings(&name.replace('_', "-"));
        settings.push(("DATABASE_URL", self.postgres.url(name)));
        let mut settings: Vec<_> =
            settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
        settings.extend([NO_SYMBOLIZER, NO_EVICTION]);
        Server::start(&settings)
    }
}

/// All figures on PostgreSQL and S3.
pub(crate) fn measure(runs: usize) -> Result<Vec<Figure>> {
    let rig = Rig::start()?;
    let mut figures = rates(&rig, runs)?;
    figures.extend(jobs::measure(&rig.postgres, runs)?);
    Ok(figures)
}

/// Measures Coredock and both peers alternately, so that changes of the machine affect all of them.
fn rates(rig: &Rig, runs: usize) -> Result<Vec<Figure>> {
    println!("Ingest: {runs} times {DURATION:?} of commits, of PUTs and of dumps, alternately");
    rig.postgres.create_database("peer")?;
    let notes = "CREATE TABLE notes (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, \
                 text text NOT NULL)";
    rig.postgres.sql("peer", notes)?;
    rig.s3.make_bucket("peer")?;
    let (mut ratios, mut ratios_to_bare_puts) = (Vec::new(), Vec::new());
    let (mut commits, mut puts, mut bare_puts) = (Vec::new(), Vec::new(), Vec::new());
    let mut dumps = Bursts::default();
    for run in 0..runs {
        let commit_rate = pgbench::run(&rig.postgres, "peer", INSERT, Extent::For(DURATION))?;
        let bucket = rig.s3.settings("peer");
        let put_rate = puts::rate(&bucket, Headers::OfCoredock, DURATION)?;
        let bare_put_rate = puts::rate(&bucket, Headers::None, DURATION)?;
        let server = rig.server(&format!("dumps_{run}"))?;
        let received = Burst::prepare(&server)?.run(Extent::For(DURATION))?;
        println!(
            "  {:.0} dumps/s, {commit_rate:.0} commits/s, {put_rate:.0} PUTs/s, \
             {bare_put_rate:.0} bare PUTs/s",
            received.per_second
        );
        ratios.push(received.per_second / commit_rate.min(put_rate));
        ratios_to_bare_puts.push(received.per_second / commit_rate.min(bare_put_rate));
        commits.push(commit_rate);
        bare_puts.push(bare_put_rate);
        puts.push(put_rate);
        dumps.add(&received);
    }
    let name = "dumps, ratio to the slower of PostgreSQL and S3";
    let name_of_bare_puts = "the same, PUTs without metadata and checksum";
    Ok(vec![
        Figure { name, unit: "", runs: ratios, limit: Limit::AtLeast(0.5) },
        Figure::without_limit(name_of_bare_puts, "", ratios_to_bare_puts),
        Figure::without_limit("dumps of 64 KiB (16 connections)", "/s", dumps.rates),
        Figure::without_limit("commits of one row (pgbench, 16 clients)", "/s", commits),
        Figure::without_limit("PUTs of 64 KiB (16 at once)", "/s", puts),
        Figure::without_limit("PUTs without metadata and checksum", "/s", bare_puts),
        Figure::without_limit("dumps, median", "ms", dumps.medians),
        Figure::without_limit("dumps, p99", "ms", dumps.p99s),
    ])
}
