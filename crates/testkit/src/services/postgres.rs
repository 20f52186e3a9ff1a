//! A temporary PostgreSQL server.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use super::free_port;
use crate::program::{apt_install, output, program};

/// Debian's directory with the programs of each version.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The user of the server if this process is root: PostgreSQL refuses to run as root.
const USER: &str = "postgres";
const LOG: &str = "server.log";

/// Whether commits wait for the disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Commits wait, as in production.
    Full,
    /// Commits do not wait: faster, for tests without a loss of power.
    None,
}

/// A running server with a new cluster; ended and removed when dropped.
pub struct PostgresServer {
    directory: TempDir,
    programs: PathBuf,
    port: u16,
}

impl PostgresServer {
    /// Installs PostgreSQL if it is missing, creates a cluster and starts a server on it.
    pub fn start(durability: Durability) -> Result<Self> {
        let programs = programs()?;
        let directory = TempDir::with_prefix("coredock-postgres-")?;
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755))?;
        let server = Self { directory, programs, port: free_port()? };
        let data = server.data();
        fs::create_dir(&data)?;
        if rustix::process::geteuid().is_root() {
            output(program("chown", &[USER]).arg(&data))?;
        }
        let initdb = ["--no-sync", "--auth=trust", "--encoding=UTF8", "--locale=C", "-U", USER];
        output(server.command("initdb").args(initdb).arg("-D").arg(&data))?;
        let mut settings = String::from(
            "listen_addresses = '127.0.0.1'\nunix_socket_directories = ''\n\
             max_connections = 200\nlogging_collector = off\n",
        );
        if durability == Durability::None {
            settings.push_str("fsync = off\nsynchronous_commit = off\nfull_page_writes = off\n");
        }
        let file = data.join("postgresql.auto.conf");
        fs::write(&file, settings)?;
        server.run()?;
        println!("PostgreSQL: {} ({})", server.url("postgres"), server.version()?);
        Ok(server)
    }

    /// The superuser's URL of a database.
    pub fn url(&self, database: &str) -> String {
        format!("postgres://{USER}@127.0.0.1:{}/{database}", self.port)
    }

    pub fn create_database(&self, name: &str) -> Result<()> {
        self.sql("postgres", &format!("CREATE DATABASE {name}")).map(drop)
    }

    /// Runs statements, each in its own transaction, and returns their output.
    pub fn sql(&self, database: &str, statements: &str) -> Result<String> {
        let mut psql = self.client("psql", database);
        psql.args(["-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1"]);
        for statement in statements.split_terminator(';') {
            psql.args(["-c", statement]);
        }
        Ok(output(&mut psql)?.trim().to_owned())
    }

    /// A client program, configured for a database.
    pub fn client(&self, name: &str, database: &str) -> Command {
        let mut command = program(&self.programs.join(name).to_string_lossy(), &[]);
        command.env("PGHOST", "127.0.0.1").env("PGPORT", self.port().to_string());
        command.env("PGUSER", USER).env("PGDATABASE", database);
        command
    }

    pub fn port(&self) -> u16 {
        self.port
    }

    /// Starts the server and waits until it accepts connections.
    pub fn run(&self) -> Result<()> {
        let options = format!("-p {}", self.port);
        let start = ["-w", "-t", "60", "-o", &options, "start"];
        self.control(&start)
    }

    /// Kills the server without a shutdown, as a loss of power would end it.
    pub fn kill(&self) -> Result<()> {
        let pid = fs::read_to_string(self.data().join("postmaster.pid"))?;
        let pid = pid.lines().next().context("postmaster.pid is empty")?.trim();
        let pid: i32 = pid.parse()?;
        let pid = rustix::process::Pid::from_raw(pid).context("postmaster.pid has the id 0")?;
        rustix::process::kill_process(pid, rustix::process::Signal::KILL)?;
        Ok(())
    }

    /// Stops the server. `mode` is that of `pg_ctl stop`: `fast` ends the sessions of the server.
    pub fn stop(&self, mode: &str) -> Result<()> {
        self.control(&["-w", "-m", mode, "stop"])
    }

    /// The log of the server so far.
    pub fn log(&self) -> Result<String> {
        let bytes = fs::read(self.data().join(LOG))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn control(&self, arguments: &[&str]) -> Result<()> {
        let log = self.data().join(LOG);
        let mut control = self.command("pg_ctl");
        control.arg("-D").arg(self.data()).arg("-l").arg(&log).args(arguments);
        let done = control.output().context("cannot start pg_ctl")?;
        let log = fs::read_to_string(log).unwrap_or_default();
        ensure!(done.status.success(), "pg_ctl {} failed:\n{log}", arguments.join(" "));
        Ok(())
    }

    fn version(&self) -> Result<String> {
        Ok(output(self.command("postgres").arg("--version"))?.trim().to_owned())
    }

    fn data(&self) -> PathBuf {
        self.directory.path().join("data")
    }

    /// A program of PostgreSQL, as a user under which it may run.
    fn command(&self, name: &str) -> Command {
        let path = self.programs.join(name);
        let mut command = if rustix::process::geteuid().is_root() {
            let user = format!("--reuid={USER}");
            let mut command = program("setpriv", &[&user, "--regid", USER, "--init-groups"]);
            command.arg(path);
            command
        } else {
            program(&path.to_string_lossy(), &[])
        };
        command.current_dir("/");
        command
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        if let Err(error) = self.stop("immediate") {
            println!("PostgreSQL on port {} was not stopped: {error:#}", self.port);
        }
    }
}

/// The programs of the newest installed version. Installs Debian's version if there is none.
fn programs() -> Result<PathBuf> {
    if let Some(found) = newest() {
        return Ok(found);
    }
    // Without this file the package creates a cluster and starts it.
    let settings = Path::new("/etc/postgresql-common/createcluster.conf");
    if !settings.exists() && rustix::process::geteuid().is_root() {
        fs::create_dir_all("/etc/postgresql-common")?;
        fs::write(settings, "create_main_cluster = false\n")?;
    }
    apt_install("postgresql")?;
    newest().with_context(|| format!("no initdb below {DEBIAN}"))
}

fn newest() -> Option<PathBuf> {
    let versions = fs::read_dir(DEBIAN).ok()?;
    let number = |path: &Path| path.file_name()?.to_str()?.parse::<u32>().ok();
    let mut found: Vec<_> = versions
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter_map(|path| Some((number(&path)?, path.join("bin"))))
        .filter(|(_, programs)| programs.join("initdb").exists())
        .collect();
    found.sort();
    found.pop().map(|(_, programs)| programs)
}
