//! The progress of a server which parses dumps, from its metrics.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::cpu;
use crate::server::Server;
use coredock_testkit::client::Client;

const ATTEMPTS: &str = "coredock_symbolication_total";
const PARSED: &str = r#"{engine="native",result="parsed"}"#;
const MATCHES: &str = "coredock_symbolication_match_total";
const EXACT: &str = r#"{match="exact"}"#;
/// Between two requests, each of which costs the server as much as a dump or two.
const INTERVAL: Duration = Duration::from_millis(20);
const TIMEOUT: Duration = Duration::from_mins(5);

pub(super) struct Progress {
    client: Client,
    pid: u32,
}

/// One reading of the metrics.
pub(super) struct Reading {
    pub(super) at: Instant,
    /// Dumps parsed since the server started.
    pub(super) parsed: usize,
    /// Processor time of the server since it started.
    pub(super) spent: Duration,
}

impl Progress {
    pub(super) fn of(server: &Server) -> Result<Self> {
        Ok(Self { client: server.client()?, pid: server.pid() })
    }

    /// Waits until `dumps` dumps are parsed. A dump which is not parsed at the first attempt, or
    /// which is parsed with another ELF than that of its build, is an error.
    pub(super) fn wait_for(&mut self, dumps: usize) -> Result<Reading> {
        let began = Instant::now();
        loop {
            let answer = self.client.get("/metrics")?;
            let (at, spent) = (Instant::now(), cpu::spent(self.pid)?);
            let metrics = std::str::from_utf8(&answer.body)?;
            let parsed = only_value(metrics, ATTEMPTS, PARSED)?;
            if parsed >= dumps {
                only_value(metrics, MATCHES, EXACT)?;
                return Ok(Reading { at, parsed, spent });
            }
            ensure!(
                began.elapsed() < TIMEOUT,
                "{parsed} of {dumps} dumps are parsed after {TIMEOUT:?}"
            );
            sleep(INTERVAL);
        }
    }
}

/// The value of the counter `name` with these labels, zero while it is absent. The counter must be
/// zero with all other labels.
fn only_value(metrics: &str, name: &str, labels: &str) -> Result<usize> {
    let mut wanted = 0;
    for counter in metrics.lines().filter_map(|line| line.strip_prefix(name)) {
        let (found, value) =
            counter.rsplit_once(' ').with_context(|| format!("{name}{counter} has no value"))?;
        let value = value.parse()?;
        if found == labels {
            wanted = value;
        } else {
            ensure!(value == 0, "expected only {name}{labels}, found {name}{counter}");
        }
    }
    Ok(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_outcome_is_an_error() {
        let metrics = "# TYPE coredock_symbolication_total counter\n\
                       coredock_symbolication_total{engine=\"native\",result=\"parsed\"} 41\n";
        assert_eq!(only_value(metrics, ATTEMPTS, PARSED).unwrap(), 41);
        assert_eq!(only_value("", ATTEMPTS, PARSED).unwrap(), 0);
        let failed = r#"coredock_symbolication_total{engine="native",result="error"} 1"#;
        assert!(only_value(&format!("{metrics}{failed}\n"), ATTEMPTS, PARSED).is_err());
    }
}
