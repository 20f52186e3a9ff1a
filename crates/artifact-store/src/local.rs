//! What a local directory needs besides `object_store`.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, DirEntry, File, Metadata};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::UNIX_EPOCH;

use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::artifacts::store::StoredArtifact;
use coredock_domain::timestamp::Timestamp;
use object_store::path::Path as ObjectPath;
use tokio::task::spawn_blocking;

use crate::store::Fault;
use crate::walk::is_being_written;

/// Directories remembered as durable; beyond it they are forgotten and synced again.
const REMEMBERED: usize = 10_000;

/// The directory of artifacts could not be made or read.
#[derive(Debug, thiserror::Error)]
#[error("could not open artifact directory {}", path.display())]
pub struct OpenDirectoryError {
    path: PathBuf,
    #[source]
    source: Fault,
}

impl OpenDirectoryError {
    pub(crate) fn new(path: &Path, source: impl Into<Fault>) -> Self {
        Self { path: path.to_owned(), source: source.into() }
    }
}

/// The directory below which objects are files. Clones share what they know.
#[derive(Clone)]
pub(crate) struct LocalDirectory {
    root: Arc<Path>,
    /// Directories whose entry in their parent is known to be on disk.
    durable: Arc<Mutex<HashSet<PathBuf>>>,
}

impl LocalDirectory {
    /// Creates it when absent, for its owner only.
    pub(crate) fn open(path: &Path) -> Result<Self, OpenDirectoryError> {
        let root =
            create_root(path).map_err(|source| OpenDirectoryError::new(path, source))?.into();
        Ok(Self { root, durable: Arc::default() })
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Makes the directories of `object`, each of them durable. `object_store` syncs only the
    /// directories it has made itself: one that another write has made, but not yet synced, could
    /// vanish in a power cut together with an object already confirmed.
    pub(crate) async fn prepare(&self, object: &ObjectPath) -> Result<(), Fault> {
        let file = self.root.join(object.as_ref());
        let Some(directory) = file.parent().map(Path::to_owned) else { return Ok(()) };
        if self.is_durable(&directory) {
            return Ok(());
        }
        let this = self.clone();
        Ok(spawn_blocking(move || this.create_durable(&directory)).await??)
    }

    /// Like [`LocalDirectory::prepare`], on this thread.
    pub(crate) fn make_parent(&self, file: &Path) -> io::Result<()> {
        match file.parent() {
            Some(directory) if !self.is_durable(directory) => self.create_durable(directory),
            _ => Ok(()),
        }
    }

    /// The directory of `file` is gone, perhaps with some above it.
    pub(crate) fn forget_parent(&self, file: &Path) {
        let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
        for directory in file.ancestors().skip(1) {
            durable.remove(directory);
        }
    }

    fn create_durable(&self, directory: &Path) -> io::Result<()> {
        let mut below: Vec<_> =
            directory.ancestors().take_while(|ancestor| *ancestor != &*self.root).collect();
        below.reverse();
        for directory in below {
            if self.is_durable(directory) {
                continue;
            }
            create_directory(directory)?;
            sync_parent(directory)?;
            let mut durable = self.durable.lock().unwrap_or_else(PoisonError::into_inner);
            if durable.len() >= REMEMBERED {
                durable.clear();
            }
            durable.insert(directory.to_owned());
        }
        Ok(())
    }

    fn is_durable(&self, directory: &Path) -> bool {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner).contains(directory)
    }

    /// Removes the directories of uploads whose staged objects are all gone. An upload id is never
    /// used again, so nobody can be about to write there; one that is not empty stays.
    pub(crate) async fn remove_staging_of(&self, keys: &[ArtifactKey]) {
        let staged = keys.iter().filter(|key| matches!(key, ArtifactKey::Staging { .. }));
        let parents: HashSet<PathBuf> = staged
            .filter_map(|key| Some(self.root.join(key.to_string()).parent()?.into()))
            .collect();
        if parents.is_empty() {
            return;
        }
        let this = self.clone();
        let remove = move || {
            for directory in parents {
                this.durable.lock().unwrap_or_else(PoisonError::into_inner).remove(&directory);
                drop(fs::remove_dir(directory));
            }
        };
        drop(spawn_blocking(remove).await);
    }

    /// Opens the file of an object on this thread, as `object_store` would on another; `None` when
    /// there is none.
    pub(crate) fn open_file(
        &self,
        object: &ObjectPath,
    ) -> io::Result<Option<(File, StoredArtifact)>> {
        let Some(file) = unless_absent(File::open(self.root.join(object.as_ref())))? else {
            return Ok(None);
        };
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Ok(None);
        }
        Ok(Some((file, stored(&metadata)?)))
    }

    /// An error when the directory itself is gone: then no object is known to be absent.
    pub(crate) async fn check_present(&self) -> Result<(), Fault> {
        let root = Arc::clone(&self.root);
        spawn_blocking(move || fs::read_dir(root)).await??;
        Ok(())
    }

    /// Removes the temporary files of interrupted writes, last written before `written_before`, and
    /// empty directories. Nothing may be written meanwhile.
    pub(crate) async fn clean_leftovers(&self, written_before: Timestamp) -> Result<u64, Fault> {
        let root = Arc::clone(&self.root);
        let clean = move || -> io::Result<u64> {
            let mut removed = 0;
            let prefixes = ArtifactPrefix::ALL.map(ArtifactPrefix::as_str);
            for name in prefixes.into_iter().chain(["coredock", "health"]) {
                removed += clean_below(&root, root.join(name), written_before)?;
            }
            Ok(removed)
        };
        Ok(spawn_blocking(clean).await??)
    }
}

/// What is known of an object that is a file; its identity is the one `object_store` gives it.
pub(crate) fn stored(metadata: &Metadata) -> io::Result<StoredArtifact> {
    let written = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (inode, size) = (metadata.ino(), metadata.len());
    let identity = format!("\"{inode:x}-{:x}-{size:x}\"", written.as_micros());
    Ok(StoredArtifact { size, identity, sha256: None })
}

fn create_root(path: &Path) -> io::Result<PathBuf> {
    let path = std::path::absolute(path)?;
    let missing: Vec<_> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
    for directory in missing.into_iter().rev() {
        create_directory(directory)?;
        sync_parent(directory)?;
    }
    let root = path.canonicalize()?;
    fs::read_dir(&root)?;
    Ok(root)
}

fn create_directory(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        created => created,
    }
}

/// Makes the name of a file or directory durable.
pub(crate) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Follows no symbolic links; a directory or file that vanishes meanwhile is none of ours any more.
fn clean_below(root: &Path, directory: PathBuf, written_before: Timestamp) -> io::Result<u64> {
    let mut directories = vec![directory];
    let mut seen = Vec::new();
    let mut removed = 0;
    while let Some(directory) = directories.pop() {
        let Some(entries) = unless_absent(fs::read_dir(&directory))? else { continue };
        seen.push(directory);
        for entry in entries {
            let entry = entry?;
            let kind = entry.file_type()?;
            if kind.is_dir() {
                directories.push(entry.path());
            } else if kind.is_file() && is_leftover(root, &entry, written_before)? {
                removed += u64::from(unless_absent(fs::remove_file(entry.path()))?.is_some());
            }
        }
    }
    // Children were seen after their parents. One that is not empty stays.
    for directory in seen.iter().rev() {
        drop(fs::remove_dir(directory));
    }
    Ok(removed)
}

/// Only names of our own objects being written are leftovers; foreign files stay.
fn is_leftover(root: &Path, entry: &DirEntry, written_before: Timestamp) -> io::Result<bool> {
    let path = entry.path();
    let relative = path.strip_prefix(root).ok().and_then(Path::to_str);
    let written = relative.filter(|path| is_being_written(path));
    let Some((name, _)) = written.and_then(|path| path.rsplit_once('#')) else { return Ok(false) };
    if name.parse::<ArtifactKey>().is_err() {
        return Ok(false);
    }
    let Some(metadata) = unless_absent(entry.metadata())? else { return Ok(false) };
    let since_epoch = metadata.modified()?.duration_since(UNIX_EPOCH).unwrap_or_default();
    Ok(Timestamp::from_micros(0).after(since_epoch) < written_before)
}

fn unless_absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
