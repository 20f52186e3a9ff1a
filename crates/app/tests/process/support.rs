//! Starts the binary and ends it; talks to it over HTTP.

pub(crate) mod files;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod server;

use std::time::{Duration, Instant};

/// Nothing a test waits for takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition; fails after [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
