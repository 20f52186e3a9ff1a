//! The machine and its load, without which figures cannot be compared.

use std::fs::read_to_string;
use std::thread::available_parallelism;

use anyhow::Result;

/// Cores, load, memory and kernel, in one line.
pub(super) fn state() -> Result<String> {
    let cores = available_parallelism()?;
    let load = read_to_string("/proc/loadavg")?;
    let load = load.split(' ').take(3).collect::<Vec<_>>().join(" ");
    let kernel = read_to_string("/proc/sys/kernel/osrelease")?;
    let (processor, memory) = (read_to_string("/proc/cpuinfo")?, read_to_string("/proc/meminfo")?);
    let processor = value(&processor, "model name");
    let (total, available) = (value(&memory, "MemTotal"), value(&memory, "MemAvailable"));
    let kernel = kernel.trim();
    Ok(format!(
        "{cores} cores ({processor}), load {load}, {available} of {total} free, Linux {kernel}"
    ))
}

fn value<'a>(lines: &'a str, name: &str) -> &'a str {
    let line = lines.lines().find(|line| line.starts_with(name));
    line.and_then(|line| line.split_once(':')).map_or("unknown", |(_, value)| value.trim())
}
