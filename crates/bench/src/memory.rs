//! Resident memory of another process.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{JoinHandle, sleep, spawn};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};

const INTERVAL: Duration = Duration::from_millis(20);

/// Resident bytes of the process `pid`.
pub(super) fn resident(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .with_context(|| format!("/proc/{pid}/status has no VmRSS"))?;
    Ok(kib.parse::<u64>()? * 1024)
}

/// Samples the resident memory of a process until it is stopped.
pub(super) struct PeakWatch {
    stopped: Arc<AtomicBool>,
    thread: JoinHandle<Result<u64>>,
}

impl PeakWatch {
    pub(super) fn start(pid: u32) -> Self {
        let stopped = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopped);
        let thread = spawn(move || {
            let mut peak = 0;
            while !stop.load(Ordering::Relaxed) {
                peak = peak.max(resident(pid)?);
                sleep(INTERVAL);
            }
            Ok(peak)
        });
        Self { stopped, thread }
    }

    /// The largest sample, in bytes.
    pub(super) fn stop(self) -> Result<u64> {
        self.stopped.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_panic| anyhow!("the sampling thread panicked"))?
    }
}
