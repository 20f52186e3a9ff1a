//! A life of a server, from its start to its kill.

use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, ensure};
use coredock_testkit::files::files_below;
use coredock_testkit::invariants::{Findings, Rule};
use coredock_testkit::process::command;
use coredock_testkit::server::Server;
use rustix::process::Pid;

use super::{MAX_COREDUMP_BYTES, MAX_COREDUMPS, MAX_FIRMWARES};

const SIGKILL: i32 = 9;
/// Kills leave more garbage than the sweep of the server deletes without a confirmation.
const EXPECTED_ERRORS: &[&str] = &["more than is plausible"];
/// The errors of the outages that the drill causes.
const EXPECTED_OUTAGES: &[&str] = &["more than is plausible", "SERVICE_UNAVAILABLE"];

/// The common properties of all lives of a server.
pub(super) struct Site {
    pub(super) binary: PathBuf,
    /// Contains the data directory, the logs, and the directory shared with the sidecar.
    pub(super) root: PathBuf,
    /// Settings of the environment, the only ones.
    pub(super) settings: Vec<(&'static str, String)>,
}

impl Site {
    /// Settings of the drill, on an empty directory.
    pub(super) fn new(binary: PathBuf, root: PathBuf) -> Result<Self> {
        let mut site = Self { binary, root, settings: Vec::new() };
        std::fs::create_dir(site.transfer())?;
        site.settings = settings(&site.transfer())?;
        Ok(site)
    }

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
    fn command(&self, subcommand: &str) -> Command {
        let mut command = command(&self.binary, self.settings.iter().cloned());
        command.arg(subcommand).arg("--data").arg(self.data()).current_dir(&self.root);
        command
    }
}

/// Settings of every server of a drill.
pub(super) fn settings(transfer: &Path) -> Result<Vec<(&'static str, String)>> {
    let transfer = transfer.to_str().context("the transfer directory is not UTF-8")?.to_owned();
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

/// A running server. Killed when dropped.
pub(super) struct Life {
    server: Server,
    log: PathBuf,
    /// Errors in the log that contain one of these texts are not printed.
    expected: &'static [&'static str],
}

impl Life {
    /// Starts a server that calls this sidecar; `number` names its log.
    pub(super) fn start(site: &Site, sidecar: &str, number: usize) -> Result<Self> {
        let log = site.root.join(format!("life-{number}.log"));
        let mut command = site.command("serve");
        command.args(["--listen", "127.0.0.1:0"]).env("PARSE_SIDECAR_URL", sidecar);
        let server = Server::start(&mut command, &log)?;
        Ok(Self { server, log, expected: EXPECTED_ERRORS })
    }

    /// A server whose dependencies are broken on purpose.
    pub(super) fn amid_outages(mut self) -> Self {
        self.expected = EXPECTED_OUTAGES;
        self
    }

    pub(super) fn pid(&self) -> Pid {
        self.server.id()
    }

    pub(super) fn wait_until_ready(&mut self) -> Result<SocketAddr> {
        self.server.wait_until_ready()
    }

    /// The address on which it listens, once it does.
    pub(super) fn address(&self) -> Result<Option<SocketAddr>> {
        self.server.address()
    }

    /// Kills it with SIGKILL, and checks that it had neither ended nor panicked before.
    pub(super) fn kill(mut self, findings: &mut Findings) -> Result<()> {
        let status = self.server.kill()?;
        self.check_end(status.signal() == Some(SIGKILL), status, findings)
    }

    /// Stops it with SIGTERM.
    pub(super) fn stop(mut self, findings: &mut Findings) -> Result<()> {
        let status = self.server.stop()?;
        self.check_end(status.success(), status, findings)
    }

    fn check_end(&self, as_asked: bool, status: ExitStatus, findings: &mut Findings) -> Result<()> {
        let process = self.server.process();
        findings.check(Rule::Process, as_asked, || {
            format!("the server ended by itself with {status}: {}", process.last_lines())
        });
        let log = process.output()? + &process.error_output()?;
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
}

/// The text of the command if another process sweeps at the same time.
const BUSY: &str = "another process is sweeping";

/// Runs `coredock sweep --confirm`; returns its output, or `None` if another sweep was running.
pub(super) fn sweep(site: &Site) -> Result<Option<String>> {
    let mut command = site.command("sweep");
    command.arg("--confirm").env("SWEEP_GRACE_SECONDS", "1");
    command.env("PARSE_SIDECAR_URL", "http://127.0.0.1:9");
    let output = command.output().context("cannot start the sweep")?;
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    if printed.contains(BUSY) || errors.contains(BUSY) {
        return Ok(None);
    }
    ensure!(output.status.success(), "the sweep ended with {}: {printed}{errors}", output.status);
    Ok(Some(printed))
}

/// Names of the files in a directory.
pub(super) fn names_in(directory: &Path) -> Result<Vec<String>> {
    let files = files_below(directory)?;
    Ok(files.iter().map(|file| file.display().to_string()).collect())
}
