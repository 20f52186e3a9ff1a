//! Makes indexes of ELFs in a child process, which hostile ones may take with them.

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

use crate::child::{BUILD_INDEX, ELF_UNREADABLE, LARGEST_INDEX_BYTES};
use crate::{failed, unavailable};

/// ELFs indexed at once; each may take a gigabyte.
const MOST_AT_ONCE: usize = 2;
/// What is read of the child's last words, in bytes.
const MOST_SAID: u64 = 4096;
/// Longest reason that is passed on, in characters.
const MOST_REASON: usize = 300;
/// What Rust says before it aborts for want of memory (`std::alloc::handle_alloc_error`).
const OUT_OF_MEMORY: &str = "memory allocation of ";

/// How ELFs are indexed.
#[derive(Debug, Clone)]
pub struct IndexerOptions {
    /// A program that knows the command `build-index`.
    pub program: PathBuf,
    /// Where files without names are made.
    pub scratch: PathBuf,
    /// How long an ELF may take to come out of the store.
    pub patience: Duration,
}

/// This very program, even when its file was replaced by a newer version meanwhile.
pub fn this_program() -> PathBuf {
    let of_this_process = Path::new("/proc/self/exe");
    if of_this_process.exists() {
        return of_this_process.to_owned();
    }
    std::env::current_exe().unwrap_or_else(|_| "coredock".into())
}

/// What came of indexing an ELF; every time the same.
#[derive(Clone)]
pub(crate) enum Indexed {
    Open(Index),
    /// For people.
    Unreadable(Arc<str>),
}

/// Why an ELF is not in a file of ours.
#[derive(Debug, thiserror::Error)]
enum SpoolElfError {
    #[error("the ELF could not be written to a temporary file")]
    Scratch(#[from] io::Error),
    #[error("the ELF could not be read")]
    Store(#[from] ArtifactStoreError),
}

/// Why there is no index, though it is not the ELF's fault.
#[derive(Debug, thiserror::Error)]
enum IndexFault {
    #[error("the indexer could not be run")]
    Run(#[from] io::Error),
    #[error("the indexer ended with {status}: {said}")]
    Crash { status: ExitStatus, said: String },
    #[error("the indexer made no index")]
    NoIndex(#[from] IndexError),
    #[error("the index is of ELF {0}, which is another one")]
    OtherElf(Sha256Digest),
}

/// Has ELFs indexed.
pub(crate) struct Indexer {
    options: IndexerOptions,
    turns: Semaphore,
}

impl Indexer {
    pub(crate) fn new(options: IndexerOptions) -> Self {
        Self { options, turns: Semaphore::new(MOST_AT_ONCE) }
    }

    /// Indexes an ELF. The child is killed when this is dropped.
    pub(crate) async fn index(&self, elf: ElfFile) -> Result<Indexed, SymbolizerError> {
        let _turn = self.turns.acquire().await.map_err(unavailable)?;
        let sha256 = elf.sha256;
        // Too slow or broken, the store is not the engine: the attempt does not count.
        let spooled = timeout(self.options.patience, self.spool(elf)).await;
        let elf = spooled.map_err(unavailable)?.map_err(unspooled)?;
        let crashed = |fault| failed("the indexer of ELFs crashed", fault);
        let indexed = self.run(elf, sha256).await;
        indexed
            .map_err(|fault| crashed(Box::new(fault) as Box<dyn std::error::Error + Send + Sync>))
    }

    /// The ELF in a file without a name, to be read from its start.
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

    /// It is gone when the last handle closes, after a crash too.
    async fn scratch_file(&self) -> io::Result<File> {
        let scratch = self.options.scratch.clone();
        spawn_blocking(move || tempfile::tempfile_in(scratch)).await?
    }

    async fn run(&self, elf: File, sha256: Sha256Digest) -> Result<Indexed, IndexFault> {
        let index = self.scratch_file().await?;
        let child = self.spawn(elf, index.try_clone()?)?;
        let (status, said) = last_words(child).await?;
        if let Some(reason) = unreadable(status, &said) {
            return Ok(Indexed::Unreadable(reason.into()));
        }
        if !status.success() {
            return Err(IndexFault::Crash { status, said });
        }
        let bytes = spawn_blocking(move || read_index(index)).await.map_err(io::Error::from)??;
        let index = Index::open(bytes)?;
        if index.elf_sha256() != sha256 {
            return Err(IndexFault::OtherElf(index.elf_sha256()));
        }
        Ok(Indexed::Open(index))
    }

    /// The child has its three files and nothing else of ours: every other one is closed on exec, as
    /// the standard library opens them.
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

/// How the child ended, and the beginning of what it said.
async fn last_words(mut child: Child) -> io::Result<(ExitStatus, String)> {
    let mut said = Vec::new();
    if let Some(words) = child.stderr.take() {
        words.take(MOST_SAID).read_to_end(&mut said).await?;
    }
    Ok((child.wait().await?, String::from_utf8_lossy(&said).into_owned()))
}

/// Why the ELF is at fault, if it is: it would be so every time.
fn unreadable(status: ExitStatus, said: &str) -> Option<String> {
    if status.code() == Some(ELF_UNREADABLE.into()) {
        return Some(one_line(said));
    }
    let is = |signal: Signal| status.signal() == Some(signal.as_raw());
    if is(Signal::XCPU) {
        return Some("the ELF takes too long to be indexed".into());
    }
    if is(Signal::XFSZ) {
        return Some("the index of the ELF is too large".into());
    }
    let no_memory = is(Signal::ABORT) && said.contains(OUT_OF_MEMORY);
    no_memory.then(|| "the ELF takes too much memory to be indexed".into())
}

fn one_line(said: &str) -> String {
    let words = said.split(|c: char| c.is_whitespace() || c.is_control());
    let line = words.filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let reason: String = line.chars().take(MOST_REASON).collect();
    if reason.is_empty() { "the ELF cannot be indexed".into() } else { reason }
}

fn read_index(mut file: File) -> io::Result<Bytes> {
    let length = file.seek(SeekFrom::End(0))?.min(LARGEST_INDEX_BYTES);
    file.seek(SeekFrom::Start(0))?;
    let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or_default());
    file.take(LARGEST_INDEX_BYTES).read_to_end(&mut bytes)?;
    Ok(bytes.into())
}

/// A directory that is gone comes back; one that is too small for an ELF stays so.
fn unspooled(error: SpoolElfError) -> SymbolizerError {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    match &error {
        SpoolElfError::Scratch(full)
            if matches!(full.kind(), StorageFull | QuotaExceeded | FileTooLarge) =>
        {
            failed("there is no room for the ELF in the directory for temporary files", error)
        }
        // The next read may be whole; but not for ever.
        SpoolElfError::Store(ArtifactStoreError::Damaged { .. }) => {
            failed("the ELF is not what was stored", error)
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
    fn what_would_happen_every_time_is_the_fault_of_the_elf() {
        let unreadable = |status, said: &str| unreadable(status, said).unwrap_or_default();
        assert_eq!(unreadable(exited(1), " it is\n no ELF\u{1b}\n"), "it is no ELF");
        assert_eq!(unreadable(exited(1), ""), "the ELF cannot be indexed");
        assert_eq!(unreadable(exited(1), &"é".repeat(1000)).chars().count(), MOST_REASON);
        assert!(unreadable(signalled(Signal::XCPU), "").contains("too long"));
        assert!(unreadable(signalled(Signal::XFSZ), "").contains("too large"));
        let said = "memory allocation of 17 bytes failed\n";
        assert!(unreadable(signalled(Signal::ABORT), said).contains("memory"));
    }

    #[test]
    fn what_may_go_better_next_time_is_not() {
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
