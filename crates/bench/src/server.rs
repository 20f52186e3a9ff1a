//! The release binary, started on an empty data directory, or on the data of its predecessor.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Result, ensure};
use coredock_testkit::client::Client;
use coredock_testkit::process::command;
use coredock_testkit::program::root;
use coredock_testkit::server::Server as ServerProcess;
use tempfile::TempDir;

use super::memory;

/// A port which the system chooses.
const LISTEN: [&str; 2] = ["--listen", "127.0.0.1:0"];
/// Without requests before idle memory is read.
const IDLE: Duration = Duration::from_secs(1);

/// Path of the program `name` as `cargo build --release` leaves it.
pub(super) fn release_binary(name: &str) -> PathBuf {
    root().join("target/release").join(name)
}

/// A server on data of its own; killed when dropped.
pub(super) struct Server {
    process: ServerProcess,
    address: SocketAddr,
    ready_after: Duration,
    /// Dropped after the process which writes to it.
    directory: TempDir,
}

impl Server {
    /// Starts Coredock with `settings` and nothing else in its environment, and waits until it is
    /// ready.
    pub(super) fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let directory = new_directory()?;
        let mut command = coredock(directory.path(), settings);
        Self::run(&mut command, directory)
    }

    /// Starts the server with which Coredock is compared.
    pub(super) fn start_bare(body: &str) -> Result<Self> {
        let mut command = Command::new(release_binary("xtask"));
        command.arg("bare-server").args(LISTEN).args(["--body", body]);
        Self::run(&mut command, new_directory()?)
    }

    /// Ends the process and starts another one on its data, with other settings.
    pub(super) fn restart(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        let status = self.process.stop()?;
        ensure!(status.success(), "the server ended with {status}");
        let mut command = coredock(self.directory.path(), settings);
        (self.process, self.address) = ready(&mut command, self.directory.path())?;
        self.ready_after = self.process.process().elapsed();
        Ok(())
    }

    fn run(command: &mut Command, directory: TempDir) -> Result<Self> {
        let (process, address) = ready(command, directory.path())?;
        let ready_after = process.process().elapsed();
        Ok(Self { process, address, ready_after, directory })
    }

    pub(super) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The id of its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.id().as_raw_nonzero().get().unsigned_abs()
    }

    /// Time from the start of the process to its first "ready".
    pub(super) const fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// A new connection.
    pub(super) fn client(&self) -> Result<Client> {
        Client::connect(self.address)
    }

    /// Resident bytes after a second without requests.
    pub(super) fn idle_memory(&self) -> Result<u64> {
        sleep(IDLE);
        memory::resident(self.pid())
    }
}

fn new_directory() -> Result<TempDir> {
    Ok(TempDir::with_prefix_in("bench-", root().join("target"))?)
}

/// Starts a server, with its log in `directory`, and returns once it is ready.
fn ready(command: &mut Command, directory: &Path) -> Result<(ServerProcess, SocketAddr)> {
    let mut process = ServerProcess::start(command, &directory.join("log"))?;
    let address = process.wait_until_ready()?;
    Ok((process, address))
}

/// Coredock with `settings` and nothing else in its environment.
fn coredock(directory: &Path, settings: &[(&str, &str)]) -> Command {
    let mut command = command(release_binary("coredock"), settings.iter().copied());
    command.arg("serve").args(LISTEN).arg("--data").arg(directory.join("data"));
    command
}
