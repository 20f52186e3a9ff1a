//! What is broken, and how it is mended.

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

/// From the moment a fault begins to the moment it is mended; below, and seldom above, the limits
/// servers have for an answer of the database or the store.
const LONGEST_FAULT: Duration = Duration::from_millis(900);
const LONG_FAULT: Duration = Duration::from_millis(2500);
/// Load after everything was mended.
const LONGEST_REST: Duration = Duration::from_millis(400);
/// After a crash the database recovers before it takes connections.
const LONGEST_RESTART: Duration = Duration::from_mins(1);
const RETRY: Duration = Duration::from_millis(50);

/// A deferred trigger that lets a percentage of all commits fail that are in the audit trail, or
/// lets them take longer than replicas wait: like a disk that hangs it does not care that it is
/// asked to stop, and commits in the end.
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

/// The sessions of replicas.
const SESSIONS: &str = "SELECT pid FROM pg_stat_activity WHERE application_name = 'coredock' \
                        AND datname = 'drill'";

/// What a path leads to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Place {
    Postgres,
    S3,
}

/// What is broken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    KillReplica,
    KillReplicas,
    KillServer(Place),
    /// One session of the database is killed, which restarts it.
    CrashPostgres,
    /// Sessions are ended by the database.
    EndSessions,
    /// Sessions are stopped, whatever they are doing, for longer than replicas wait for them.
    FreezeSessions,
    /// A replica is stopped for longer than the leases of its parses.
    FreezeReplica,
    FailCommits,
    /// Commits take effect after they were given up.
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

    /// Who called the sidecar meanwhile.
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

    /// Its line in the table.
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
            Self::SlowCommits => "commits took longer than was waited",
            Self::Stall(Place::Postgres) => "PostgreSQL stalled",
            Self::Stall(Place::S3) => "S3 stalled",
            Self::Refuse(Place::Postgres) => "PostgreSQL refused",
            Self::Refuse(Place::S3) => "S3 refused",
            Self::Reset(Place::Postgres) => "connections to PostgreSQL reset",
            Self::Reset(Place::S3) => "connections to S3 reset",
        }
    }
}

/// A replica that is killed while something else is broken.
#[derive(Debug, Clone, Copy)]
struct SecondKill {
    replica: usize,
    /// After the beginning of the fault.
    after: Duration,
    /// It is started again before the end of the fault.
    restarts: bool,
}

/// What happens in a trial.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    pub(super) fault: Fault,
    lasts: Duration,
    rests: Duration,
    second: Option<SecondKill>,
    /// Chooses replicas and sessions.
    lot: usize,
}

impl Plan {
    /// Draws one.
    pub(super) fn draw(dice: &mut Dice, replicas: usize) -> Self {
        let fault = dice.pick(&Fault::ALL).copied().unwrap_or(Fault::KillReplica);
        let is_long =
            matches!(fault, Fault::FreezeSessions | Fault::FreezeReplica | Fault::SlowCommits);
        let lasts = if is_long || dice.chance(15) {
            LONG_FAULT + dice.moment(LONGEST_FAULT)
        } else {
            dice.moment(LONGEST_FAULT)
        };
        let rests = dice.moment(LONGEST_REST);
        let second = dice.chance(30).then(|| {
            let percent = f64::from(u8::try_from(dice.below(100)).unwrap_or(0));
            let after = lasts.mul_f64(percent / 100.0);
            SecondKill { replica: dice.below(replicas), after, restarts: dice.chance(50) }
        });
        Self { fault, lasts, rests, second, lot: dice.below(1 << 20) }
    }

    /// Breaks, waits, mends and waits; returns how many replicas were killed.
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
        self.mend(cluster, runtime)?;
        cluster.forget_leases();
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

    fn mend(&self, cluster: &mut Cluster, runtime: &Runtime) -> Result<()> {
        match self.fault {
            Fault::KillReplica | Fault::KillReplicas | Fault::EndSessions => {}
            Fault::KillServer(Place::Postgres) => restart(cluster)?,
            Fault::KillServer(Place::S3) => cluster.s3.run()?,
            Fault::CrashPostgres => wait_for_start(cluster)?,
            Fault::FreezeSessions | Fault::FreezeReplica => cluster.thaw(),
            Fault::FailCommits | Fault::SlowCommits => {
                set_failing(cluster, "percent = 0, slow = 0")?;
            }
            Fault::Stall(_) | Fault::Refuse(_) | Fault::Reset(_) => {
                // What waited on a stalled path either comes through now or is lost.
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

    /// Every second one.
    fn some_sessions(&self, cluster: &Cluster) -> Result<Vec<Pid>> {
        let sessions = cluster.database.texts(SESSIONS)?;
        let some = sessions.iter().skip(self.lot % 2).step_by(2);
        some.map(|pid| Pid::from_raw(pid.parse()?).context("no process")).collect()
    }

    /// The database ends all sessions when one of them is killed.
    fn crash_session(&self, cluster: &mut Cluster) -> Result<()> {
        cluster.starts = starts(cluster)?;
        let sessions = cluster.database.texts(SESSIONS)?;
        let Some(pid) = sessions.get(self.lot % sessions.len().max(1)) else { return Ok(()) };
        let pid = Pid::from_raw(pid.parse()?).context("no process")?;
        // It may have ended meanwhile.
        if kill_process(pid, Signal::KILL).is_ok() {
            cluster.starts += 1;
        }
        Ok(())
    }
}

fn freeze(cluster: &mut Cluster, processes: Vec<Pid>) {
    for process in processes {
        // It may have ended meanwhile.
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

/// How often the database server has been ready.
fn starts(cluster: &Cluster) -> Result<usize> {
    Ok(cluster.postgres.said()?.matches("ready to accept connections").count())
}

/// After a crash of a session.
fn wait_for_start(cluster: &Cluster) -> Result<()> {
    let began = Instant::now();
    while starts(cluster)? < cluster.starts {
        ensure!(began.elapsed() < LONGEST_RESTART, "PostgreSQL did not recover");
        sleep(RETRY);
    }
    Ok(())
}

/// Sessions of the killed server may still be about to notice.
fn restart(cluster: &Cluster) -> Result<()> {
    let began = Instant::now();
    while let Err(error) = cluster.postgres.run() {
        if began.elapsed() > LONGEST_RESTART {
            bail!("PostgreSQL did not start again: {error:#}");
        }
        sleep(RETRY);
    }
    Ok(())
}
