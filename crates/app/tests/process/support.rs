//! Starts and stops the binary, and talks to it over HTTP.

pub(crate) mod files;
pub(crate) mod process;
pub(crate) mod raw;
pub(crate) mod server;

use std::time::{Duration, Instant};

/// Longest wait of a test.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Waits for a condition; fails after [`PATIENCE`].
#[track_caller]
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out waiting until {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
