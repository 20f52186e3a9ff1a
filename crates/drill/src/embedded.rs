//! One server on `SQLite` and a local directory. It starts, recovers, works and is killed, and the
//! data that it left is checked.

pub(super) mod rows;

use std::fs::File;
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use coredock_testkit::client::Client;
use coredock_testkit::database::Database;
use coredock_testkit::invariants::{
    Findings, Objects, Rows, Rule, check_swept, check_version_retention, surplus,
};
use tokio::runtime::Runtime;

use super::dice::Dice;
use super::engine::{Callers, Engine};
use super::events::Events;
use super::fleet::Fleet;
use super::history::History;
use super::load::{Load, Servers, Targets};
use super::material::Material;
use super::process::{Life, Site, names_in, sweep};
use super::recovery::{self, Idle};
use super::tally::{Phase, Table, Tally};
use super::{MAX_FIRMWARES, Trials, runtime};
use rows::{Leases, end_leases, read_copy};

const MAX_LOAD: Duration = Duration::from_millis(600);
const MAX_START: Duration = Duration::from_millis(150);
const MAX_RECOVERY: Duration = Duration::from_millis(300);
/// Starts on an empty directory that are killed.
const FIRST_STARTS: usize = 3;
/// Longer than the age from which files of interrupted writes are removed.
const OLD: Duration = Duration::from_hours(2);
const SWEEPS: usize = 20;
/// The command `sweep` runs each time after this number of trials.
const SWEEP_EVERY: usize = 25;

pub(super) struct EmbeddedDrill {
    site: Site,
    dice: Dice,
    runtime: Runtime,
    clock: Instant,
    history: History,
    targets: Targets,
    findings: Findings,
    tally: Tally,
    lives: usize,
    /// The owners of leases when the server died last.
    dead: Vec<String>,
}

impl Trials for EmbeddedDrill {
    fn trial(&mut self, trial: usize) -> Result<()> {
        self.findings.at(format!("trial {trial}, life {}", self.lives + 1));
        self.tally.trials = trial;
        let engine = self.engine();
        if trial % 4 == 1 {
            let life = self.start(&engine)?;
            sleep(self.dice.moment(MAX_START));
            self.kill(life, Phase::Start)?;
            self.check_remains(&Events::default())?;
        }
        if trial % 4 == 3 {
            let (life, _) = self.start_ready(&engine)?;
            sleep(self.dice.moment(MAX_RECOVERY));
            self.kill(life, Phase::Recovery)?;
            self.check_remains(&Events::default())?;
        }
        self.check_calls(&engine)?;
        self.load(trial)?;
        if trial.is_multiple_of(SWEEP_EVERY) {
            self.findings.at(format!("sweep after trial {trial}"));
            self.sweep()?;
        }
        Ok(())
    }

    fn progress(&self, elapsed: Duration) -> String {
        self.tally.progress(elapsed, self.history.dumps.count(), &self.findings)
    }

    /// Recovers a last time, sweeps, and checks the data.
    fn end(mut self) -> Result<Table> {
        self.findings.at("the end".into());
        let engine = self.engine();
        let (life, address) = self.start_ready(&engine)?;
        self.recover(address, Leases::All)?;
        life.stop(&mut self.findings)?;
        self.sweep()?;
        self.clean(&engine)?;
        self.check_calls(&engine)?;
        Ok(self.tally.table(&self.findings))
    }
}

impl EmbeddedDrill {
    /// Kills the first starts of an empty directory, then creates what clients need.
    pub(super) fn begin(site: Site, seed: u64) -> Result<Self> {
        let mut dice = Dice::new(seed);
        let material = Material::new(&mut dice);
        let runtime = runtime()?;
        let mut drill = Self {
            site,
            dice,
            runtime,
            clock: Instant::now(),
            history: History::new(material),
            targets: Targets::default(),
            findings: Findings::default(),
            tally: Tally::default(),
            lives: 0,
            dead: Vec::new(),
        };
        drill.findings.at("first starts".into());
        let engine = drill.engine();
        for _ in 0..FIRST_STARTS {
            let life = drill.start(&engine)?;
            sleep(drill.dice.moment(MAX_START));
            drill.kill(life, Phase::Start)?;
        }
        let (life, address) = drill.start_ready(&engine)?;
        drill.history.fleet = Fleet::create(&mut Client::connect(address)?)?;
        drill.kill(life, Phase::Start)?;
        drill.check_remains(&Events::default())?;
        Ok(drill)
    }

    /// A life that may recover and is killed under load.
    fn load(&mut self, trial: usize) -> Result<()> {
        let engine = self.engine();
        let (life, address) = self.start_ready(&engine)?;
        self.findings.at(format!("trial {trial}, life {}", self.lives));
        match self.dice.below(4) {
            0 | 1 => {
                let which = if self.dice.chance(70) { Leases::All } else { Leases::AllButParses };
                self.recover(address, which)?;
            }
            2 => self.end_dead_leases(Leases::All)?,
            // Clients meet the leases of dead servers.
            _ => {}
        }
        let moment = self.dice.moment(MAX_LOAD);
        let (servers, name) = (Servers::one(address), format!("drill-{}", self.lives));
        let load = Load {
            fleet: &self.history.fleet,
            material: &self.history.material,
            clock: self.clock,
            targets: &self.targets,
            servers: &servers,
            outages: false,
            name: &name,
        };
        let findings = &mut self.findings;
        let kill = || life.kill(findings);
        let events = load.run(&mut self.dice, moment, kill, || Ok(()))?;
        *self.tally.kills.entry(Phase::Load).or_default() += 1;
        self.tally.add(&events);
        events.check_answers(&mut self.findings);
        self.check_remains(&events)?;
        self.check_calls(&engine)
    }

    /// Waits until a restarted server has no work left, and checks it.
    fn recover(&mut self, address: SocketAddr, which: Leases) -> Result<()> {
        self.end_dead_leases(which)?;
        let database = Database::of_file(&self.site.database())?;
        let mut rows = recovery::wait(&database, &mut self.findings)?;
        let (objects, lists) = loop {
            let objects = Objects::read(&self.site.artifacts())?;
            let lists = recovery::lists(address, &self.history.fleet)?;
            let again = recovery::wait(&database, &mut self.findings)?;
            if again.names() == rows.names() {
                break (objects, lists);
            }
            // A sweep has deleted surplus versions meanwhile.
            rows = again;
        };
        self.history.compare(&Events::default(), &rows, &mut self.findings)?;
        let empty = [("spool", self.site.data().join("tmp")), ("transfer", self.site.transfer())];
        let idle = Idle { rows: &rows, objects: &objects, lists: &lists, empty: &empty };
        idle.check(&self.history, &mut self.findings)
    }

    /// Ends the leases of the killed processes.
    fn end_dead_leases(&self, which: Leases) -> Result<()> {
        end_leases(&Database::of_file(&self.site.database())?, &self.dead, which)
    }

    /// Compares the data of a killed server with the answers of clients.
    fn check_remains(&mut self, events: &Events) -> Result<()> {
        let (rows, dead) = read_copy(&self.site.database(), &self.site.root)?;
        self.dead = dead;
        self.history.compare(events, &rows, &mut self.findings)?;
        let objects = Objects::read(&self.site.artifacts())?;
        objects.check_rows(&rows, Rule::Objects, &mut self.findings)?;
        self.history.check_whole(&objects, &mut self.findings);
        let spooled = names_in(&self.site.data().join("tmp"))?;
        self.findings.check(Rule::WholeFiles, spooled.is_empty(), || {
            format!("spooled files have names: {spooled:?}")
        });
        Ok(())
    }

    fn check_calls(&mut self, engine: &Engine) -> Result<()> {
        self.tally.parses += engine.check(&self.history, Callers::One, &mut self.findings)?;
        Ok(())
    }

    fn engine(&mut self) -> Engine {
        Engine::start(&self.runtime, &self.site.transfer(), &mut self.dice)
    }

    fn start(&mut self, engine: &Engine) -> Result<Life> {
        self.lives += 1;
        Life::start(&self.site, engine.url(), self.lives)
    }

    fn start_ready(&mut self, engine: &Engine) -> Result<(Life, SocketAddr)> {
        let mut life = self.start(engine)?;
        let address = life.wait_until_ready()?;
        self.findings.passed(Rule::Process, 1);
        Ok((life, address))
    }

    fn kill(&mut self, life: Life, phase: Phase) -> Result<()> {
        *self.tally.kills.entry(phase).or_default() += 1;
        life.kill(&mut self.findings)
    }

    /// I6: sweeps until no garbage is found; objects have to be a second old.
    fn sweep(&mut self) -> Result<()> {
        // A server which is stopped or killed while it sweeps leaves its lease for minutes.
        self.dead = read_copy(&self.site.database(), &self.site.root)?.1;
        self.end_dead_leases(Leases::All)?;
        for _ in 0..SWEEPS {
            let printed = sweep(&self.site)?.context("another sweep runs while no server does")?;
            self.findings.check(Rule::Garbage, !printed.contains("adopted"), || {
                format!(
                    "the store was adopted, although it belongs to this installation: {printed}"
                )
            });
            let (rows, objects) = self.rows_and_objects()?;
            if surplus(&objects, &rows)?.is_empty() {
                break;
            }
            sleep(Duration::from_millis(300));
        }
        self.history.versions.swept();
        self.check_remains(&Events::default())?;
        let (rows, objects) = self.rows_and_objects()?;
        check_swept(&objects, &rows, &mut self.findings)?;
        check_version_retention(&rows, MAX_FIRMWARES, &mut self.findings);
        Ok(())
    }

    fn rows_and_objects(&self) -> Result<(Rows, Objects)> {
        let rows = read_copy(&self.site.database(), &self.site.root)?.0;
        Ok((rows, Objects::read(&self.site.artifacts())?))
    }

    /// I14: files of interrupted writes are removed at the first start after they have become old.
    fn clean(&mut self, engine: &Engine) -> Result<()> {
        let temporary = Objects::read(&self.site.artifacts())?.temporary;
        self.tally.leftovers = temporary.len();
        for path in &temporary {
            File::options().write(true).open(path)?.set_modified(SystemTime::now() - OLD)?;
        }
        let (life, _) = self.start_ready(engine)?;
        life.stop(&mut self.findings)?;
        let left = Objects::read(&self.site.artifacts())?.temporary;
        self.findings.check(Rule::WholeFiles, left.is_empty(), || {
            format!("files of interrupted writes still exist: {left:?}")
        });
        Ok(())
    }
}
