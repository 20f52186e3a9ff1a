//! The load generator of `PostgreSQL`.

use std::io::Write;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use super::{CONCURRENCY, Extent};
use coredock_testkit::program::output;
use coredock_testkit::services::postgres::PostgresServer;

/// Runs of `script` per second by 16 clients, with prepared statements, as Coredock has them. Any
/// failure is an error.
pub(super) fn run(
    server: &PostgresServer,
    database: &str,
    script: &str,
    extent: Extent,
) -> Result<f64> {
    let mut file = NamedTempFile::new()?;
    file.write_all(script.as_bytes())?;
    let clients = CONCURRENCY.to_string();
    let mut pgbench = server.client("pgbench", database);
    pgbench.args(["-n", "-M", "prepared", "-j", "2", "-c", &clients]).arg("-f").arg(file.path());
    match extent {
        Extent::For(duration) => pgbench.args(["-T", &duration.as_secs().to_string()]),
        Extent::Count(count) => pgbench.args(["-t", &(count / CONCURRENCY).to_string()]),
    };
    let printed = output(&mut pgbench)?;
    parse(&printed).with_context(|| format!("pgbench printed:\n{printed}"))
}

fn parse(printed: &str) -> Result<f64> {
    let value = |name: &str| printed.lines().find_map(|line| line.strip_prefix(name));
    let rate =
        value("tps = ").and_then(|rest| rest.split(' ').next()).context("no line `tps = `")?;
    Ok(rate.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_read() {
        let printed = "number of failed transactions: 0 (0.000%)\n\
                       tps = 8123.456789 (without initial connection time)\n";
        assert!((parse(printed).unwrap() - 8_123.456_789).abs() < 1e-9);
    }
}
