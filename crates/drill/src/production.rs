//! Replicas on PostgreSQL and S3: something is broken under load, mended, and looked at once
//! nothing is left to be done.

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
use tokio::runtime::Runtime;

use super::dice::Dice;
use super::engine::{Callers, Engine};
use super::events::Events;
use super::findings::{Findings, Rule};
use super::fleet::Fleet;
use super::ledger::Dumps;
use super::load::{Load, Targets};
use super::material::Material;
use super::objects::{self, Known, Objects};
use super::process::sweep;
use super::recovery::{self, Expected};
use super::rows::Rows;
use super::tally::Tally;
use super::trial::Table;
use super::versions::{self, Versions};
use cluster::Cluster;
use coredock_testkit::client::Client;
use faults::Plan;

const LONGEST_LOAD: Duration = Duration::from_millis(500);
/// From the end of a load to the last delete, settlement, parse and rescued dump.
const LONGEST_QUIET: Duration = Duration::from_mins(1);
const LOOK: Duration = Duration::from_millis(20);
/// Answers of the symbolizer prepared for a trial.
const ANSWERS: usize = 200;
/// Garbage is swept after so many trials.
const SWEPT: usize = 25;
const SWEEPS: usize = 40;
const BETWEEN_SWEEPS: Duration = Duration::from_millis(300);
/// What the metrics call a broken invariant.
const INVARIANT: &str = "coredock_invariant_violations_total{";

/// Everything between two trials.
pub(super) struct ProductionDrill {
    cluster: Cluster,
    engine: Engine,
    dice: Dice,
    clock: Instant,
    material: Material,
    fleet: Fleet,
    dumps: Dumps,
    versions: Versions,
    targets: Targets,
    findings: Findings,
    tally: Tally,
    addresses: Vec<SocketAddr>,
    /// Ends last: the servers are driven by it.
    runtime: Runtime,
}

impl ProductionDrill {
    /// Starts everything and creates what clients need.
    pub(super) fn begin(
        (binary, root): (&Path, &Path),
        replicas: usize,
        seed: u64,
    ) -> Result<Self> {
        let mut dice = Dice::new(seed);
        let material = Material::new(&mut dice);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let engine = Engine::start(&runtime, &root.join("transfer"), &mut dice);
        let cluster = Cluster::start((binary, root), replicas, (&runtime, engine.url()))?;
        let mut drill = Self {
            cluster,
            engine,
            dice,
            clock: Instant::now(),
            material,
            fleet: Fleet { models: Vec::new(), devices: Vec::new() },
            dumps: Dumps::default(),
            versions: Versions::default(),
            targets: Targets::default(),
            findings: Findings::default(),
            tally: Tally::default(),
            addresses: Vec::new(),
            runtime,
        };
        drill.findings.at("the start".into());
        drill.cluster.start_dead()?;
        drill.addresses = drill.cluster.wait_until_ready()?;
        drill.cluster.prepare_failing_commits();
        if let Some(address) = drill.addresses.first() {
            drill.fleet = Fleet::create(&mut Client::connect(*address)?)?;
        }
        Ok(drill)
    }

    /// One trial.
    pub(super) fn trial(&mut self, trial: usize) -> Result<()> {
        self.tally.trials = trial;
        let plan = Plan::draw(&mut self.dice, self.cluster.replicas.len());
        self.findings.at(format!("trial {trial}, {}", plan.fault.text()));
        self.engine.prepare(ANSWERS, &mut self.dice);
        let name = format!("drill-{trial}");
        let events = self.load(&name, plan)?;
        self.tally.add(&events);
        self.tally.fault(plan.fault.text());
        self.findings.answers(&events);
        self.addresses = self.cluster.wait_until_ready()?;
        self.wait_until_quiet()?;
        self.look(&events)?;
        journal::check(&self.cluster.database.audited(&name)?, &events, &mut self.findings);
        self.check_servers(plan.fault.callers())?;
        if trial.is_multiple_of(SWEPT) {
            self.findings.at(format!("sweep after trial {trial}"));
            self.sweep()?;
        }
        Ok(())
    }

    fn load(&mut self, name: &str, plan: Plan) -> Result<Events> {
        let moment = self.dice.moment(LONGEST_LOAD);
        let servers = Arc::clone(&self.cluster.servers);
        let load = Load {
            fleet: &self.fleet,
            material: &self.material,
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
            kills = plan.run(&mut cluster.borrow_mut(), (runtime, findings))?;
            Ok(())
        };
        let releasing = || cluster.borrow_mut().release_dead();
        let events = load.run((&mut self.dice, moment), breaking, releasing)?;
        self.tally.killed(kills);
        Ok(events)
    }

    /// Waits until nothing is left to be done by itself, on rows and in rescue spools.
    fn wait_until_quiet(&mut self) -> Result<()> {
        let began = Instant::now();
        loop {
            self.cluster.release_dead();
            self.cluster.database.hurry();
            let mut undone = self.cluster.database.undone();
            undone.extend(self.cluster.rescued()?);
            let is_late = began.elapsed() > LONGEST_QUIET;
            if undone.is_empty() || is_late {
                self.findings.check(Rule::Outbox, undone.is_empty(), || {
                    format!("not done after {LONGEST_QUIET:?}: {undone:?}")
                });
                return Ok(());
            }
            sleep(LOOK);
        }
    }

    /// Rows, objects and what the API shows of them, against what clients were told.
    fn look(&mut self, events: &Events) -> Result<()> {
        let mut rows = self.cluster.database.read()?;
        let (objects, lists) = loop {
            let objects = Objects::read(&self.cluster.objects())?;
            let lists = self.lists()?;
            let again = self.cluster.database.read()?;
            if again.names() == rows.names() {
                break (objects, lists);
            }
            // A sweep has taken surplus versions away meanwhile.
            self.wait_until_quiet()?;
            rows = self.cluster.database.read()?;
        };
        self.dumps.judge(events, &rows, (&self.fleet, &mut self.findings))?;
        self.versions.judge(events, &rows, (&self.fleet, &mut self.findings))?;
        objects.check_rows(&rows, &self.fleet, (Rule::Objects, &mut self.findings))?;
        let idle: Vec<_> = self
            .cluster
            .replicas
            .iter()
            .map(|replica| ("spool", replica.site.data().join("tmp")))
            .collect();
        for lists in &lists {
            let known = Known { fleet: &self.fleet, material: &self.material, dumps: &self.dumps };
            let expected = Expected { known, versions: &self.versions, objects: &objects, lists };
            recovery::check(&idle, &rows, (&expected, &mut self.findings))?;
        }
        Ok(())
    }

    /// What every replica lists.
    fn lists(&self) -> Result<Vec<Vec<BTreeSet<i64>>>> {
        self.addresses.iter().map(|address| recovery::lists(*address, &self.fleet)).collect()
    }

    /// What servers say of themselves.
    fn check_servers(&mut self, callers: Callers) -> Result<()> {
        let known = Known { fleet: &self.fleet, material: &self.material, dumps: &self.dumps };
        self.tally.parses += self.engine.check((&known, callers), &mut self.findings)?;
        for address in &self.addresses {
            let metrics = Client::connect(*address)?.get("/metrics")?;
            let metrics = String::from_utf8_lossy(&metrics.body).into_owned();
            let broken: Vec<_> = metrics
                .lines()
                .filter(|line| line.starts_with(INVARIANT) && !line.ends_with(" 0"))
                .collect();
            self.findings.check(Rule::Process, broken.is_empty(), || broken.join(", "));
        }
        let mut deadlocks = self.cluster.database.deadlocks();
        let said = self.cluster.postgres.said()?;
        deadlocks.extend(said.lines().filter(|line| line.contains("deadlock")).map(str::to_owned));
        self.findings.check(Rule::Database, deadlocks.is_empty(), || deadlocks.join(", "));
        Ok(())
    }

    /// One line for the way.
    pub(super) fn progress(&self, elapsed: Duration) -> String {
        self.tally.progress(elapsed, self.dumps.count(), &self.findings)
    }

    /// Sweeps, stops the replicas and looks at what is left.
    pub(super) fn end(mut self) -> Result<Table> {
        self.findings.at("the end".into());
        self.sweep()?;
        self.cluster.stop(&mut self.findings)?;
        let text = self.tally.table(&self.findings);
        Ok(Table { text, violations: self.findings.violations().len() })
    }

    /// I6: sweeps until nothing is found any more; objects have to be a second old. One that was not
    /// let in, because a replica sweeps or was killed while it did, says nothing.
    fn sweep(&mut self) -> Result<()> {
        let mut swept = false;
        for _ in 0..SWEEPS {
            let Some(said) = sweep(&self.cluster.replicas[0].site)? else {
                sleep(BETWEEN_SWEEPS);
                self.cluster.release_dead();
                continue;
            };
            swept = true;
            self.findings.check(Rule::Garbage, !said.contains("adopted"), || {
                format!("the store was not taken for our own: {said}")
            });
            self.wait_until_quiet()?;
            let (rows, objects) = self.rows_and_objects()?;
            if objects::surplus(&objects, &rows, &self.fleet)?.is_empty() {
                break;
            }
            sleep(BETWEEN_SWEEPS);
        }
        self.findings.check(Rule::Garbage, swept, || "no sweep was let in".to_owned());
        self.versions.swept();
        self.look(&Events::default())?;
        let (rows, objects) = self.rows_and_objects()?;
        objects::check_swept(&objects, &rows, (&self.fleet, &mut self.findings))?;
        versions::check_retention(&rows, &self.fleet, &mut self.findings);
        Ok(())
    }

    fn rows_and_objects(&self) -> Result<(Rows, Objects)> {
        Ok((self.cluster.database.read()?, Objects::read(&self.cluster.objects())?))
    }
}
