//! Replicas with their database and their bucket, and paths to database and bucket that can be
//! broken.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use coredock_testkit::database::Database;
use coredock_testkit::invariants::Findings;
use coredock_testkit::services::postgres::{Durability, PostgresServer};
use coredock_testkit::services::s3::S3s;
use coredock_testkit::tcp_proxy::TcpProxy;
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use super::super::embedded::rows::{Leases, end_leases};
use super::super::load::Servers;
use super::super::process::{Life, Site, names_in, settings};
use super::faults::FAILING_COMMITS;
use super::rows::lease_owners;

const DATABASE: &str = "drill";
const BUCKET: &str = "drill";
/// A lease that exists for longer while no fault is injected belongs to a dead replica: all work of
/// a live replica takes less time.
const MAX_LEASE: Duration = Duration::from_secs(3);
/// Time between two checks of leases.
const LEASE_INTERVAL: Duration = Duration::from_millis(200);

/// A replica, dead or alive.
pub(super) struct Replica {
    pub(super) site: Site,
    pub(super) life: Option<Life>,
}

/// The replicas and their servers.
pub(super) struct Cluster {
    pub(super) replicas: Vec<Replica>,
    pub(super) to_postgres: TcpProxy,
    pub(super) to_s3: TcpProxy,
    pub(super) postgres: PostgresServer,
    pub(super) s3: S3s,
    pub(super) database: Database,
    pub(super) servers: Arc<Servers>,
    /// How often the database server must have become ready when it has recovered.
    pub(super) starts: usize,
    /// Processes that were stopped by a signal.
    pub(super) frozen: Vec<Pid>,
    sidecar: String,
    lives: usize,
    /// When each lease was first seen while no fault was injected.
    leases: BTreeMap<String, Instant>,
    leases_checked: Instant,
}

impl Cluster {
    /// Starts the database server and the S3 server, but not the replicas.
    pub(super) fn start(
        binary: &Path,
        root: &Path,
        replicas: usize,
        runtime: &Runtime,
        sidecar: &str,
    ) -> Result<Self> {
        let postgres = PostgresServer::start(Durability::Full)?;
        let s3 = S3s::start()?;
        let proxy = |port| runtime.block_on(TcpProxy::start(vec![format!("127.0.0.1:{port}")]));
        let (to_postgres, to_s3) = (proxy(postgres.port()), proxy(s3.port()));
        postgres.create_database(DATABASE)?;
        let database = Database::of_server(postgres.url(DATABASE));
        let settings = shared_settings(root, to_postgres.address(), to_s3.address())?;
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
            database,
            servers: Arc::default(),
            starts: 0,
            frozen: Vec::new(),
            sidecar: sidecar.to_owned(),
            lives: 0,
            leases: BTreeMap::new(),
            leases_checked: Instant::now(),
        })
    }

    /// Installs the trigger of failing commits; the tables must exist.
    pub(super) fn prepare_failing_commits(&self) -> Result<()> {
        self.database.execute(FAILING_COMMITS)
    }

    /// The directory of the objects.
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

    /// Publishes the addresses of all replicas that listen, ready or not.
    pub(super) fn announce(&self) -> Result<()> {
        for (number, replica) in self.replicas.iter().enumerate() {
            let life = replica.life.as_ref();
            let address = life.map(Life::address).transpose()?.flatten();
            self.servers.set(number, address);
        }
        Ok(())
    }

    /// Waits until every replica is ready; returns their addresses.
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

    /// Kills a replica; returns whether it was alive.
    pub(super) fn kill(&mut self, replica: usize, findings: &mut Findings) -> Result<bool> {
        self.servers.set(replica, None);
        let Some(life) = self.replicas[replica].life.take() else { return Ok(false) };
        life.kill(findings)?;
        Ok(true)
    }

    /// Stops every replica.
    pub(super) fn stop(&mut self, findings: &mut Findings) -> Result<()> {
        for (number, replica) in self.replicas.iter_mut().enumerate() {
            self.servers.set(number, None);
            if let Some(life) = replica.life.take() {
                life.stop(findings)?;
            }
        }
        Ok(())
    }

    /// Continues the processes that were stopped.
    pub(super) fn resume(&mut self) {
        for process in self.frozen.drain(..) {
            // The process may have been killed meanwhile.
            let _killed = kill_process(process, Signal::CONT);
        }
    }

    /// Restarts the times of all leases after a fault.
    pub(super) fn clear_leases(&mut self) {
        self.leases.clear();
    }

    /// Ends the leases of dead replicas, because waiting for their end would take a minute.
    pub(super) fn release_dead(&mut self) -> Result<()> {
        if self.leases_checked.elapsed() < LEASE_INTERVAL {
            return Ok(());
        }
        self.leases_checked = Instant::now();
        let owners = lease_owners(&self.database)?;
        self.leases.retain(|owner, _| owners.contains(owner));
        let mut dead = Vec::new();
        for owner in owners {
            let since = self.leases.entry(owner.clone()).or_insert(self.leases_checked);
            if since.elapsed() > MAX_LEASE {
                dead.push(owner);
            }
        }
        if !dead.is_empty() {
            end_leases(&self.database, &dead, Leases::AllButParses)?;
        }
        Ok(())
    }

    /// Names of dumps that wait in the rescue spools.
    pub(super) fn rescued(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for replica in &self.replicas {
            let spool = replica.site.data().join("rescue");
            for name in names_in(&spool)? {
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
        self.resume();
    }
}

/// Settings of all replicas.
fn shared_settings(
    root: &Path,
    postgres: SocketAddr,
    s3: SocketAddr,
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
