//! A process which claims parse jobs and finishes them at once, with the repository of the server
//! and on threads as the server has them.

use std::io::{BufRead, BufReader, Read, Write, stdin};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use coredock::adapters::Rows;
use coredock::backends::open_database;
use coredock::config::{Config, Overrides};
use coredock::system::SystemClock;
use coredock_domain::Clock;
use coredock_domain::symbolication::jobs::Claimed;
use coredock_domain::symbolication::jobs::ParseJobRepository;
use tokio::task::JoinSet;

use crate::parse_job;
use crate::server::release_binary;

const READY: &str = "ready";
const END: &str = "end";
/// The default of this setting.
const MAX_COREDUMPS: u32 = 20;

#[derive(Args)]
pub struct Replica {
    /// Number of jobs in work at once
    #[arg(long)]
    workers: usize,
}

impl Replica {
    /// Prints `ready`, waits for a line, works until no job is due, and prints the id of each job
    /// and `end`. The settings are those of the server, from the environment.
    pub fn run(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(self.work())
    }

    async fn work(self) -> Result<()> {
        let config = Config::load(&Overrides::default())?;
        let rows = Rows::of(&open_database(&config).await?);
        // Opens the connections before time is measured.
        let mut queries = JoinSet::new();
        for _ in 0..self.workers {
            let jobs = Arc::clone(&rows.jobs);
            queries.spawn(async move { jobs.queue(SystemClock.now()).await });
        }
        while let Some(answer) = queries.join_next().await {
            answer??;
        }
        println!("{READY}");
        stdin().lock().read_line(&mut String::new())?;
        let mut workers = JoinSet::new();
        let runtime = tokio::runtime::Handle::current();
        for _ in 0..self.workers {
            let (jobs, runtime) = (Arc::clone(&rows.jobs), runtime.clone());
            workers.spawn_blocking(move || runtime.block_on(drain(&*jobs)));
        }
        while let Some(claimed) = workers.join_next().await {
            for id in claimed?? {
                println!("{id}");
            }
        }
        println!("{END}");
        Ok(())
    }
}

/// Claims and finishes until nothing is due.
async fn drain(jobs: &dyn ParseJobRepository) -> Result<Vec<i64>> {
    let mut claimed = Vec::new();
    loop {
        let claim = parse_job::claim(SystemClock.now());
        let owner = claim.owner.clone();
        let job = match jobs.claim(claim).await?.pop() {
            None => return Ok(claimed),
            Some(Claimed::Exhausted(job)) => bail!("job {} has no attempt left", job.id),
            Some(Claimed::Job(job)) => job,
        };
        let result = parse_job::empty_result(&job, owner, SystemClock.now(), MAX_COREDUMPS);
        let finished = jobs.finish(&[result]).await?;
        ensure!(finished.iter().all(Option::is_some), "the lease of job {} was lost", job.id);
        claimed.push(job.id);
    }
}

/// The process of a replica; killed when dropped.
pub(super) struct RunningReplica {
    child: Child,
    output: BufReader<std::process::ChildStdout>,
}

impl RunningReplica {
    /// Starts it and waits until it is ready.
    pub(super) fn start(database: &str, workers: usize) -> Result<Self> {
        let mut child = Command::new(release_binary("xtask"))
            .args(["bench-replica", "--workers", &workers.to_string()])
            .env_clear()
            .env("DATABASE_URL", database)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start a replica")?;
        let output = child.stdout.take().context("the replica has no standard output")?;
        let mut replica = Self { child, output: BufReader::new(output) };
        let mut line = String::new();
        replica.output.read_line(&mut line)?;
        ensure!(line.trim() == READY, "expected `{READY}` from the replica, found `{line}`");
        Ok(replica)
    }

    pub(super) fn begin(&mut self) -> Result<()> {
        let input = self.child.stdin.as_mut().context("the replica has no standard input")?;
        Ok(input.write_all(b"go\n")?)
    }

    /// Waits for its end and returns the jobs it claimed.
    pub(super) fn claimed(mut self) -> Result<Vec<i64>> {
        let mut printed = String::new();
        self.output.read_to_string(&mut printed)?;
        let ids = printed.trim_end().strip_suffix(END);
        let ids = ids.with_context(|| format!("the replica ended without `{END}`"))?;
        ids.lines().map(|id| Ok(id.parse()?)).collect()
    }
}

impl Drop for RunningReplica {
    fn drop(&mut self) {
        // Both fail when it has ended already, and then nothing is left to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
