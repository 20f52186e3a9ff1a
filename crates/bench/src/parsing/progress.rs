//! How far a server has come with its dumps, as its metrics tell.

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
/// Between two looks, which cost the server as much as a dump or two.
const INTERVAL: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_mins(5);

/// Looks at a server.
pub(super) struct Progress {
    client: Client,
    pid: u32,
}

/// What was seen at a look.
pub(super) struct Look {
    /// When.
    pub(super) at: Instant,
    /// Dumps parsed since the server started.
    pub(super) parsed: usize,
    /// Processor time the server has spent since.
    pub(super) spent: Duration,
}

impl Progress {
    /// Connects.
    pub(super) fn of(server: &Server) -> Result<Self> {
        Ok(Self { client: server.client()?, pid: server.pid() })
    }

    /// Looks until `dumps` are parsed. One that ends in another way is an error, and so is one that
    /// was not parsed with the very ELF of its build.
    pub(super) fn reaches(&mut self, dumps: usize) -> Result<Look> {
        let began = Instant::now();
        loop {
            let answer = self.client.get("/metrics")?;
            let (at, spent) = (Instant::now(), cpu::spent(self.pid)?);
            let parsed = only(std::str::from_utf8(&answer.body)?, (ATTEMPTS, PARSED))?;
            if parsed >= dumps {
                only(std::str::from_utf8(&answer.body)?, (MATCHES, EXACT))?;
                return Ok(Look { at, parsed, spent });
            }
            ensure!(began.elapsed() < PATIENCE, "{parsed} of {dumps} dumps after {PATIENCE:?}");
            sleep(INTERVAL);
        }
    }
}

/// The value of a counter with these labels; zero as long as it is not there. Every other one of its
/// name must be zero.
fn only(metrics: &str, (name, labels): (&str, &str)) -> Result<usize> {
    let mut wanted = 0;
    for counter in metrics.lines().filter_map(|line| line.strip_prefix(name)) {
        let (found, value) = counter.rsplit_once(' ').context("a metric without value")?;
        let value = value.parse()?;
        if found == labels {
            wanted = value;
        } else {
            ensure!(value == 0, "{name}{counter}");
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
        assert_eq!(only(metrics, (ATTEMPTS, PARSED)).unwrap(), 41);
        assert_eq!(only("", (ATTEMPTS, PARSED)).unwrap(), 0);
        let failed = r#"coredock_symbolication_total{engine="native",result="error"} 1"#;
        assert!(only(&format!("{metrics}{failed}\n"), (ATTEMPTS, PARSED)).is_err());
    }
}
