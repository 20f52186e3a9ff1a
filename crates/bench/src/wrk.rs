//! The load generator `wrk`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use coredock_testkit::program::{apt_install, output, program};

/// What one run of it found.
#[derive(Debug, PartialEq)]
pub(super) struct Load {
    /// Answers per second.
    pub(super) per_second: f64,
    /// Milliseconds that 99 of 100 answers did not exceed.
    pub(super) p99: f64,
}

/// Installs it if it is not there.
pub(super) fn prepare() -> Result<()> {
    // Without arguments it prints its usage and fails: what counts is that it starts.
    if program("wrk", &[]).output().is_err() {
        apt_install("wrk")?;
    }
    Ok(())
}

/// Requests `url` again and again, on so many `connections` at once. Any failure is an error.
pub(super) fn run(url: &str, connections: u32, duration: Duration) -> Result<Load> {
    let (connections, seconds) = (connections.to_string(), duration.as_secs().to_string());
    let arguments = ["--latency", "-t", "2", "-c", &connections, "-d", &seconds, url];
    let printed = output(&mut program("wrk", &arguments))?;
    parse(&printed).with_context(|| format!("wrk printed:\n{printed}"))
}

fn parse(printed: &str) -> Result<Load> {
    let value =
        |name: &str| printed.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    for failures in ["Non-2xx or 3xx responses:", "Socket errors:"] {
        ensure!(value(failures).is_none(), "not every request was answered with success");
    }
    let per_second = value("Requests/sec:").context("no rate")?.parse()?;
    let p99 = milliseconds(value("99%").context("no p99")?).context("a p99 without unit")?;
    Ok(Load { per_second, p99 })
}

fn milliseconds(text: &str) -> Option<f64> {
    let units = [("us", 0.001), ("ms", 1.0), ("s", 1000.0)];
    let (number, scale) =
        units.iter().find_map(|(unit, scale)| Some((text.strip_suffix(unit)?, scale)))?;
    number.parse::<f64>().ok().map(|number| number * scale)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PRINTED: &str = "  Latency Distribution\n     50%    1.19ms\n     99%  500.00us\n  \
                           1000 requests in 1.00s\nRequests/sec:  52144.70\n";

    #[test]
    fn rate_and_latency_are_read() {
        assert_eq!(parse(PRINTED).unwrap(), Load { per_second: 52144.70, p99: 0.5 });
        assert_eq!(milliseconds("1.50s"), Some(1500.0));
    }

    #[test]
    fn failed_requests_spoil_a_run() {
        assert!(parse(&format!("{PRINTED}  Non-2xx or 3xx responses: 3\n")).is_err());
    }
}
