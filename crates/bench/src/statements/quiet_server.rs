//! A server in this process whose workers are idle.

use std::sync::Arc;

use anyhow::{Result, ensure};
use coredock::adapters::Adapters;
use coredock::backends::Backends;
use coredock::backends::preparation::Preparation;
use coredock::config::{Config, Overrides};
use coredock::server::{self, RunningServer};
use coredock::system::SystemClock;
use coredock::wiring::Features;
use coredock_domain::Clock;
use coredock_domain::ids::LeaseOwner;
use coredock_domain::symbolication::jobs::{Claimed, ParseJob};
use coredock_testkit::clock::SettableClock;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::parse_job;
use coredock_testkit::client::Client;
use coredock_testkit::program::root;

/// Queue, rescue spool, queued deletes, interrupted publications, sweep.
const WORKERS: usize = 5;
/// The setting of the server.
pub(super) const MAX_COREDUMPS: u32 = 4;

pub(super) struct ClaimedJob {
    job: Box<ParseJob>,
    owner: LeaseOwner,
}

/// The server and a connection to it.
pub(super) struct QuietServer {
    client: Client,
    adapters: Adapters,
    server: Option<RunningServer>,
    runtime: Runtime,
    /// Removed after the server has ended.
    _data: TempDir,
}

impl QuietServer {
    /// Starts a server on the database with this URL, or on SQLite. Its clock does not advance, so
    /// that each worker sleeps after its first round.
    pub(super) fn start(database: Option<&str>) -> Result<Self> {
        let data = TempDir::with_prefix_in("bench-", root().join("target"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let settings = [
            ("DATA_DIR", data.path().join("data").display().to_string()),
            ("DATABASE_URL", database.unwrap_or_default().to_owned()),
            ("MAX_COREDUMPS", MAX_COREDUMPS.to_string()),
            ("SYMBOLIZER", "off".to_owned()),
            ("PORT", "0".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value));
        let config = Config::read(&Overrides::default(), settings)?;
        let (server, adapters) = runtime.block_on(serve(&config))?;
        let client = Client::connect(server.address())?;
        Ok(Self { client, adapters, server: Some(server), runtime, _data: data })
    }

    /// Sends a request which must succeed. Returns its answer, `null` if that is not JSON, and the
    /// number of its statements.
    pub(super) fn request(
        &mut self,
        method: &str,
        path: &str,
        body: &[u8],
    ) -> Result<(Value, u64)> {
        let before = self.adapters.database.statement_count();
        let answer = self.client.send(method, path, body)?;
        let statements = self.adapters.database.statement_count() - before;
        let text = String::from_utf8_lossy(&answer.body);
        ensure!((200..300).contains(&answer.status), "{method} {path}: {} {text}", answer.status);
        Ok((serde_json::from_slice(&answer.body).unwrap_or_default(), statements))
    }

    /// Claims the next due job, as a worker does. Returns it with the number of statements.
    pub(super) fn claim(&self) -> Result<(Option<ClaimedJob>, u64)> {
        let claim = parse_job::claim(self.adapters.clock.now());
        let owner = claim.owner.clone();
        let before = self.adapters.database.statement_count();
        let claimed = self.runtime.block_on(self.adapters.rows.jobs.claim(claim))?;
        let statements = self.adapters.database.statement_count() - before;
        let job = claimed.into_iter().next().map(|claimed| match claimed {
            Claimed::Job(job) | Claimed::Exhausted(job) => ClaimedJob { job, owner },
        });
        Ok((job, statements))
    }

    /// Writes the result of a claimed job. Returns the number of statements.
    pub(super) fn finish(&self, ClaimedJob { job, owner }: ClaimedJob) -> Result<u64> {
        let now = self.adapters.clock.now();
        let result = parse_job::empty_result(&job, owner, now, MAX_COREDUMPS);
        let before = self.adapters.database.statement_count();
        let finished = self.runtime.block_on(self.adapters.rows.jobs.finish(&[result]))?;
        ensure!(finished.iter().all(Option::is_some), "the lease of job {} was lost", job.id);
        Ok(self.adapters.database.statement_count() - before)
    }
}

impl Drop for QuietServer {
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.runtime.block_on(server.abort());
        }
        self.adapters.database.close();
    }
}

async fn serve(config: &Config) -> Result<(RunningServer, Adapters)> {
    let listener = server::listen(config.http.listen)?;
    let backends = Backends::open(config).await?;
    let clock = Arc::new(SettableClock::at(SystemClock.now()));
    let mut adapters = backends.adapters.clone();
    adapters.clock = clock.clone();
    let mut features = Features::new(config, &adapters)?;
    // The workers wait for wake-ups which no request sends.
    features.wakeups = Arc::default();
    Preparation::default().advance(&backends, &features.upkeep, true).await?;
    let server = RunningServer::start(config, &adapters, features, listener)?;
    clock.until_sleeping(WORKERS).await;
    Ok((server, adapters))
}
