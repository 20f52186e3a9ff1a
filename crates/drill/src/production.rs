//! Replicas on PostgreSQL and S3. A fault is injected under load and repaired, and the stored data
//! is checked when no work is left.

mod cluster;
mod faults;
mod journal;
mod rows;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::Result;
use coredock_testkit::client::Client;
use coredock_testkit::invariants::{
    Findings, Objects, Rows, Rule, check_swept, check_version_retention, surplus,
};
use tokio::runtime::Runtime;

use super::dice::Dice;
use super::engine::{Callers, Engine};
use super::events::Events;
use super::fleet::Fleet;
use super::history::History;
use super::load::{Load, Targets};
use super::material::Material;
use super::process::sweep;
use super::recovery::{self, Idle};
use super::tally::{Table, Tally};
use super::{MAX_FIRMWARES, Trials, runtime};
use cluster::Cluster;
use faults::Plan;
use rows::{audited, deadlocks, make_due, remaining_work};

const MAX_LOAD: Duration = Duration::from_millis(500);
/// Maximum time from the end of a load to the last delete, settlement, parse and replay.
const MAX_REMAINING_WORK: Duration = Duration::from_mins(1);
const INTERVAL: Duration = Duration::from_millis(20);
/// Answers of the symbolizer prepared for a trial.
const ANSWERS: usize = 200;
/// Garbage is swept each time after this number of trials.
const SWEEP_EVERY: usize = 25;
const SWEEPS: usize = 40;
const BETWEEN_SWEEPS: Duration = Duration::from_millis(300);
/// The metric of violated invariants.
const INVARIANT: &str = "coredock_invariant_violations_total{";

pub(super) struct ProductionDrill {
    cluster: Cluster,
    engine: Engine,
    dice: Dice,
    clock: Instant,
    history: History,
    targets: Targets,
    findings: Findings,
    tally: Tally,
    addresses: Vec<SocketAddr>,
    /// Dropped last, because the sidecar and the proxies run on it.
    runtime: Runtime,
}

impl Trials for ProductionDrill {
    fn trial(&mut self, trial: usize) -> Result<()> {
        self.tally.trials = trial;
        let plan = Plan::draw(&mut self.dice, self.cluster.replicas.len());
        self.findings.at(format!("trial {trial}, {}", plan.fault.text()));
        self.engine.prepare(ANSWERS, &mut self.dice);
        let name = format!("drill-{trial}");
        let events = self.load(&name, plan)?;
        self.tally.add(&events);
        self.tally.fault(plan.fault.text());
        events.check_answers(&mut self.findings);
        self.addresses = self.cluster.wait_until_ready()?;
        self.wait_until_idle()?;
        self.check_state(&events)?;
        let audited = audited(&self.cluster.database, &name)?;
        journal::check(&audited, &events, &mut self.findings);
        self.check_servers(plan.fault.callers())?;
        if trial.is_multiple_of(SWEEP_EVERY) {
            self.findings.at(format!("sweep after trial {trial}"));
            self.sweep()?;
        }
        Ok(())
    }

    fn progress(&self, elapsed: Duration) -> String {
        self.tally.progress(elapsed, self.history.dumps.count(), &self.findings)
    }

    /// Sweeps, and stops the replicas.
    fn end(mut self) -> Result<Table> {
        self.findings.at("the end".into());
        self.sweep()?;
        self.cluster.stop(&mut self.findings)?;
        Ok(self.tally.table(&self.findings))
    }
}

impl ProductionDrill {
    /// Starts everything and creates what clients need.
    pub(super) fn begin(binary: &Path, root: &Path, replicas: usize, seed: u64) -> Result<Self> {
        let mut dice = Dice::new(seed);
        let material = Material::new(&mut dice);
        let runtime = runtime()?;
        let engine = Engine::start(&runtime, &root.join("transfer"), &mut dice);
        let cluster = Cluster::start(binary, root, replicas, &runtime, engine.url())?;
        let mut drill = Self {
            cluster,
            engine,
            dice,
            clock: Instant::now(),
            history: History::new(material),
            targets: Targets::default(),
            findings: Findings::default(),
            tally: Tally::default(),
            addresses: Vec::new(),
            runtime,
        };
        drill.findings.at("the start".into());
        drill.cluster.start_dead()?;
        drill.addresses = drill.cluster.wait_until_ready()?;
        drill.cluster.prepare_failing_commits()?;
        if let Some(address) = drill.addresses.first() {
            drill.history.fleet = Fleet::create(&mut Client::connect(*address)?)?;
        }
        Ok(drill)
    }

    fn load(&mut self, name: &str, plan: Plan) -> Result<Events> {
        let moment = self.dice.moment(MAX_LOAD);
        let servers = Arc::clone(&self.cluster.servers);
        let load = Load {
            fleet: &self.history.fleet,
            material: &self.history.material,
            clock: self.clock,
            targets: &self.targets,
            servers: &servers,
            outages: true,
            name,
        };
        let cluster = std::cell::RefCell::new(&mut self.cluster);
        let (runtime, findings) = (&self.runtime, &mut self.findings);
        let mut kills = 0;
        let breaking = || {
            kills = plan.run(&mut cluster.borrow_mut(), runtime, findings)?;
            Ok(())
        };
        let releasing = || cluster.borrow_mut().release_dead();
        let events = load.run(&mut self.dice, moment, breaking, releasing)?;
        self.tally.killed(kills);
        Ok(events)
    }

    /// Waits until rows and rescue spools contain no work that the servers do by themselves.
    fn wait_until_idle(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            self.cluster.release_dead()?;
            make_due(&self.cluster.database)?;
            let mut remaining_work = remaining_work(&self.cluster.database)?;
            remaining_work.extend(self.cluster.rescued()?);
            let is_late = began.elapsed() > MAX_REMAINING_WORK;
            if remaining_work.is_empty() || is_late {
                self.findings.check(Rule::Outbox, remaining_work.is_empty(), || {
                    format!("work left after {MAX_REMAINING_WORK:?}: {remaining_work:?}")
                });
                return Ok(());
            }
            sleep(INTERVAL);
        }
    }

    /// Compares rows, objects and lists of the API with the answers of clients.
    fn check_state(&mut self, events: &Events) -> Result<()> {
        let mut rows = Rows::read(&self.cluster.database)?;
        let (objects, lists) = loop {
            let objects = Objects::read(&self.cluster.objects())?;
            let lists = self.lists()?;
            let again = Rows::read(&self.cluster.database)?;
            if again.names() == rows.names() {
                break (objects, lists);
            }
            // A sweep has deleted surplus versions meanwhile.
            self.wait_until_idle()?;
            rows = Rows::read(&self.cluster.database)?;
        };
        self.history.compare(events, &rows, &mut self.findings)?;
        objects.check_rows(&rows, Rule::Objects, &mut self.findings)?;
        let replicas = self.cluster.replicas.iter();
        let empty: Vec<_> =
            replicas.map(|replica| ("spool", replica.site.data().join("tmp"))).collect();
        for lists in &lists {
            let idle = Idle { rows: &rows, objects: &objects, lists, empty: &empty };
            idle.check(&self.history, &mut self.findings)?;
        }
        Ok(())
    }

    /// The lists of every replica.
    fn lists(&self) -> Result<Vec<Vec<BTreeSet<i64>>>> {
        self.addresses
            .iter()
            .map(|address| recovery::lists(*address, &self.history.fleet))
            .collect()
    }

    /// Checks the calls of the sidecar, the metrics and the deadlocks.
    fn check_servers(&mut self, callers: Callers) -> Result<()> {
        self.tally.parses += self.engine.check(&self.history, callers, &mut self.findings)?;
        for address in &self.addresses {
            let metrics = Client::connect(*address)?.get("/metrics")?;
            let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
            let broken: Vec<_> = metrics
                .lines()
                .filter(|line| line.starts_with(INVARIANT) && !line.ends_with(" 0"))
                .collect();
            self.findings.check(Rule::Process, broken.is_empty(), || broken.join(", "));
        }
        let mut deadlocks = deadlocks(&self.cluster.database)?;
        let log = self.cluster.postgres.log()?;
        deadlocks.extend(log.lines().filter(|line| line.contains("deadlock")).map(str::to_owned));
        self.findings.check(Rule::Database, deadlocks.is_empty(), || deadlocks.join(", "));
        Ok(())
    }

    /// I6: sweeps until no garbage is found; objects have to be a second old. A sweep that cannot
    /// start, because a replica sweeps or was killed during a sweep, does not count.
    fn sweep(&mut self) -> Result<()> {
        let mut swept = false;
        for _ in 0..SWEEPS {
            let Some(printed) = sweep(&self.cluster.replicas[0].site)? else {
                sleep(BETWEEN_SWEEPS);
                self.cluster.release_dead()?;
                continue;
            };
            swept = true;
            self.findings.check(Rule::Garbage, !printed.contains("adopted"), || {
                format!(
                    "the store was adopted, although it belongs to this installation: {printed}"
                )
            });
            self.wait_until_idle()?;
            let (rows, objects) = self.rows_and_objects()?;
            if surplus(&objects, &rows)?.is_empty() {
                break;
            }
            sleep(BETWEEN_SWEEPS);
        }
        self.findings
            .check(Rule::Garbage, swept, || "every sweep found another one running".to_owned());
        self.history.versions.swept();
        self.check_state(&Events::default())?;
        let (rows, objects) = self.rows_and_objects()?;
        check_swept(&objects, &rows, &mut self.findings)?;
        check_version_retention(&rows, MAX_FIRMWARES, &mut self.findings);
        Ok(())
    }

    fn rows_and_objects(&self) -> Result<(Rows, Objects)> {
        Ok((Rows::read(&self.cluster.database)?, Objects::read(&self.cluster.objects())?))
    }
}
