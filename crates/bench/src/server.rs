//! The release binary, started on an empty data directory, or on what another process left.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::memory;
use coredock_testkit::client::Client;
use coredock_testkit::program::root;

const LONGEST_START: Duration = Duration::from_secs(20);
const LONGEST_STOP: Duration = Duration::from_secs(10);
const SETTLING: Duration = Duration::from_secs(1);
const READY: &str = "/health/readyz";

/// Where `cargo build --release` puts `name`.
pub(super) fn release_binary(name: &str) -> PathBuf {
    root().join("target/release").join(name)
}

/// An address of this machine that nobody listens on.
pub(super) fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A process that serves; ended when dropped.
pub(super) struct Server {
    child: Child,
    address: SocketAddr,
    ready_after: Duration,
    /// Kept until the process has ended.
    data: TempDir,
}

impl Server {
    /// Starts Coredock with `settings` and nothing else in its environment, and waits until it is
    /// ready.
    pub(super) fn start(settings: &[(&str, &str)]) -> Result<Self> {
        let data = TempDir::with_prefix_in("bench-", root().join("target"))?;
        let address = free_address()?;
        let command = serve((data.path(), address), settings)?;
        Self::spawn(command, (address, data), READY)
    }

    /// Ends the process and starts another one on its data, with other settings.
    pub(super) fn restart(&mut self, settings: &[(&str, &str)]) -> Result<()> {
        self.stop()?;
        self.address = free_address()?;
        let began = Instant::now();
        self.child = spawned(&mut serve((self.data.path(), self.address), settings)?)?;
        self.wait_until_ready(READY, began)
    }

    /// Starts the server that Coredock is compared with.
    pub(super) fn start_bare(body: &str) -> Result<Self> {
        let data = TempDir::with_prefix_in("bench-", root().join("target"))?;
        let address = free_address()?;
        let mut command = Command::new(release_binary("xtask"));
        command.arg("bare-server").args(["--listen", &address.to_string(), "--body", body]);
        Self::spawn(command, (address, data), "/")
    }

    fn spawn(
        mut command: Command,
        (address, data): (SocketAddr, TempDir),
        probe: &str,
    ) -> Result<Self> {
        let began = Instant::now();
        let child = spawned(&mut command)?;
        let mut server = Self { child, address, ready_after: Duration::ZERO, data };
        server.wait_until_ready(probe, began)?;
        Ok(server)
    }

    fn wait_until_ready(&mut self, probe: &str, began: Instant) -> Result<()> {
        while !self.is_ready(probe) {
            if let Some(status) = self.child.try_wait()? {
                bail!("the server ended with {status} before it was ready");
            }
            if began.elapsed() > LONGEST_START {
                bail!("the server is not ready after {LONGEST_START:?}");
            }
            sleep(Duration::from_millis(1));
        }
        self.ready_after = began.elapsed();
        Ok(())
    }

    fn is_ready(&self, probe: &str) -> bool {
        let answer = self.client().and_then(|mut client| client.get(probe));
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its process id.
    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Time from the start of the process to its first "ready".
    pub(super) fn ready_after(&self) -> Duration {
        self.ready_after
    }

    /// A new connection.
    pub(super) fn client(&self) -> Result<Client> {
        Client::connect(self.address)
    }

    /// Resident bytes after a moment without requests.
    pub(super) fn idle_memory(&self) -> Result<u64> {
        sleep(SETTLING);
        memory::resident(self.pid())
    }

    fn stop(&mut self) -> Result<()> {
        let pid = i32::try_from(self.pid()).ok().and_then(Pid::from_raw).context("no pid")?;
        kill_process(pid, Signal::TERM)?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            if began.elapsed() > LONGEST_STOP {
                bail!("still there after {LONGEST_STOP:?}");
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

/// Coredock with `settings` and nothing else in its environment.
fn serve((data, address): (&Path, SocketAddr), settings: &[(&str, &str)]) -> Result<Command> {
    let mut command = Command::new(release_binary("coredock"));
    command.arg("serve").args(["--listen", &address.to_string()]);
    command.arg("--data").arg(data.join("data"));
    command.env_clear().envs(settings.iter().copied());
    // Log lines are written, as in service, but not to the terminal.
    command.stdout(File::create(data.join("log"))?);
    Ok(command)
}

fn spawned(command: &mut Command) -> Result<Child> {
    let program = command.get_program().display().to_string();
    let child = command.stdin(Stdio::null()).spawn();
    child.with_context(|| format!("cannot start {program}"))
}

impl Drop for Server {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None))
            && let Err(error) = self.stop()
        {
            println!("process {} does not stop by itself: {error:#}", self.pid());
            // It is ours and was not waited for: the id is still its own.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}
