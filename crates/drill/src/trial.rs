//! One trial: start, recover, load, kill, look.

use std::fs::File;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use super::dice::Dice;
use super::engine::{Callers, Engine};
use super::events::Events;
use super::findings::{Findings, Rule};
use super::fleet::Fleet;
use super::ledger::Dumps;
use super::load::{Load, Servers, Targets};
use super::material::Material;
use super::objects::{self, Known, Objects};
use super::process::{Life, Site, names_in, sweep};
use super::recovery::{self, Expected};
use super::rows::{self, Database, Rows};
use super::tally::{Phase, Tally};
use super::versions::{self, Versions};
use super::{MAX_COREDUMP_BYTES, MAX_COREDUMPS, MAX_FIRMWARES};
use coredock_testkit::client::Client;

const LONGEST_LOAD: Duration = Duration::from_millis(600);
const LONGEST_START: Duration = Duration::from_millis(150);
const LONGEST_RECOVERY: Duration = Duration::from_millis(300);
/// Starts of an empty directory that are cut.
const FIRST_STARTS: usize = 3;
/// Longer than the age from which files of cut writes are removed.
const OLD: Duration = Duration::from_hours(2);
const SWEEPS: usize = 20;
/// The command `sweep` runs after so many trials.
const SWEPT: usize = 25;

/// Everything between two trials.
pub(super) struct Drill {
    site: Site,
    dice: Dice,
    runtime: Runtime,
    clock: Instant,
    material: Material,
    fleet: Fleet,
    dumps: Dumps,
    versions: Versions,
    targets: Targets,
    findings: Findings,
    tally: Tally,
    lives: usize,
    /// Who held leases when the server died last.
    dead: Vec<String>,
}

/// The table and what it comes to.
pub(super) struct Table {
    pub(super) text: String,
    pub(super) violations: usize,
}

impl Site {
    /// Settings of the drill, on an empty directory.
    pub(super) fn new(binary: PathBuf, root: PathBuf) -> Result<Self> {
        let mut site = Self { binary, root, settings: Vec::new() };
        std::fs::create_dir(site.transfer())?;
        site.settings = settings(&site.transfer())?;
        Ok(site)
    }
}

/// Settings of the environment that every server of a drill is told.
pub(super) fn settings(transfer: &Path) -> Result<Vec<(&'static str, String)>> {
    let transfer = transfer.to_str().context("a path in no UTF-8")?.to_owned();
    Ok(vec![
        ("COREDOCK_ENV", "testing".to_owned()),
        ("SYMBOLIZER", "sidecar".to_owned()),
        ("SYMBOLIZER_WORKERS", "3".to_owned()),
        ("PARSE_SIDECAR_XFER_DIR", transfer),
        ("PARSE_TIMEOUT_SECONDS", "1".to_owned()),
        ("PARSE_LEASE_SECONDS", "2".to_owned()),
        ("PARSE_RETRY_DELAYS", "0,0".to_owned()),
        ("PARSE_MAX_ATTEMPTS", "1000".to_owned()),
        ("MAX_COREDUMPS", MAX_COREDUMPS.to_string()),
        ("MAX_FIRMWARES", MAX_FIRMWARES.to_string()),
        ("MAX_COREDUMP_BYTES", MAX_COREDUMP_BYTES.to_string()),
        ("SYMBOLS_KEEP_DAYS", "0".to_owned()),
        ("SWEEP_INTERVAL_SECONDS", "1".to_owned()),
        ("SWEEP_GRACE_SECONDS", "5".to_owned()),
    ])
}

impl Drill {
    /// Kills the first starts of an empty directory, then creates what clients need.
    pub(super) fn begin(site: Site, seed: u64) -> Result<Self> {
        let mut dice = Dice::new(seed);
        let material = Material::new(&mut dice);
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let mut drill = Self {
            site,
            dice,
            runtime,
            clock: Instant::now(),
            material,
            fleet: Fleet { models: Vec::new(), devices: Vec::new() },
            dumps: Dumps::default(),
            versions: Versions::default(),
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
            sleep(drill.dice.moment(LONGEST_START));
            drill.kill(life, Phase::Start)?;
        }
        let (life, address) = drill.start_ready(&engine)?;
        drill.fleet = Fleet::create(&mut Client::connect(address)?)?;
        drill.kill(life, Phase::Start)?;
        drill.look(&Events::default())?;
        Ok(drill)
    }

    /// One trial.
    pub(super) fn trial(&mut self, trial: usize) -> Result<()> {
        self.findings.at(format!("trial {trial}, life {}", self.lives + 1));
        self.tally.trials = trial;
        let engine = self.engine();
        if trial % 4 == 1 {
            let life = self.start(&engine)?;
            sleep(self.dice.moment(LONGEST_START));
            self.kill(life, Phase::Start)?;
            self.look(&Events::default())?;
        }
        if trial % 4 == 3 {
            let (life, _) = self.start_ready(&engine)?;
            sleep(self.dice.moment(LONGEST_RECOVERY));
            self.kill(life, Phase::Recovery)?;
            self.look(&Events::default())?;
        }
        self.check_calls(&engine)?;
        self.load(trial)?;
        if trial.is_multiple_of(SWEPT) {
            self.findings.at(format!("sweep after trial {trial}"));
            Database::open(&self.site.database())?.end_leases(&self.dead, true)?;
            self.sweep()?;
        }
        Ok(())
    }

    /// A life that recovers, or not, and is killed under load.
    fn load(&mut self, trial: usize) -> Result<()> {
        let engine = self.engine();
        let (life, address) = self.start_ready(&engine)?;
        self.findings.at(format!("trial {trial}, life {}", self.lives));
        match self.dice.below(4) {
            0 | 1 => {
                let jobs = self.dice.chance(70);
                self.recover(address, jobs)?;
            }
            2 => Database::open(&self.site.database())?.end_leases(&self.dead, true)?,
            // Clients meet the leases of the dead.
            _ => {}
        }
        let moment = self.dice.moment(LONGEST_LOAD);
        let (servers, name) = (Servers::one(address), format!("drill-{}", self.lives));
        let load = Load {
            fleet: &self.fleet,
            material: &self.material,
            clock: self.clock,
            targets: &self.targets,
            servers: &servers,
            outages: false,
            name: &name,
        };
        let findings = &mut self.findings;
        let kill = || life.kill(findings);
        let events = load.run((&mut self.dice, moment), kill, || ())?;
        *self.tally.kills.entry(Phase::Load).or_default() += 1;
        self.tally.add(&events);
        self.findings.answers(&events);
        self.look(&events)?;
        self.check_calls(&engine)
    }

    /// Waits until a restarted server has nothing left to do, and looks.
    fn recover(&mut self, address: SocketAddr, jobs: bool) -> Result<()> {
        let mut rows = recovery::wait(&self.site, (&self.dead, jobs), &mut self.findings)?;
        let (objects, lists) = loop {
            let objects = Objects::read(&self.site.artifacts())?;
            let lists = recovery::lists(address, &self.fleet)?;
            let again = recovery::wait(&self.site, (&[], false), &mut self.findings)?;
            if again.names() == rows.names() {
                break (objects, lists);
            }
            // A sweep has taken surplus versions away meanwhile.
            rows = again;
        };
        self.judge(&Events::default(), &rows)?;
        let known = Known { fleet: &self.fleet, material: &self.material, dumps: &self.dumps };
        let expected =
            Expected { known, versions: &self.versions, objects: &objects, lists: &lists };
        let idle = [("spool", self.site.data().join("tmp")), ("transfer", self.site.transfer())];
        recovery::check(&idle, &rows, (&expected, &mut self.findings))
    }

    /// What a dead server left, against what clients were told.
    fn look(&mut self, events: &Events) -> Result<()> {
        let (rows, dead) = rows::read_copy(&self.site.database(), &self.site.root)?;
        self.dead = dead;
        self.judge(events, &rows)?;
        let objects = Objects::read(&self.site.artifacts())?;
        objects.check_rows(&rows, &self.fleet, (Rule::Objects, &mut self.findings))?;
        objects.check_whole(
            &Known { fleet: &self.fleet, material: &self.material, dumps: &self.dumps },
            &mut self.findings,
        );
        let spooled = names_in(&self.site.data().join("tmp"))?;
        self.findings.check(Rule::WholeFiles, spooled.is_empty(), || {
            format!("spooled files have names: {spooled:?}")
        });
        Ok(())
    }

    fn judge(&mut self, events: &Events, rows: &Rows) -> Result<()> {
        self.findings.check(Rule::Database, rows.faults.is_empty(), || rows.faults.join(", "));
        self.dumps.judge(events, rows, (&self.fleet, &mut self.findings))?;
        self.versions.judge(events, rows, (&self.fleet, &mut self.findings))
    }

    fn check_calls(&mut self, engine: &Engine) -> Result<()> {
        let known = Known { fleet: &self.fleet, material: &self.material, dumps: &self.dumps };
        self.tally.parses += engine.check((&known, Callers::One), &mut self.findings)?;
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
        self.findings.held(Rule::Process, 1);
        Ok((life, address))
    }

    fn kill(&mut self, life: Life, phase: Phase) -> Result<()> {
        *self.tally.kills.entry(phase).or_default() += 1;
        life.kill(&mut self.findings)
    }

    /// One line for the way.
    pub(super) fn progress(&self, elapsed: Duration) -> String {
        self.tally.progress(elapsed, self.dumps.count(), &self.findings)
    }

    /// Recovers a last time, sweeps, and looks at what is left.
    pub(super) fn end(mut self) -> Result<Table> {
        self.findings.at("the end".into());
        let engine = self.engine();
        let (life, address) = self.start_ready(&engine)?;
        self.recover(address, true)?;
        life.stop(&mut self.findings)?;
        self.sweep()?;
        self.clean(&engine)?;
        self.check_calls(&engine)?;
        let text = self.tally.table(&self.findings);
        Ok(Table { text, violations: self.findings.violations().len() })
    }

    /// I6: sweeps until nothing is found any more; objects have to be a second old.
    fn sweep(&mut self) -> Result<()> {
        for _ in 0..SWEEPS {
            let said = sweep(&self.site)?.context("another process sweeps beside no server")?;
            self.findings.check(Rule::Garbage, !said.contains("adopted"), || {
                format!("the store was not taken for our own: {said}")
            });
            let rows = rows::read_copy(&self.site.database(), &self.site.root)?.0;
            let objects = Objects::read(&self.site.artifacts())?;
            if objects::surplus(&objects, &rows, &self.fleet)?.is_empty() {
                break;
            }
            sleep(Duration::from_millis(300));
        }
        self.versions.swept();
        self.look(&Events::default())?;
        let rows = rows::read_copy(&self.site.database(), &self.site.root)?.0;
        let objects = Objects::read(&self.site.artifacts())?;
        objects::check_swept(&objects, &rows, (&self.fleet, &mut self.findings))?;
        versions::check_retention(&rows, &self.fleet, &mut self.findings);
        Ok(())
    }

    /// I14: files of cut writes go at the first start after they have become old.
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
            format!("files of cut writes are still there: {left:?}")
        });
        Ok(())
    }
}
