//! The load generator of `PostgreSQL`.

use std::io::Write;
use std::time::Duration;

use anyhow::{Context, Result};
use tempfile::NamedTempFile;

use super::AT_ONCE;
use coredock_testkit::program::output;
use coredock_testkit::services::postgres::PostgresServer;

/// How long a script runs.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    /// Again and again for this time.
    For(Duration),
    /// So many times, by all clients together.
    Count(usize),
}

/// How often per second 16 clients run `script`, each with statements it has prepared once, as ours
/// are. Any failure is an error.
pub(super) fn run(
    (server, database): (&PostgresServer, &str),
    script: &str,
    extent: Extent,
) -> Result<f64> {
    let mut file = NamedTempFile::new()?;
    file.write_all(script.as_bytes())?;
    let clients = AT_ONCE.to_string();
    let mut pgbench = server.client("pgbench", database);
    pgbench.args(["-n", "-M", "prepared", "-j", "2", "-c", &clients]).arg("-f").arg(file.path());
    match extent {
        Extent::For(duration) => pgbench.args(["-T", &duration.as_secs().to_string()]),
        Extent::Count(count) => pgbench.args(["-t", &(count / AT_ONCE).to_string()]),
    };
    let printed = output(&mut pgbench)?;
    parse(&printed).with_context(|| format!("pgbench printed:\n{printed}"))
}

fn parse(printed: &str) -> Result<f64> {
    let value = |name: &str| printed.lines().find_map(|line| line.strip_prefix(name));
    let rate = value("tps = ").and_then(|rest| rest.split(' ').next()).context("no rate")?;
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
