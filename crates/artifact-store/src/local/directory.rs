//! The directory that contains the objects, and the durability of the directories below it.

use std::collections::HashSet;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use coredock_domain::artifacts::key::ArtifactKey;

use super::threads::Caller;

/// Directories remembered as durable; beyond this number all are forgotten and synced again.
const MAX_REMEMBERED: usize = 10_000;

pub(super) struct Directory {
    root: PathBuf,
    /// Directories below the root whose names were synced in their parents.
    durable: Mutex<HashSet<PathBuf>>,
}

impl Directory {
    /// Creates the directory when it is absent, accessible to its owner only.
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let path = std::path::absolute(path)?;
        let missing: Vec<_> = path.ancestors().take_while(|ancestor| !ancestor.exists()).collect();
        for directory in missing.into_iter().rev() {
            create_directory(directory)?;
            sync_parent(directory)?;
        }
        let root = path.canonicalize()?;
        fs::read_dir(&root)?;
        Ok(Self { root, durable: Mutex::default() })
    }

    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// No part of a key begins with a dot, so the path stays below the root.
    pub(super) fn path_of(&self, key: &ArtifactKey) -> PathBuf {
        self.root.join(key.to_string())
    }

    /// Call it when an object seems absent: an error when the root is missing, because then the
    /// object may exist.
    pub(super) fn check_present(&self) -> io::Result<()> {
        fs::read_dir(&self.root).map(drop)
    }

    /// Creates the directories of `object` and makes each of them durable, including those which
    /// exist: the writer which created them may not have synced them yet, and a power cut would
    /// remove them together with this object.
    pub(super) fn make_parents(&self, object: &Path) -> io::Result<()> {
        let is_below_root = |directory: &&Path| **directory != *self.root;
        let mut parents: Vec<_> = object.ancestors().skip(1).take_while(is_below_root).collect();
        if parents.first().is_none_or(|directory| self.durable().contains(*directory)) {
            return Ok(());
        }
        parents.reverse();
        for directory in parents {
            if self.durable().contains(directory) {
                continue;
            }
            create_directory(directory)?;
            sync_parent(directory)?;
            let mut durable = self.durable();
            if durable.len() >= MAX_REMEMBERED {
                durable.clear();
            }
            durable.insert(directory.to_owned());
        }
        Ok(())
    }

    /// Call it when the directory of `object` is missing; those above it may be missing too.
    pub(super) fn forget_parents(&self, object: &Path) {
        let mut durable = self.durable();
        for directory in object.ancestors().skip(1) {
            durable.remove(directory);
        }
    }

    /// Continues after a failure, so that as much as possible is deleted; returns the first
    /// failure.
    pub(super) fn delete(&self, keys: &[ArtifactKey], caller: &Caller) -> io::Result<()> {
        let mut some_absent = false;
        let mut failure = None;
        for key in keys {
            caller.check_waits()?;
            match unless_absent(fs::remove_file(self.path_of(key))) {
                Ok(removed) => some_absent |= removed.is_none(),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        if let Some(failure) = failure {
            return Err(failure);
        }
        self.remove_staging_of(keys);
        if some_absent { self.check_present() } else { Ok(()) }
    }

    /// Removes the staging directories of `keys` which are empty. An upload id is never used again,
    /// so no later write needs them.
    fn remove_staging_of(&self, keys: &[ArtifactKey]) {
        let staged = keys.iter().filter(|key| matches!(key, ArtifactKey::Staging { .. }));
        let parents: HashSet<PathBuf> =
            staged.filter_map(|key| Some(self.path_of(key).parent()?.into())).collect();
        for directory in parents {
            self.durable().remove(&directory);
            drop(fs::remove_dir(directory));
        }
    }

    fn durable(&self) -> MutexGuard<'_, HashSet<PathBuf>> {
        self.durable.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn create_directory(directory: &Path) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(directory) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && directory.is_dir() => Ok(()),
        created => created,
    }
}

/// Makes the name of a file or directory durable.
pub(super) fn sync_parent(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

pub(super) fn unless_absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
