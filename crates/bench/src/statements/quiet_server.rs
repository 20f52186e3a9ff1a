//! A server in this process that does nothing by itself.

use std::sync::Arc;

use anyhow::{Result, ensure};
use coredock::adapters::Adapters;
use coredock::backends::Backends;
use coredock::config::{Config, Overrides};
use coredock::server::{self, RunningServer};
use coredock::start_up::StartUp;
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
/// `MAX_COREDUMPS`
pub(super) const KEPT: u32 = 4;

/// A job and its new owner.
type ClaimedJob = (Box<ParseJob>, LeaseOwner);

/// The server and a connection to it.
pub(super) struct QuietServer {
    client: Client,
    adapters: Adapters,
    server: Option<RunningServer>,
    runtime: Runtime,
    /// Kept until the server has ended.
    _data: TempDir,
}

impl QuietServer {
    /// Starts a server on this database, else on `SQLite`. Its clock stands still, so that its workers
    /// sleep once each has looked around.
    pub(super) fn start(database: Option<&str>) -> Result<Self> {
        let data = TempDir::with_prefix_in("bench-", root().join("target"))?;
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        let settings = [
            ("DATA_DIR", data.path().join("data").display().to_string()),
            ("DATABASE_URL", database.unwrap_or_default().to_owned()),
            ("MAX_COREDUMPS", KEPT.to_string()),
            ("SYMBOLIZER", "off".to_owned()),
            ("PORT", "0".to_owned()),
        ];
        let settings = settings.map(|(name, value)| (name.to_owned(), value));
        let config = Config::read(&Overrides::default(), settings)?;
        let (server, adapters) = runtime.block_on(serve(&config))?;
        let client = Client::connect(server.address())?;
        Ok(Self { client, adapters, server: Some(server), runtime, _data: data })
    }

    /// Makes a request that must succeed, and returns its answer, `null` when that is no JSON, and its
    /// statements.
    pub(super) fn request(
        &mut self,
        (method, path): (&str, &str),
        body: &[u8],
    ) -> Result<(Value, u64)> {
        let before = self.adapters.database.statement_count();
        let answer = self.client.send(method, path, body)?;
        let statements = self.adapters.database.statement_count() - before;
        let told = String::from_utf8_lossy(&answer.body);
        ensure!((200..300).contains(&answer.status), "{method} {path}: {} {told}", answer.status);
        Ok((serde_json::from_slice(&answer.body).unwrap_or_default(), statements))
    }

    /// What a worker does that looks for a job: the job, if any, its new owner, and the statements.
    pub(super) fn claim(&self) -> Result<(Option<ClaimedJob>, u64)> {
        let claim = parse_job::claim(self.adapters.clock.now());
        let owner = claim.owner.clone();
        let before = self.adapters.database.statement_count();
        let claimed = self.runtime.block_on(self.adapters.rows.jobs.claim(claim))?;
        let statements = self.adapters.database.statement_count() - before;
        let job = claimed.into_iter().next().map(|claimed| match claimed {
            Claimed::Job(job) | Claimed::Exhausted(job) => (job, owner),
        });
        Ok((job, statements))
    }

    /// Writes the result of a claimed job.
    pub(super) fn finish(&self, (job, owner): ClaimedJob) -> Result<u64> {
        let result = parse_job::empty_result((&job, owner), self.adapters.clock.now(), KEPT);
        let before = self.adapters.database.statement_count();
        let finished = self.runtime.block_on(self.adapters.rows.jobs.finish(&[result]))?;
        ensure!(finished.iter().all(Option::is_some), "a job was taken away");
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
    // Workers wait for hints that nobody gives.
    features.wakeups = Arc::default();
    StartUp::default().advance(&backends, &features.upkeep, true).await?;
    let server = RunningServer::start(config, &adapters, features, listener)?;
    clock.until_sleeping(WORKERS).await;
    Ok((server, adapters))
}
