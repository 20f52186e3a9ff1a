//! Builds indexes of ELFs in a child process, because a hostile ELF may crash the process that
//! parses it.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use coredock_domain::artifacts::store::ArtifactStoreError;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::symbolication::symbolizer::{ElfFile, SymbolizerError};
use coredock_symbolizer::{Index, IndexError};
use futures::StreamExt;
use rustix::process::Signal;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::process::{Child, Command};
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::timeout;

use crate::child::{BUILD_INDEX, ELF_UNREADABLE, MAX_INDEX_BYTES};
use crate::{failed, unavailable};

/// Children that run at the same time; each may take a gigabyte of memory.
const MAX_CHILDREN: usize = 2;
/// Bytes read from standard error of the child.
const MAX_STDERR_BYTES: u64 = 4096;
/// Longest reason that is passed on.
const MAX_REASON_CHARACTERS: usize = 300;
/// What Rust prints before it aborts for lack of memory (`std::alloc::handle_alloc_error`).
const OUT_OF_MEMORY: &str = "memory allocation of ";

#[derive(Debug, Clone)]
pub struct IndexerOptions {
    /// A program with the command `build-index`.
    pub program: PathBuf,
    /// Directory of temporary files.
    pub scratch: PathBuf,
    /// How long reading an ELF from the store may take.
    pub elf_timeout: Duration,
}

/// The program of this process, even if its file was replaced by a newer version since the start.
pub fn this_program() -> PathBuf {
    let of_this_process = Path::new("/proc/self/exe");
    if of_this_process.exists() {
        return of_this_process.to_owned();
    }
    std::env::current_exe().unwrap_or_else(|_| "coredock".into())
}

/// An outcome of indexing an ELF that every attempt would have.
#[derive(Clone)]
pub(crate) enum Indexed {
    Usable(Index),
    /// The reason, for people.
    Unreadable(Arc<str>),
}

#[derive(Debug, thiserror::Error)]
enum SpoolElfError {
    #[error("the ELF could not be written to a temporary file")]
    Scratch(#[from] io::Error),
    #[error("the ELF could not be read")]
    Store(#[from] ArtifactStoreError),
}

/// Failures which may not occur in another attempt.
#[derive(Debug, thiserror::Error)]
enum IndexFault {
    #[error("the indexer could not be run")]
    Run(#[from] io::Error),
    #[error("the indexer ended with {status}: {stderr}")]
    Crash { status: ExitStatus, stderr: String },
    #[error("the output of the indexer is not an index")]
    NotAnIndex(#[from] IndexError),
    #[error("expected the index of ELF {expected}, found that of ELF {found}")]
    OtherElf { expected: Sha256Digest, found: Sha256Digest },
}

pub(crate) struct Indexer {
    options: IndexerOptions,
    permits: Semaphore,
}

impl Indexer {
    pub(crate) fn new(options: IndexerOptions) -> Self {
        Self { options, permits: Semaphore::new(MAX_CHILDREN) }
    }

    /// Indexes an ELF. The child is killed when this is dropped.
    pub(crate) async fn index(&self, elf: ElfFile) -> Result<Indexed, SymbolizerError> {
        let _permit = self.permits.acquire().await.map_err(unavailable)?;
        let sha256 = elf.sha256;
        // A slow or broken store is not a failure of the engine: the attempt does not count.
        let spooled = timeout(self.options.elf_timeout, self.spool(elf)).await;
        let elf = spooled.map_err(unavailable)?.map_err(spool_failed)?;
        let indexed = self.run(elf, sha256).await;
        indexed.map_err(|fault| failed("the indexer of ELFs crashed", fault))
    }

    /// Copies the ELF to a file without a name, positioned at its start.
    async fn spool(&self, elf: ElfFile) -> Result<File, SpoolElfError> {
        let mut file = tokio::fs::File::from_std(self.scratch_file().await?);
        let mut pieces = elf.bytes;
        while let Some(piece) = pieces.next().await {
            file.write_all(&piece?).await?;
        }
        file.flush().await?;
        file.seek(SeekFrom::Start(0)).await?;
        Ok(file.into_std().await)
    }

    /// The kernel removes the file when the last handle closes, also after a crash.
    async fn scratch_file(&self) -> io::Result<File> {
        let scratch = self.options.scratch.clone();
        spawn_blocking(move || tempfile::tempfile_in(scratch)).await?
    }

    async fn run(&self, elf: File, sha256: Sha256Digest) -> Result<Indexed, IndexFault> {
        let index = self.scratch_file().await?;
        let child = self.spawn(elf, index.try_clone()?)?;
        let Output { status, stderr } = output_of(child).await?;
        if let Some(reason) = unreadable(status, &stderr) {
            return Ok(Indexed::Unreadable(reason.into()));
        }
        if !status.success() {
            return Err(IndexFault::Crash { status, stderr });
        }
        let bytes = spawn_blocking(move || read_index(index)).await.map_err(io::Error::from)??;
        let index = Index::open(bytes)?;
        let found = index.elf_sha256();
        if found != sha256 {
            return Err(IndexFault::OtherElf { expected: sha256, found });
        }
        Ok(Indexed::Usable(index))
    }

    /// The child inherits these three files only: the standard library opens every other one with
    /// close-on-exec.
    fn spawn(&self, elf: File, index: File) -> io::Result<Child> {
        Command::new(&self.options.program)
            .arg(BUILD_INDEX)
            .env_clear()
            .current_dir("/")
            .stdin(elf)
            .stdout(index)
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
    }
}

struct Output {
    status: ExitStatus,
    /// The beginning of its standard error.
    stderr: String,
}

async fn output_of(mut child: Child) -> io::Result<Output> {
    let mut stderr = Vec::new();
    if let Some(pipe) = child.stderr.take() {
        pipe.take(MAX_STDERR_BYTES).read_to_end(&mut stderr).await?;
    }
    let stderr = String::from_utf8_lossy(&stderr).into_owned();
    Ok(Output { status: child.wait().await?, stderr })
}

/// The reason, if every attempt with this ELF would fail in the same way.
fn unreadable(status: ExitStatus, stderr: &str) -> Option<String> {
    if status.code() == Some(ELF_UNREADABLE.into()) {
        return Some(one_line(stderr));
    }
    let is = |signal: Signal| status.signal() == Some(signal.as_raw());
    if is(Signal::XCPU) {
        return Some("the ELF takes too long to be indexed".into());
    }
    if is(Signal::XFSZ) {
        return Some("the index of the ELF is too large".into());
    }
    let no_memory = is(Signal::ABORT) && stderr.contains(OUT_OF_MEMORY);
    no_memory.then(|| "the ELF takes too much memory to be indexed".into())
}

fn one_line(stderr: &str) -> String {
    let words = stderr.split(|c: char| c.is_whitespace() || c.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let reason: String = line.chars().take(MAX_REASON_CHARACTERS).collect();
    if reason.is_empty() { "the ELF cannot be indexed".into() } else { reason }
}

fn read_index(mut file: File) -> io::Result<Bytes> {
    let length = file.seek(SeekFrom::End(0))?.min(MAX_INDEX_BYTES);
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(MAX_INDEX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// A missing directory may come back; a directory without room for the ELF stays too small.
fn spool_failed(error: SpoolElfError) -> SymbolizerError {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match &error {
        SpoolElfError::Scratch(full)
            if matches!(full.kind(), StorageFull | QuotaExceeded | FileTooLarge) =>
        {
            failed("there is no room for the ELF in the directory for temporary files", error)
        }
        // The next read may succeed, but the number of attempts is limited.
        SpoolElfError::Store(ArtifactStoreError::Damaged { .. }) => {
            failed("the stored bytes of the ELF are damaged", error)
        }
        SpoolElfError::Scratch(_)
        | SpoolElfError::Store(
            ArtifactStoreError::Unavailable { .. } | ArtifactStoreError::NotFound { .. },
        ) => unavailable(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signalled(signal: Signal) -> ExitStatus {
        ExitStatus::from_raw(signal.as_raw())
    }

    fn exited(code: i32) -> ExitStatus {
        ExitStatus::from_raw(code << 8)
    }

    #[test]
    fn failures_of_every_attempt_are_blamed_on_the_elf() {
        let unreadable = |status, stderr: &str| unreadable(status, stderr).unwrap_or_default();
        assert_eq!(unreadable(exited(1), " not\n an ELF\u{1b}\n"), "not an ELF");
        assert_eq!(unreadable(exited(1), ""), "the ELF cannot be indexed");
        assert_eq!(unreadable(exited(1), &"é".repeat(1000)).chars().count(), MAX_REASON_CHARACTERS);
        assert!(unreadable(signalled(Signal::XCPU), "").contains("too long"));
        assert!(unreadable(signalled(Signal::XFSZ), "").contains("too large"));
        let stderr = "memory allocation of 17 bytes failed\n";
        assert!(unreadable(signalled(Signal::ABORT), stderr).contains("memory"));
    }

    #[test]
    fn failures_that_may_pass_are_not_blamed_on_the_elf() {
        for status in [
            exited(0),
            exited(2),
            exited(101),
            signalled(Signal::KILL),
            signalled(Signal::SEGV),
            signalled(Signal::ABORT),
        ] {
            assert_eq!(unreadable(status, "words"), None, "{status}");
        }
    }
}
