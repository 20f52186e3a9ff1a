//! The faults, and how they are injected and repaired.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use coredock_testkit::invariants::Findings;
use coredock_testkit::tcp_proxy::Path;
use rustix::process::{Pid, Signal, kill_process};
use tokio::runtime::Runtime;

use super::super::dice::Dice;
use super::super::engine::Callers;
use super::super::process::Life;
use super::cluster::Cluster;

/// Maximum duration of a short fault. Servers wait about as long for an answer of the database or
/// the store, so most short faults are shorter than that.
const MAX_SHORT_FAULT: Duration = Duration::from_millis(900);
const MIN_LONG_FAULT: Duration = Duration::from_millis(2500);
/// Maximum duration of the load after the repair.
const MAX_REST: Duration = Duration::from_millis(400);
/// After a crash the database recovers before it accepts connections.
const MAX_RESTART: Duration = Duration::from_mins(1);
const RETRY: Duration = Duration::from_millis(50);

/// A deferred trigger that lets a percentage of the audited commits fail, or lets them take longer
/// than replicas wait. Like a disk that hangs, a slow commit ignores its cancellation and succeeds
/// in the end.
pub(super) const FAILING_COMMITS: &str = "\
    CREATE SCHEMA drill; \
    CREATE TABLE drill.failing (percent integer NOT NULL, slow integer NOT NULL); \
    INSERT INTO drill.failing VALUES (0, 0); \
    CREATE FUNCTION drill.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
    IF random() * 100 < (SELECT percent FROM drill.failing) THEN \
    RAISE EXCEPTION 'this commit fails for the drill' USING ERRCODE = 'disk_full'; END IF; \
    IF random() * 100 < (SELECT slow FROM drill.failing) THEN \
    BEGIN PERFORM pg_sleep(2.5); EXCEPTION WHEN query_canceled THEN PERFORM pg_sleep(1.7); END; \
    END IF; RETURN NULL; END $$; \
    CREATE CONSTRAINT TRIGGER drill_fail AFTER INSERT ON audit_records \
    DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION drill.fail();";

/// The database sessions of the replicas.
const SESSIONS: &str = "SELECT pid FROM pg_stat_activity WHERE application_name = 'coredock' \
                        AND datname = 'drill'";

/// The end of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Postgres,
    S3,
}

/// A fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    KillReplica,
    KillReplicas,
    KillServer(Place),
    /// One session of the database is killed, which restarts it.
    CrashPostgres,
    /// The database ends sessions.
    EndSessions,
    /// Sessions are frozen for longer than replicas wait for them.
    FreezeSessions,
    /// A replica is frozen for longer than the leases of its parses.
    FreezeReplica,
    FailCommits,
    /// Commits take effect after the replicas stopped waiting for them.
    SlowCommits,
    Stall(Place),
    Refuse(Place),
    Reset(Place),
}

impl Fault {
    const ALL: [Self; 16] = [
        Self::KillReplica,
        Self::KillReplicas,
        Self::KillServer(Place::Postgres),
        Self::KillServer(Place::S3),
        Self::CrashPostgres,
        Self::EndSessions,
        Self::FreezeSessions,
        Self::FreezeReplica,
        Self::FailCommits,
        Self::SlowCommits,
        Self::Stall(Place::Postgres),
        Self::Stall(Place::S3),
        Self::Refuse(Place::Postgres),
        Self::Refuse(Place::S3),
        Self::Reset(Place::Postgres),
        Self::Reset(Place::S3),
    ];

    /// The callers of the sidecar during the fault.
    pub(super) const fn callers(self) -> Callers {
        match self {
            Self::FreezeReplica => Callers::Frozen,
            Self::KillReplica
            | Self::KillReplicas
            | Self::KillServer(_)
            | Self::CrashPostgres
            | Self::EndSessions
            | Self::FreezeSessions
            | Self::FailCommits
            | Self::SlowCommits
            | Self::Stall(_)
            | Self::Refuse(_)
            | Self::Reset(_) => Callers::Several,
        }
    }

    /// Its row in the table.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::KillReplica => "a replica killed",
            Self::KillReplicas => "all replicas killed",
            Self::KillServer(Place::Postgres) => "PostgreSQL killed",
            Self::KillServer(Place::S3) => "S3 server killed",
            Self::CrashPostgres => "a session of PostgreSQL killed",
            Self::EndSessions => "sessions of PostgreSQL ended",
            Self::FreezeSessions => "sessions of PostgreSQL frozen",
            Self::FreezeReplica => "a replica frozen",
            Self::FailCommits => "commits failed",
            Self::SlowCommits => "commits took longer than replicas wait",
            Self::Stall(Place::Postgres) => "PostgreSQL stalled",
            Self::Stall(Place::S3) => "S3 stalled",
            Self::Refuse(Place::Postgres) => "PostgreSQL refused",
            Self::Refuse(Place::S3) => "S3 refused",
            Self::Reset(Place::Postgres) => "connections to PostgreSQL reset",
            Self::Reset(Place::S3) => "connections to S3 reset",
        }
    }
}

/// A replica that is killed during another fault.
#[derive(Debug, Clone, Copy)]
struct SecondKill {
    replica: usize,
    /// Time since the beginning of the fault.
    after: Duration,
    /// Whether the replica is started again before the end of the fault.
    restarts: bool,
}

/// The course of a trial.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) fault: Fault,
    lasts: Duration,
    rests: Duration,
    second: Option<SecondKill>,
    /// A random number, which chooses replicas and sessions.
    lot: usize,
}

impl Plan {
    /// Draws a random plan.
    pub(super) fn draw(dice: &mut Dice, replicas: usize) -> Self {
        let fault = dice.pick(&Fault::ALL).copied().unwrap_or(Fault::KillReplica);
        let is_long =
            matches!(fault, Fault::FreezeSessions | Fault::FreezeReplica | Fault::SlowCommits);
        let lasts = if is_long || dice.chance(15) {
            MIN_LONG_FAULT + dice.moment(MAX_SHORT_FAULT)
        } else {
            dice.moment(MAX_SHORT_FAULT)
        };
        let rests = dice.moment(MAX_REST);
        let second = dice.chance(30).then(|| {
            let percent = f64::from(u8::try_from(dice.below(100)).unwrap_or(0));
            let after = lasts.mul_f64(percent / 100.0);
            SecondKill { replica: dice.below(replicas), after, restarts: dice.chance(50) }
        });
        Self { fault, lasts, rests, second, lot: dice.below(1 << 20) }
    }

    /// Injects the fault, waits, repairs it and waits; returns the number of killed replicas.
    pub(super) fn run(
        &self,
        cluster: &mut Cluster,
        runtime: &Runtime,
        findings: &mut Findings,
    ) -> Result<usize> {
        let mut kills = self.inject(cluster, findings)?;
        let mut left = self.lasts;
        if let Some(second) = self.second {
            sleep(second.after);
            left = left.saturating_sub(second.after);
            kills += usize::from(cluster.kill(second.replica, findings)?);
            if second.restarts {
                cluster.start_dead()?;
            }
        }
        sleep(left);
        self.repair(cluster, runtime)?;
        cluster.clear_leases();
        cluster.start_dead()?;
        let began = Instant::now();
        while began.elapsed() < self.rests {
            cluster.announce()?;
            sleep(RETRY.min(self.rests));
        }
        Ok(kills)
    }

    fn inject(&self, cluster: &mut Cluster, findings: &mut Findings) -> Result<usize> {
        let replicas = cluster.replicas.len();
        match self.fault {
            Fault::KillReplica => {
                return Ok(usize::from(cluster.kill(self.lot % replicas, findings)?));
            }
            Fault::KillReplicas => {
                for replica in 0..replicas {
                    cluster.kill(replica, findings)?;
                }
                return Ok(replicas);
            }
            Fault::KillServer(Place::Postgres) => cluster.postgres.kill()?,
            Fault::KillServer(Place::S3) => cluster.s3.kill()?,
            Fault::CrashPostgres => self.crash_session(cluster)?,
            Fault::EndSessions => {
                let end = format!(
                    "SELECT pg_terminate_backend(pid) FROM ({SESSIONS}) AS sessions \
                                   WHERE random() < 0.5"
                );
                cluster.database.execute(&end)?;
            }
            Fault::FreezeSessions => freeze(cluster, self.some_sessions(cluster)?),
            Fault::FreezeReplica => {
                let replica = &cluster.replicas[self.lot % replicas];
                let pid = replica.life.as_ref().map(Life::pid);
                freeze(cluster, pid.into_iter().collect());
            }
            Fault::FailCommits => set_failing(cluster, "percent = 40")?,
            Fault::SlowCommits => set_failing(cluster, "slow = 30")?,
            Fault::Stall(place) => set(cluster, place, Path::Stalled),
            Fault::Refuse(place) => set(cluster, place, Path::Refused),
            Fault::Reset(place) => set(cluster, place, Path::Reset),
        }
        Ok(0)
    }

    fn repair(&self, cluster: &mut Cluster, runtime: &Runtime) -> Result<()> {
        match self.fault {
            Fault::KillReplica | Fault::KillReplicas | Fault::EndSessions => {}
            Fault::KillServer(Place::Postgres) => restart(cluster)?,
            Fault::KillServer(Place::S3) => cluster.s3.run()?,
            Fault::CrashPostgres => wait_for_start(cluster)?,
            Fault::FreezeSessions | Fault::FreezeReplica => cluster.resume(),
            Fault::FailCommits | Fault::SlowCommits => {
                set_failing(cluster, "percent = 0, slow = 0")?;
            }
            Fault::Stall(_) | Fault::Refuse(_) | Fault::Reset(_) => {
                // Data that waited on a stalled path is either delivered now or lost.
                if self.lot.is_multiple_of(2) {
                    cluster.to_postgres.set(Path::Open);
                    cluster.to_s3.set(Path::Open);
                } else if let Fault::Stall(place) = self.fault {
                    set(cluster, place, Path::Reset);
                    sleep(RETRY);
                }
                runtime.block_on(cluster.to_postgres.open());
                runtime.block_on(cluster.to_s3.open());
            }
        }
        Ok(())
    }

    /// Every second session.
    fn some_sessions(&self, cluster: &Cluster) -> Result<Vec<Pid>> {
        let sessions = cluster.database.texts(SESSIONS)?;
        let some = sessions.iter().skip(self.lot % 2).step_by(2);
        some.map(|pid| Pid::from_raw(pid.parse()?).context("expected the id of a process, found 0"))
            .collect()
    }

    /// The database ends all sessions when one of them is killed.
    fn crash_session(&self, cluster: &mut Cluster) -> Result<()> {
        cluster.starts = starts(cluster)?;
        let sessions = cluster.database.texts(SESSIONS)?;
        let Some(pid) = sessions.get(self.lot % sessions.len().max(1)) else { return Ok(()) };
        let pid = Pid::from_raw(pid.parse()?).context("expected the id of a process, found 0")?;
        // The process may have ended meanwhile.
        if kill_process(pid, Signal::KILL).is_ok() {
            cluster.starts += 1;
        }
        Ok(())
    }
}

fn freeze(cluster: &mut Cluster, processes: Vec<Pid>) {
    for process in processes {
        // The process may have ended meanwhile.
        if kill_process(process, Signal::STOP).is_ok() {
            cluster.frozen.push(process);
        }
    }
}

fn set(cluster: &Cluster, place: Place, path: Path) {
    match place {
        Place::Postgres => cluster.to_postgres.set(path),
        Place::S3 => cluster.to_s3.set(path),
    }
}

/// Sets the percentages of commits which fail or are slow.
fn set_failing(cluster: &Cluster, percentages: &str) -> Result<()> {
    cluster.database.execute(&format!("UPDATE drill.failing SET {percentages}"))
}

/// How often the database server has become ready.
fn starts(cluster: &Cluster) -> Result<usize> {
    Ok(cluster.postgres.log()?.matches("ready to accept connections").count())
}

/// Waits for the recovery after the crash of a session.
fn wait_for_start(cluster: &Cluster) -> Result<()> {
    let began = Instant::now();
    while starts(cluster)? < cluster.starts {
        ensure!(began.elapsed() < MAX_RESTART, "PostgreSQL did not recover");
        sleep(RETRY);
    }
    Ok(())
}

/// Starts the killed server again. Its old sessions may prevent that for a short time.
fn restart(cluster: &Cluster) -> Result<()> {
    let began = Instant::now();
    while let Err(error) = cluster.postgres.run() {
        if began.elapsed() > MAX_RESTART {
            bail!("PostgreSQL did not start again: {error:#}");
        }
        sleep(RETRY);
    }
    Ok(())
}
