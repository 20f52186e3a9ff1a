//! The files of one attempt.

use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use coredock_domain::artifacts::verified_reads::ArtifactBytes;
use coredock_domain::symbolication::symbolizer::ElfFile;
use futures::StreamExt;
use tokio::io::AsyncWriteExt;
use tokio::task::spawn_blocking;

use crate::names::JobFile;

/// The sidecar runs as another user.
const READABLE_BY_ALL: u32 = 0o644;

#[derive(Debug, thiserror::Error)]
pub(crate) enum WriteJobError {
    #[error("could not write to the directory shared with the sidecar")]
    Directory(#[from] io::Error),
    #[error("could not read the ELF")]
    Store(#[from] coredock_domain::artifacts::store::ArtifactStoreError),
    #[error("expected an ELF of {expected} bytes, read {read}")]
    Length {
        expected: u64,
        /// More bytes may follow if this is greater than `expected`.
        read: u64,
    },
}

impl WriteJobError {
    /// Whether the directory is full or too small.
    pub(crate) fn is_out_of_space(&self) -> bool {
        use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
        match self {
            Self::Directory(error) => {
                matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
            }
            Self::Store(_) | Self::Length { .. } => false,
        }
    }
}

/// Dump and ELF of one attempt in the shared directory. Dropping it removes both, written or not.
pub(crate) struct JobFiles {
    files: [JobFile; 2],
    directory: Arc<AttemptDirectory>,
}

/// The shared directory, for one attempt.
struct AttemptDirectory {
    path: PathBuf,
    /// Set when the attempt ends. A file operation which is still queued on another thread then
    /// does nothing, so it cannot create a file after the files were removed.
    ended: Mutex<bool>,
}

impl JobFiles {
    pub(crate) fn new(directory: &Path, dump: JobFile, elf: JobFile) -> Self {
        let directory = AttemptDirectory { path: directory.to_owned(), ended: Mutex::new(false) };
        Self { files: [dump, elf], directory: Arc::new(directory) }
    }

    /// Writes both files. Each gets its final name only when it is complete.
    pub(crate) async fn write(&self, dump: Bytes, elf: ElfFile) -> Result<(), WriteJobError> {
        let [dump_file, elf_file] = &self.files;
        let mut file = self.create(dump_file).await?;
        file.write_all(&dump).await?;
        self.complete(dump_file, file).await?;

        let mut file = self.create(elf_file).await?;
        copy(elf.bytes, elf.size, &mut file).await?;
        self.complete(elf_file, file).await?;
        Ok(())
    }

    async fn create(&self, file: &JobFile) -> io::Result<tokio::fs::File> {
        let part_name = file.part_name();
        let create = move |directory: &Path| create_anew(&directory.join(part_name));
        Ok(tokio::fs::File::from_std(self.unless_ended(create).await?))
    }

    async fn complete(&self, file: &JobFile, mut written: tokio::fs::File) -> io::Result<()> {
        written.flush().await?;
        drop(written);
        let (from, to) = (file.part_name(), file.name());
        self.unless_ended(move |directory| fs::rename(directory.join(from), directory.join(to)))
            .await
    }

    async fn unless_ended<T: Send + 'static>(
        &self,
        operation: impl FnOnce(&Path) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let directory = Arc::clone(&self.directory);
        let run = move || {
            let ended = directory.ended.lock().unwrap_or_else(PoisonError::into_inner);
            if *ended {
                return Err(io::Error::other("the attempt has ended"));
            }
            operation(&directory.path)
        };
        spawn_blocking(run).await?
    }
}

impl Drop for JobFiles {
    fn drop(&mut self) {
        let mut ended = self.directory.ended.lock().unwrap_or_else(PoisonError::into_inner);
        *ended = true;
        for file in &self.files {
            for name in [file.part_name(), file.name()] {
                remove(&self.directory.path, &name);
            }
        }
    }
}

/// Creates the file and replaces a file that an aborted attempt left. Never writes through a
/// symbolic link that another user of the directory has made.
fn create_anew(path: &Path) -> io::Result<File> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new().write(true).create_new(true).mode(READABLE_BY_ALL).open(path)?;
    // The umask may have removed permissions.
    if file.metadata()?.mode() & READABLE_BY_ALL != READABLE_BY_ALL {
        file.set_permissions(Permissions::from_mode(READABLE_BY_ALL))?;
    }
    Ok(file)
}

async fn copy(
    mut pieces: ArtifactBytes,
    size: u64,
    file: &mut tokio::fs::File,
) -> Result<(), WriteJobError> {
    let mut read = 0;
    while let Some(piece) = pieces.next().await {
        let piece = piece?;
        read += piece.len() as u64;
        if read > size {
            break;
        }
        file.write_all(&piece).await?;
    }
    if read == size { Ok(()) } else { Err(WriteJobError::Length { expected: size, read }) }
}

fn remove(directory: &Path, name: &str) {
    let path = directory.join(name);
    match fs::remove_file(&path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            let error = &error as &dyn std::error::Error;
            tracing::warn!(error, file = name, "could not remove {}", path.display());
        }
        _ => {}
    }
}
