//! The load generator `wrk`.

use std::time::Duration;

use anyhow::{Context, Result, ensure};

use coredock_testkit::program::{apt_install, output, program};

/// The result of one run.
#[derive(Debug, PartialEq)]
pub(super) struct Load {
    /// Answers per second.
    pub(super) per_second: f64,
    /// Milliseconds that 99 of 100 answers did not exceed.
    pub(super) p99: f64,
}

/// Installs `wrk` if it is missing.
pub(super) fn prepare() -> Result<()> {
    // Without arguments it prints its usage and fails, but it starts.
    if program("wrk", &[]).output().is_err() {
        apt_install("wrk")?;
    }
    Ok(())
}

/// Requests `url` continuously on `connections` at once. Any failure is an error.
pub(super) fn run(url: &str, connections: u32, duration: Duration) -> Result<Load> {
    load(&[url], connections, duration)
}

/// Like [`run`], with requests made by a script in Lua.
pub(super) fn run_script(
    url: &str,
    script: &str,
    connections: u32,
    duration: Duration,
) -> Result<Load> {
    load(&["-s", script, url], connections, duration)
}

fn load(arguments: &[&str], connections: u32, duration: Duration) -> Result<Load> {
    let (connections, seconds) = (connections.to_string(), duration.as_secs().to_string());
    let common = ["--latency", "-t", "2", "-c", &connections, "-d", &seconds];
    let printed = output(program("wrk", &common).args(arguments))?;
    parse(&printed).with_context(|| format!("wrk printed:\n{printed}"))
}

fn parse(printed: &str) -> Result<Load> {
    let value =
        |name: &str| printed.lines().find_map(|line| line.trim().strip_prefix(name)).map(str::trim);
    for failures in ["Non-2xx or 3xx responses:", "Socket errors:"] {
        ensure!(value(failures).is_none(), "expected a run without `{failures}`");
    }
    let per_second = value("Requests/sec:").context("no line `Requests/sec:`")?.parse()?;
    let p99 = value("99%").context("no line `99%`")?;
    let p99 = milliseconds(p99).with_context(|| format!("expected a time, found {p99}"))?;
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
    fn a_run_with_failed_requests_is_an_error() {
        assert!(parse(&format!("{PRINTED}  Non-2xx or 3xx responses: 3\n")).is_err());
    }
}
