//! The start on an empty data directory, and memory when idle.

use anyhow::Result;

use super::report::{Figure, Limit, mib};
use super::server::{Server, release_binary};

const STARTS: usize = 10;

/// Time to ready, idle memory, size of the binary.
pub(super) fn measure(runs: usize) -> Result<Vec<Figure>> {
    println!("Startup: {} starts", STARTS.max(runs));
    let size = std::fs::metadata(release_binary("coredock"))?.len();
    let (mut ready, mut idle) = (Vec::new(), Vec::new());
    for start in 0..STARTS.max(runs) {
        let server = Server::start(&[])?;
        ready.push(server.ready_after().as_secs_f64() * 1000.0);
        if start < runs {
            idle.push(mib(server.idle_memory()?));
        }
    }
    let figure = |name, unit, runs, limit| Figure { name, unit, runs, limit: Limit::Below(limit) };
    Ok(vec![
        figure("ready after start on an empty data directory", "ms", ready, 300.0),
        figure("resident memory when idle", "MiB", idle, 30.0),
        figure("size of the release binary", "MiB", vec![mib(size)], 40.0),
    ])
}
