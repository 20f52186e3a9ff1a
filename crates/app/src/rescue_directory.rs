//! The rescue spool as a directory (contract §4.5): one file per dump, `{received}-{random}.dump`.
//!
//! It lies here and not in a crate of its own because it is a few calls of `std::fs`, and not in the
//! domain because they have to wait on threads of the runtime.
//!
//! A file is written under a temporary name, synced, renamed, and its directory synced. Whoever works
//! on one holds its lock, which ends with the process; locks of files and of the whole directory
//! also keep processes apart that share it. What is locked is the file, not its name: after locking,
//! the name must still lead to it.

mod format;

use std::fs::{self, File, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use async_trait::async_trait;
use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::blocking;
use coredock_domain::intake::replay::RescueSpool;
use coredock_domain::intake::replay::{
    OpenedRescue, RescueError, RescueFile, RescueName, RescuedDump,
};
use uuid::Uuid;

use format::{Decoded, Unreadable};

const WAITING: &str = "dump";
const UNFINISHED: &str = "part";
const DAMAGED: &str = "damaged";
/// Held while the room is measured and a file is begun.
const LOCK_NAME: &str = "rescue.lock";

/// A directory of rescued dumps; made when the first one is saved.
#[derive(Debug, Clone)]
pub struct RescueDirectory {
    path: Arc<Path>,
    budget: u64,
}

impl RescueDirectory {
    /// Everything in `path` together takes at most `budget` bytes; with 0 nothing is saved, and what
    /// waits is still taken in.
    pub fn new(path: &Path, budget: u64) -> Self {
        Self { path: path.into(), budget }
    }

    fn save_here(&self, dump: &RescuedDump) -> Result<HeldFile, RescueError> {
        let failed = |source: io::Error| RescueError::unavailable("save a dump", source);
        if self.budget == 0 {
            return Err(RescueError::Full { budget: 0 });
        }
        let head = format::head(dump).map_err(failed)?;
        let size = format::size(&head, dump);
        let received = dump.delivery.change.at.micros().max(0);
        let name = self.path.join(format!("{received:020}-{}", Uuid::new_v4().simple()));
        let names = (name.with_extension(UNFINISHED), name.with_extension(WAITING));
        let Some(mut file) = self.begin(&names.0, size).map_err(failed)? else {
            return Err(RescueError::Full { budget: self.budget });
        };
        let written = write_all(&mut file, &head, dump)
            .and_then(|()| fs::rename(&names.0, &names.1))
            .and_then(|()| sync(&self.path));
        if let Err(error) = written {
            // Whoever is told that it was not saved must not find it later. What cannot even be
            // removed is taken in, like any dump whose end its device did not hear of.
            drop(fs::remove_file(&names.0));
            drop(fs::remove_file(&names.1));
            return Err(failed(error));
        }
        Ok(HeldFile::new(file, names.1, size))
    }

    /// A locked temporary file for `size` bytes, or `None` when that is more than there may be.
    fn begin(&self, temporary: &Path, size: u64) -> io::Result<Option<File>> {
        self.make()?;
        let _lock = self.lock()?;
        if self.held_bytes()?.saturating_add(size) > self.budget {
            return Ok(None);
        }
        let file = File::options().write(true).create_new(true).open(temporary)?;
        file.lock()?;
        file.set_len(size)?;
        Ok(Some(file))
    }

    fn held_bytes(&self) -> io::Result<u64> {
        let mut bytes: u64 = 0;
        for entry in fs::read_dir(&*self.path)? {
            match entry?.metadata() {
                Ok(file) => bytes = bytes.saturating_add(file.len()),
                // Taken in meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
        Ok(bytes)
    }

    fn make(&self) -> io::Result<()> {
        fs::create_dir_all(&*self.path)?;
        // Also where somebody else has made it: he may not have come to this yet.
        self.path.parent().map_or(Ok(()), sync)
    }

    /// Keeps others from beginning files until it is dropped.
    fn lock(&self) -> io::Result<File> {
        let mut options = File::options();
        let file =
            options.create(true).truncate(false).write(true).open(self.path.join(LOCK_NAME))?;
        file.lock()?;
        Ok(file)
    }

    fn waiting_here(&self) -> io::Result<Vec<RescueName>> {
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

    /// Removes temporary files whose writers died: those that nobody holds.
    fn remove_abandoned(&self, unfinished: &[PathBuf]) -> io::Result<()> {
        // Between creating a file and locking it a writer holds the directory.
        let _lock = self.lock()?;
        for path in unfinished {
            if hold(path)?.is_some() {
                fs::remove_file(path)?;
            }
        }
        Ok(())
    }

    fn open_here(
        &self,
        RescueName(name): &RescueName,
    ) -> Result<Option<OpenedRescue>, RescueError> {
        let failed = |source: io::Error| RescueError::unavailable("read a dump", source);
        let path = self.path.join(name);
        let Some(mut file) = hold(&path).map_err(failed)? else { return Ok(None) };
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).map_err(failed)?;
        match format::decode(bytes) {
            Ok(Decoded { dump, end }) => {
                let file = Box::new(HeldFile::new(file, path, end));
                Ok(Some(OpenedRescue { dump, file }))
            }
            Err(Unreadable::Newer) => {
                Err(RescueError::unavailable("read a dump", "it is of a newer version"))
            }
            Err(Unreadable::Damaged(reason)) => {
                fs::rename(&path, path.with_extension(DAMAGED)).map_err(failed)?;
                Err(RescueError::Damaged { name: name.clone(), reason })
            }
        }
    }
}

/// Opens a file and locks it; `None` when somebody else holds it or it is gone.
fn hold(path: &Path) -> io::Result<Option<File>> {
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

/// A locked file of the directory.
#[derive(Debug, Clone)]
struct HeldFile(Arc<Held>);

#[derive(Debug)]
struct Held {
    file: File,
    path: PathBuf,
    /// Where the next mark goes.
    end: AtomicU64,
}

impl HeldFile {
    fn new(file: File, path: PathBuf, end: u64) -> Self {
        Self(Arc::new(Held { file, path, end: AtomicU64::new(end) }))
    }

    fn fix_id_here(&self, id: i64) -> io::Result<()> {
        let Held { file, end, .. } = &*self.0;
        let mark = format::mark(id);
        let at = end.load(Ordering::SeqCst);
        file.write_all_at(&mark, at)?;
        file.sync_data()?;
        end.store(at + mark.len() as u64, Ordering::SeqCst);
        Ok(())
    }
}

#[async_trait]
impl RescueFile for HeldFile {
    async fn fix_id(&self, id: i64) -> Result<(), RescueError> {
        let this = self.clone();
        wait_for(move || {
            let failed = |source| RescueError::unavailable("note the id of a dump", source);
            this.fix_id_here(id).map_err(failed)
        })
        .await
    }

    async fn remove(&self) -> Result<(), RescueError> {
        let this = self.clone();
        wait_for(move || {
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
        wait_for(move || Ok(Box::new(this.save_here(&dump)?) as Box<dyn RescueFile>)).await
    }

    async fn waiting(&self) -> Result<Vec<RescueName>, RescueError> {
        let this = self.clone();
        let failed = |source| RescueError::unavailable("list dumps", source);
        wait_for(move || this.waiting_here().map_err(failed)).await
    }

    async fn open(&self, name: &RescueName) -> Result<Option<OpenedRescue>, RescueError> {
        let (this, name) = (self.clone(), name.clone());
        wait_for(move || this.open_here(&name)).await
    }
}

/// Runs what waits for the disk where that keeps nobody else waiting.
async fn wait_for<T: Send + 'static>(
    job: impl FnOnce() -> Result<T, RescueError> + Send + 'static,
) -> Result<T, RescueError> {
    if blocking::is_allowed() {
        return job();
    }
    let failed = |error| RescueError::unavailable("wait for a thread", error);
    tokio::task::spawn_blocking(job).await.map_err(failed)?
}

#[cfg(test)]
mod tests;
