//! A running server: `coredock serve`, or a program which announces itself in the same way.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, ExitStatus};
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal};
use serde_json::Value;

use crate::client::Client;
use crate::process::Process;

/// From the start of the process until it is ready.
const START_TIMEOUT: Duration = Duration::from_secs(20);
const STOP_TIMEOUT: Duration = Duration::from_secs(20);
/// The member `event` of the line with the address in a server's log.
const LISTENING: &str = "listening";

/// The process of a server; killed when dropped.
#[derive(Debug)]
pub struct Server(Process);

impl Server {
    /// Starts it, with its log in the file `log`. It may not listen yet.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        Process::start(command, log).map(Self)
    }

    pub fn process(&self) -> &Process {
        &self.0
    }

    pub fn process_mut(&mut self) -> &mut Process {
        &mut self.0
    }

    pub fn id(&self) -> Pid {
        self.0.id()
    }

    /// The address on which it listens, once its log contains the address.
    pub fn address(&self) -> Result<Option<SocketAddr>> {
        address_of(&self.0)
    }

    pub fn wait_until_listening(&mut self) -> Result<SocketAddr> {
        self.0.wait_for(START_TIMEOUT, address_of)
    }

    /// Waits until it answers that it is ready.
    pub fn wait_until_ready(&mut self) -> Result<SocketAddr> {
        let address = self.wait_until_listening()?;
        let ready = |_: &Process| Ok(is_ready(address).then_some(address));
        self.0.wait_for(START_TIMEOUT, ready)
    }

    /// Asks it to end, and waits for its end.
    pub fn stop(&mut self) -> Result<ExitStatus> {
        self.0.signal(Signal::TERM)?;
        self.0.wait(STOP_TIMEOUT)
    }

    pub fn kill(&mut self) -> Result<ExitStatus> {
        self.0.signal(Signal::KILL)?;
        self.0.wait(STOP_TIMEOUT)
    }
}

/// The address on which a process listens, once its log contains the address.
pub fn address_of(process: &Process) -> Result<Option<SocketAddr>> {
    let log = process.output()?;
    let lines = log.lines().filter(|line| line.contains(LISTENING));
    let mut lines = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    let Some(line) = lines.find(|line| line["event"] == LISTENING) else { return Ok(None) };
    let address = line["address"]
        .as_str()
        .with_context(|| format!("expected a line with an address, found {line}"))?;
    Ok(Some(address.parse()?))
}

fn is_ready(address: SocketAddr) -> bool {
    let answer = Client::connect(address).and_then(|mut client| client.get("/health/readyz"));
    answer.is_ok_and(|answer| answer.status == 200)
}
