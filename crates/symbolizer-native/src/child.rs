//! The child process: it reads an ELF from standard input and writes its index to standard output.
//!
//! The ELF may be hostile: the first thing this process does is to lower its own limits.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;

use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{ElfError, MAX_ELF_BYTES, build_index};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The command of the child.
pub const BUILD_INDEX: &str = "build-index";
/// Exit status when the ELF is not usable.
pub const ELF_UNREADABLE: u8 = 1;
/// Exit status when the ELF could not be read, or its index could not be written.
pub const IO_FAILED: u8 = 3;
/// Largest index in bytes; the index of a large firmware has a few megabytes.
pub const MAX_INDEX_BYTES: u64 = 64 * 1024 * 1024;
/// Limit of the address space.
const MAX_MEMORY_BYTES: u64 = 1 << 30;
/// Limit of the processor time; an ELF of some megabytes takes less than a second.
const MAX_CPU_SECONDS: u64 = 30;

#[derive(Debug, thiserror::Error)]
pub enum ChildError {
    /// Every attempt would fail with it. The parent passes the text on.
    #[error(transparent)]
    Elf(#[from] ElfError),
    /// Another attempt may succeed.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// Lowers the limits of this process, then builds the index.
pub fn run() -> Result<(), ChildError> {
    lower_limits()?;
    let elf = read()?;
    let index = build_index(&elf, Sha256Digest::of(&elf))?;
    Ok(write(&index)?)
}

/// The kernel ends a process that exceeds these limits, without a core file.
fn lower_limits() -> io::Result<()> {
    limit(Resource::Core, 0, 0)?;
    limit(Resource::As, MAX_MEMORY_BYTES, MAX_MEMORY_BYTES)?;
    limit(Resource::Fsize, MAX_INDEX_BYTES, MAX_INDEX_BYTES)?;
    // The soft limit sends SIGXCPU, which the parent can tell from a kill by another process.
    limit(Resource::Cpu, MAX_CPU_SECONDS, MAX_CPU_SECONDS + 1)
}

/// Lowers a limit; an inherited limit that is lower stays.
fn limit(resource: Resource, current: u64, maximum: u64) -> io::Result<()> {
    let inherited = getrlimit(resource);
    let lower = |inherited: Option<u64>, wanted: u64| inherited.unwrap_or(wanted).min(wanted);
    let maximum = lower(inherited.maximum, maximum);
    let current = lower(inherited.current, current).min(maximum);
    let limit = Rlimit { current: Some(current), maximum: Some(maximum) };
    Ok(setrlimit(resource, limit)?)
}

fn read() -> io::Result<Vec<u8>> {
    let file = File::from(io::stdin().as_fd().try_clone_to_owned()?);
    let length = file.metadata()?.len().min(MAX_ELF_BYTES as u64);
    let mut elf = Vec::with_capacity(usize::try_from(length).unwrap_or_default() + 1);
    file.take(MAX_ELF_BYTES as u64 + 1).read_to_end(&mut elf)?;
    Ok(elf)
}

fn write(index: &[u8]) -> io::Result<()> {
    File::from(io::stdout().as_fd().try_clone_to_owned()?).write_all(index)
}
