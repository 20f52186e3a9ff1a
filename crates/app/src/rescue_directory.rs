//! The rescue spool as a directory (contract §4.5): one file per dump, `{received}-{random}.dump`.
//!
//! It is not a separate crate because it consists of a few calls of `std::fs`, and it is not in the
//! domain because these calls block and need threads of the runtime.
//!
//! A file is written under a temporary name, synced, renamed, and its directory synced. A file that
//! is being read or written is locked; the lock ends with the process. Locks of files and of the
//! whole directory also exclude other processes that share it. A lock belongs to the file, not to
//! its name: after locking, the name must still refer to the file.

mod format;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::intake::spool::RescueSpool;
use coredock_domain::intake::spool::{
    OpenedRescue, RescueError, RescueFile, RescueName, RescuedDump,
};
use uuid::Uuid;

use format::{Decoded, Unreadable};

const WAITING: &str = "dump";
const UNFINISHED: &str = "part";
const DAMAGED: &str = "damaged";
/// Locked while the free space is measured and a file is created.
const LOCK_NAME: &str = "rescue.lock";

/// A directory of rescued dumps; it is created when the first dump is saved.
#[derive(Debug, Clone)]
pub struct RescueDirectory {
    path: Arc<Path>,
    budget: u64,
}

impl RescueDirectory {
    /// The files in `path` have at most `budget` bytes together. With 0 no dump is saved; dumps in
    /// the directory are still replayed.
    pub fn new(path: &Path, budget: u64) -> Self {
        Self { path: path.into(), budget }
    }

    fn save_blocking(&self, dump: &RescuedDump) -> Result<LockedFile, RescueError> {
        let failed = |source: io::Error| RescueError::unavailable("save a dump", source);
        if self.budget == 0 {
            return Err(RescueError::Full { budget: 0 });
        }
        let head = format::head(dump).map_err(failed)?;
        let size = format::size(&head, dump);
        let received = dump.delivery.change.at.micros().max(0);
        let name = self.path.join(format!("{received:020}-{}", Uuid::new_v4().simple()));
        let (temporary, waiting) = (name.with_extension(UNFINISHED), name.with_extension(WAITING));
        let Some(mut file) = self.create(&temporary, size).map_err(failed)? else {
            return Err(RescueError::Full { budget: self.budget });
        };
        let written = write_all(&mut file, &head, dump)
            .and_then(|()| fs::rename(&temporary, &waiting))
            .and_then(|()| sync(&self.path));
        if let Err(error) = written {
            // The device gets an error, so its dump must not be recorded later. If the file cannot
            // be removed either, the dump is replayed, like any dump whose answer was lost.
            drop(fs::remove_file(&temporary));
            drop(fs::remove_file(&waiting));
            return Err(failed(error));
        }
        Ok(LockedFile::new(file, waiting, size))
    }

    /// A locked temporary file of `size` bytes, or `None` if the budget does not allow it.
    fn create(&self, temporary: &Path, size: u64) -> io::Result<Option<File>> {
        self.create_directory()?;
        let _lock = self.lock()?;
        if self.used_bytes()?.saturating_add(size) > self.budget {
            return Ok(None);
        }
        let file = File::options().write(true).create_new(true).open(temporary)?;
        file.lock()?;
        file.set_len(size)?;
        Ok(Some(file))
    }

    fn used_bytes(&self) -> io::Result<u64> {
        let mut bytes: u64 = 0;
        for entry in fs::read_dir(&*self.path)? {
            match entry?.metadata() {
                Ok(file) => bytes = bytes.saturating_add(file.len()),
                // The dump was replayed meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    fn create_directory(&self) -> io::Result<()> {
        fs::create_dir_all(&*self.path)?;
        // Even if another process has created it, which may not have synced the parent yet.
        self.path.parent().map_or(Ok(()), sync)
    }

    /// Keeps other processes and threads from creating files until the lock is dropped.
    fn lock(&self) -> io::Result<File> {
        let mut options = File::options();
        let file =
            options.create(true).truncate(false).write(true).open(self.path.join(LOCK_NAME))?;
        file.lock()?;
        Ok(file)
    }

    fn list_blocking(&self) -> io::Result<Vec<RescueName>> {
        let entries = match fs::read_dir(&*self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries?,
        };
        let (mut names, mut unfinished) = (Vec::new(), Vec::new());
        for entry in entries {
            let path = entry?.path();
            let extension = path.extension().and_then(|extension| extension.to_str());
            let name = path.file_name().and_then(|name| name.to_str()).map(str::to_owned);
            match (extension, name) {
                (Some(WAITING), Some(name)) => names.push(RescueName(name)),
                (Some(UNFINISHED), _) => unfinished.push(path),
                _ => {}
            }
        }
        if !unfinished.is_empty() {
            self.remove_abandoned(&unfinished)?;
        }
        names.sort();
        Ok(names)
    }

    /// Removes temporary files whose writers died: those which are not locked.
    fn remove_abandoned(&self, unfinished: &[PathBuf]) -> io::Result<()> {
        // A writer locks the directory while it creates and locks a file.
        let _lock = self.lock()?;
        for path in unfinished {
            if open_locked(path)?.is_some() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn open_blocking(
        &self,
        RescueName(name): &RescueName,
    ) -> Result<Option<OpenedRescue>, RescueError> {
        let failed = |source: io::Error| RescueError::unavailable("read a dump", source);
        let path = self.path.join(name);
        let Some(mut file) = open_locked(&path).map_err(failed)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        match format::decode(bytes) {
            Ok(Decoded { dump, end }) => {
                let file = Box::new(LockedFile::new(file, path, end));
                Ok(Some(OpenedRescue { dump, file }))
            }
            Err(Unreadable::Newer) => {
                Err(RescueError::unavailable("read a dump", "a newer version of Coredock wrote it"))
            }
            Err(Unreadable::Damaged(reason)) => {
                fs::rename(&path, path.with_extension(DAMAGED)).map_err(failed)?;
                Err(RescueError::Damaged { name: name.clone(), reason })
            }
        }
    }
}

/// `None` if the file does not exist or is locked already.
fn open_locked(path: &Path) -> io::Result<Option<File>> {
    let file = match File::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => return Ok(None),
        Err(TryLockError::Error(error)) => return Err(error),
    }
    match fs::metadata(path) {
        Ok(named) if named.ino() == file.metadata()?.ino() => Ok(Some(file)),
        Ok(_) => Ok(None),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn write_all(file: &mut File, head: &[u8], dump: &RescuedDump) -> io::Result<()> {
    file.write_all(head)?;
    match &dump.delivery.body {
        ArtifactBody::Bytes(body) => file.write_all(body.bytes())?,
        ArtifactBody::File(body) => {
            io::copy(&mut body.reader(), file)?;
        }
    }
    if let Some(id) = dump.id {
        file.write_all(&format::mark(id))?;
    }
    file.sync_all()
}

fn sync(directory: &Path) -> io::Result<()> {
    File::open(directory)?.sync_all()
}

#[derive(Debug, Clone)]
struct LockedFile(Arc<Locked>);

#[derive(Debug)]
struct Locked {
    file: File,
    path: PathBuf,
    /// Offset of the next mark.
    end: AtomicU64,
}

impl LockedFile {
    fn new(file: File, path: PathBuf, end: u64) -> Self {
        Self(Arc::new(Locked { file, path, end: AtomicU64::new(end) }))
    }

    fn fix_id_blocking(&self, id: i64) -> io::Result<()> {
        let Locked { file, end, .. } = &*self.0;
        let mark = format::mark(id);
        let at = end.load(Ordering::SeqCst);
        file.write_all_at(&mark, at)?;
        file.sync_data()?;
        end.store(at + mark.len() as u64, Ordering::SeqCst);
        Ok(())
    }
}

#[async_trait]
impl RescueFile for LockedFile {
    async fn fix_id(&self, id: i64) -> Result<(), RescueError> {
        let this = self.clone();
        on_blocking_pool(move || {
            let failed = |source| RescueError::unavailable("record the id of a dump", source);
            this.fix_id_blocking(id).map_err(failed)
        })
        .await
    }

    async fn remove(&self) -> Result<(), RescueError> {
        let this = self.clone();
        on_blocking_pool(move || {
            let failed = |source| RescueError::unavailable("remove a dump", source);
            fs::remove_file(&this.0.path).map_err(failed)
        })
        .await
    }
}

#[async_trait]
impl RescueSpool for RescueDirectory {
    async fn save(&self, dump: &RescuedDump) -> Result<Box<dyn RescueFile>, RescueError> {
        let (this, dump) = (self.clone(), dump.clone());
        on_blocking_pool(move || Ok(Box::new(this.save_blocking(&dump)?) as Box<dyn RescueFile>))
            .await
    }

    async fn waiting(&self) -> Result<Vec<RescueName>, RescueError> {
        let this = self.clone();
        let failed = |source| RescueError::unavailable("list dumps", source);
        on_blocking_pool(move || this.list_blocking().map_err(failed)).await
    }

    async fn open(&self, name: &RescueName) -> Result<Option<OpenedRescue>, RescueError> {
        let (this, name) = (self.clone(), name.clone());
        on_blocking_pool(move || this.open_blocking(&name)).await
    }
}

/// Runs `job`, which waits for the disk. A dump needs this only during an outage.
async fn on_blocking_pool<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, RescueError> + Send + 'static,
) -> Result<T, RescueError> {
    let failed = |error| RescueError::unavailable("complete an operation", error);
    tokio::task::spawn_blocking(job).await.map_err(failed)?
}

#[cfg(test)]
mod tests;
