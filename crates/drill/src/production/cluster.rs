//! Replicas with the database and the bucket they share, and paths to both that can be broken.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coredock_testkit::postgres::{execute, url_of};
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use super::super::findings::Findings;
use super::super::load::Servers;
use super::super::process::{Life, Site};
use super::super::trial::settings;
use super::faults::FAILING_COMMITS;
use super::rows::PostgresDatabase;
use coredock_testkit::services::postgres::{Durability, PostgresServer};
use coredock_testkit::services::proxy::Proxy;
use coredock_testkit::services::s3::S3s;

const DATABASE: &str = "drill";
const BUCKET: &str = "drill";
/// A lease that is held longer while nothing is broken is of somebody dead: all that the living do
/// takes less.
const LONGEST_HELD: Duration = Duration::from_secs(3);
/// Between two looks at leases.
const LOOK: Duration = Duration::from_millis(200);

/// A replica, dead or alive.
pub(super) struct Replica {
    pub(super) site: Site,
    pub(super) life: Option<Life>,
}

/// Everything that runs.
pub(super) struct Cluster {
    pub(super) replicas: Vec<Replica>,
    pub(super) to_postgres: Proxy,
    pub(super) to_s3: Proxy,
    pub(super) postgres: PostgresServer,
    pub(super) s3: S3s,
    pub(super) database: PostgresDatabase,
    pub(super) servers: Arc<Servers>,
    /// How often the database server must have been ready to be up again.
    pub(super) starts: usize,
    /// Processes that stand still.
    pub(super) frozen: Vec<Pid>,
    sidecar: String,
    lives: usize,
    /// Since when a lease was seen while nothing is broken.
    held: BTreeMap<String, Instant>,
    looked: Instant,
}

impl Cluster {
    /// Starts the servers, not the replicas.
    pub(super) fn start(
        (binary, root): (&Path, &Path),
        replicas: usize,
        (runtime, sidecar): (&Runtime, &str),
    ) -> Result<Self> {
        let postgres = PostgresServer::start(Durability::Full)?;
        let s3 = S3s::start()?;
        let to_postgres = Proxy::start(runtime, postgres.port())?;
        let to_s3 = Proxy::start(runtime, s3.port())?;
        let server = postgres.url("postgres");
        execute(&server, &format!("CREATE DATABASE {DATABASE}"));
        let settings = shared_settings(root, (to_postgres.address(), to_s3.address()))?;
        let replicas = (1..=replicas).map(|number| {
            let root = root.join(format!("replica-{number}"));
            std::fs::create_dir(&root)?;
            let site = Site { binary: binary.to_owned(), root, settings: settings.clone() };
            Ok(Replica { site, life: None })
        });
        Ok(Self {
            replicas: replicas.collect::<Result<_>>()?,
            to_postgres,
            to_s3,
            postgres,
            s3,
            database: PostgresDatabase { url: url_of(&server, DATABASE) },
            servers: Arc::default(),
            starts: 0,
            frozen: Vec::new(),
            sidecar: sidecar.to_owned(),
            lives: 0,
            held: BTreeMap::new(),
            looked: Instant::now(),
        })
    }

    /// Lets commits fail at will from now on; the tables are there.
    pub(super) fn prepare_failing_commits(&self) {
        execute(&self.database.url, FAILING_COMMITS);
    }

    /// Where the objects lie.
    pub(super) fn objects(&self) -> PathBuf {
        self.s3.bucket(BUCKET)
    }

    /// Starts replicas that are dead.
    pub(super) fn start_dead(&mut self) -> Result<()> {
        for replica in self.replicas.iter_mut().filter(|replica| replica.life.is_none()) {
            self.lives += 1;
            let life = Life::start(&replica.site, &self.sidecar, self.lives)?;
            replica.life = Some(life.amid_outages());
        }
        Ok(())
    }

    /// Tells clients of every replica that listens, ready or not.
    pub(super) fn announce(&self) -> Result<()> {
        for (number, replica) in self.replicas.iter().enumerate() {
            let life = replica.life.as_ref();
            let address = life.map(Life::address).transpose()?.flatten();
            self.servers.set(number, address);
        }
        Ok(())
    }

    /// Waits until every replica is ready; returns where they are.
    pub(super) fn wait_until_ready(&mut self) -> Result<Vec<SocketAddr>> {
        let mut addresses = Vec::new();
        for (number, replica) in self.replicas.iter_mut().enumerate() {
            let life = replica.life.as_mut().context("a replica was not started")?;
            let address = life.wait_until_ready()?;
            self.servers.set(number, Some(address));
            addresses.push(address);
        }
        Ok(addresses)
    }

    /// Kills a replica; one that is dead already is left alone. Whether it was alive.
    pub(super) fn kill(&mut self, replica: usize, findings: &mut Findings) -> Result<bool> {
        self.servers.set(replica, None);
        let Some(life) = self.replicas[replica].life.take() else { return Ok(false) };
        life.kill(findings)?;
        Ok(true)
    }

    /// Asks every replica to end.
    pub(super) fn stop(&mut self, findings: &mut Findings) -> Result<()> {
        for (number, replica) in self.replicas.iter_mut().enumerate() {
            self.servers.set(number, None);
            if let Some(life) = replica.life.take() {
                life.stop(findings)?;
            }
        }
        Ok(())
    }

    /// Lets processes that stand still go on.
    pub(super) fn thaw(&mut self) {
        for process in self.frozen.drain(..) {
            // It may have been killed meanwhile.
            let _killed = kill_process(process, Signal::CONT);
        }
    }

    /// Forgets who held leases: something was broken.
    pub(super) fn forget_leases(&mut self) {
        self.held.clear();
    }

    /// Ends leases that only the dead can still hold. Waiting for their own end would take a minute.
    pub(super) fn release_dead(&mut self) {
        if self.looked.elapsed() < LOOK {
            return;
        }
        self.looked = Instant::now();
        let owners = self.database.lease_owners();
        self.held.retain(|owner, _| owners.contains(owner));
        let mut dead = Vec::new();
        for owner in owners {
            let since = self.held.entry(owner.clone()).or_insert(self.looked);
            if since.elapsed() > LONGEST_HELD {
                dead.push(owner);
            }
        }
        if !dead.is_empty() {
            self.database.end_leases(&dead);
        }
    }

    /// Names of dumps that wait in the rescue spools.
    pub(super) fn rescued(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for replica in &self.replicas {
            let spool = replica.site.data().join("rescue");
            for name in super::super::process::names_in(&spool)? {
                if !name.ends_with("rescue.lock") {
                    names.push(name);
                }
            }
        }
        Ok(names)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        self.thaw();
    }
}

/// What all replicas are told.
fn shared_settings(
    root: &Path,
    (postgres, s3): (SocketAddr, SocketAddr),
) -> Result<Vec<(&'static str, String)>> {
    let transfer = root.join("transfer");
    std::fs::create_dir(&transfer)?;
    let mut settings = settings(&transfer)?;
    let (access_key, secret) = S3s::credentials();
    settings.extend([
        ("DATABASE_URL", format!("postgres://postgres@{postgres}/{DATABASE}")),
        ("DB_POOL_SIZE", "6".to_owned()),
        ("DB_POOL_MAX_OVERFLOW", "4".to_owned()),
        ("DB_POOL_TIMEOUT", "1".to_owned()),
        ("S3_ENDPOINT_URL", format!("http://{s3}")),
        ("S3_ACCESS_KEY_ID", access_key.to_owned()),
        ("S3_SECRET_ACCESS_KEY", secret.to_owned()),
        ("S3_BUCKET_NAME", BUCKET.to_owned()),
        ("S3_TIMEOUT_SECONDS", "1".to_owned()),
    ]);
    Ok(settings)
}
