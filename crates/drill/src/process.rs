//! One life of the server: from its start to our kill.

use std::fs::File;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::findings::{Findings, Rule};
use coredock_testkit::client::Client;

/// From the start of the process to its first "ready".
const LONGEST_START: Duration = Duration::from_secs(20);
const LONGEST_STOP: Duration = Duration::from_secs(20);
const SIGKILL: i32 = 9;
/// Kills leave more garbage than the server's own sweep believes without a confirmation.
const EXPECTED_ERRORS: &[&str] = &["more than is plausible"];
/// An outage is no surprise where it is made.
const EXPECTED_OUTAGES: &[&str] = &["more than is plausible", "SERVICE_UNAVAILABLE"];

/// What every life has in common.
pub(super) struct Site {
    /// The program.
    pub(super) binary: PathBuf,
    /// Everything of this drill lies here.
    pub(super) root: PathBuf,
    /// Settings of the environment, the only ones.
    pub(super) settings: Vec<(&'static str, String)>,
}

impl Site {
    /// `DATA_DIR`
    pub(super) fn data(&self) -> PathBuf {
        self.root.join("data")
    }

    /// The SQLite file.
    pub(super) fn database(&self) -> PathBuf {
        self.data().join("coredock.db")
    }

    /// `ARTIFACT_DIR`
    pub(super) fn artifacts(&self) -> PathBuf {
        self.data().join("artifacts")
    }

    /// `PARSE_SIDECAR_XFER_DIR`
    pub(super) fn transfer(&self) -> PathBuf {
        self.root.join("transfer")
    }

    /// The program with its settings.
    pub(super) fn command(&self, subcommand: &str) -> Command {
        let mut command = Command::new(&self.binary);
        command.arg(subcommand).arg("--data").arg(self.data());
        command.current_dir(&self.root).env_clear().stdin(Stdio::null());
        command.envs(self.settings.iter().map(|(name, value)| (name, value)));
        command
    }
}

/// A running server. Killed when dropped.
pub(super) struct Life {
    child: Child,
    log: PathBuf,
    began: Instant,
    /// In errors of its log that need not be shown.
    expected: &'static [&'static str],
}

impl Life {
    /// Starts a server that calls this sidecar; `number` names its log.
    pub(super) fn start(site: &Site, sidecar: &str, number: usize) -> Result<Self> {
        let log = site.root.join(format!("life-{number}.log"));
        let mut command = site.command("serve");
        command.args(["--listen", "127.0.0.1:0"]).env("PARSE_SIDECAR_URL", sidecar);
        let file = File::create(&log)?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().context("cannot start the server")?;
        Ok(Self { child, log, began: Instant::now(), expected: EXPECTED_ERRORS })
    }

    /// A server whose dependencies are broken on purpose.
    pub(super) fn amid_outages(mut self) -> Self {
        self.expected = EXPECTED_OUTAGES;
        self
    }

    /// Its process.
    pub(super) fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Waits until it listens and is ready.
    pub(super) fn wait_until_ready(&mut self) -> Result<SocketAddr> {
        loop {
            if let Some(address) = self.address()?
                && Client::connect(address)?.get("/health/readyz")?.status == 200
            {
                return Ok(address);
            }
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status} before it was ready: {}", self.last_lines());
            }
            ensure!(self.began.elapsed() < LONGEST_START, "not ready after {LONGEST_START:?}");
            sleep(Duration::from_millis(2));
        }
    }

    /// Where it listens, once it has said so.
    pub(super) fn address(&self) -> Result<Option<SocketAddr>> {
        let log = std::fs::read_to_string(&self.log)?;
        let Some(line) = log.lines().find(|line| line.contains("\"listening\"")) else {
            return Ok(None);
        };
        // The line may still be being written.
        let Ok(line) = serde_json::from_str::<Value>(line) else { return Ok(None) };
        Ok(Some(line["address"].as_str().context("no address")?.parse()?))
    }

    /// Kills it with SIGKILL, and looks whether it had ended before or had panicked.
    pub(super) fn kill(mut self, findings: &mut Findings) -> Result<()> {
        self.child.kill()?;
        let status = self.child.wait()?;
        self.check_end(status.signal() == Some(SIGKILL), status, findings)
    }

    /// Asks it to end; it has nothing in flight.
    pub(super) fn stop(mut self, findings: &mut Findings) -> Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::TERM)?;
        let began = Instant::now();
        let status = loop {
            if let Some(status) = self.child.try_wait()? {
                break status;
            }
            ensure!(began.elapsed() < LONGEST_STOP, "still there {LONGEST_STOP:?} after SIGTERM");
            sleep(Duration::from_millis(5));
        };
        self.check_end(status.success(), status, findings)
    }

    fn check_end(&self, as_asked: bool, status: ExitStatus, findings: &mut Findings) -> Result<()> {
        findings.check(Rule::Process, as_asked, || {
            format!("the server ended by itself with {status}: {}", self.last_lines())
        });
        let log = std::fs::read_to_string(&self.log)?;
        let panic = log.lines().find(|line| line.contains("panicked"));
        findings.check(Rule::Process, panic.is_none(), || {
            format!("the server panicked: {}", panic.unwrap_or_default())
        });
        let errors = log.lines().filter(|line| line.contains("\"level\":\"ERROR\""));
        for line in errors.filter(|line| !self.expected.iter().any(|text| line.contains(text))) {
            println!("error in {}: {line}", self.log.display());
        }
        Ok(())
    }

    fn last_lines(&self) -> String {
        let log = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = log.lines().rev().take(3).collect();
        lines.join(" | ")
    }
}

impl Drop for Life {
    fn drop(&mut self) {
        // Both fail when it has ended already, and then there is nothing to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What the command says when a server sweeps at the same time.
const BUSY: &str = "another process is sweeping";

/// Runs `coredock sweep --confirm`; returns what it printed, `None` when it was not let in.
pub(super) fn sweep(site: &Site) -> Result<Option<String>> {
    let mut command = site.command("sweep");
    command.arg("--confirm").env("SWEEP_GRACE_SECONDS", "1");
    command.env("PARSE_SIDECAR_URL", "http://127.0.0.1:9");
    let output = command.output().context("cannot start the sweep")?;
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    let complaint = String::from_utf8_lossy(&output.stderr);
    if said.contains(BUSY) || complaint.contains(BUSY) {
        return Ok(None);
    }
    ensure!(output.status.success(), "the sweep ended with {}: {said}{complaint}", output.status);
    Ok(Some(said))
}

/// Names of files in a directory that should hold none.
pub(super) fn names_in(directory: &Path) -> Result<Vec<String>> {
    let files = super::objects::files_below(directory)?;
    Ok(files.iter().map(|file| file.display().to_string()).collect())
}
