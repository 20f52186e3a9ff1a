//! One process at a time per data directory (contract §14.5).

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};

const LOCK_NAME: &str = "coredock.lock";

/// Locks the directories of the database and of the local store until it is dropped.
#[derive(Debug)]
pub struct DataLock {
    _files: Vec<File>,
}

#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error("{} is in use by another coredock process; stop it first", .0.display())]
    InUse(PathBuf),
    #[error("data directory {} cannot be used: {source}", path.display())]
    Unusable { path: PathBuf, source: io::Error },
}

impl DataLock {
    /// Creates missing directories and locks each of them.
    pub fn take(directories: &[&Path]) -> Result<Self, LockError> {
        let mut locked: Vec<PathBuf> = Vec::new();
        let mut files = Vec::new();
        for directory in directories {
            let unusable = |source| LockError::Unusable { path: directory.to_path_buf(), source };
            std::fs::create_dir_all(directory).map_err(unusable)?;
            let directory = directory.canonicalize().map_err(unusable)?;
            if !locked.contains(&directory) {
                files.push(lock(&directory)?);
                locked.push(directory);
            }
        }
        Ok(Self { _files: files })
    }
}

fn lock(directory: &Path) -> Result<File, LockError> {
    let unusable = |source| LockError::Unusable { path: directory.to_path_buf(), source };
    let path = directory.join(LOCK_NAME);
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true);
    let file = options.open(path).map_err(unusable)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(LockError::InUse(directory.to_path_buf())),
        Err(TryLockError::Error(source)) => Err(unusable(source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_lock_is_refused_until_the_first_is_dropped() {
        let directory = tempfile::tempdir().unwrap();
        let inner = directory.path().join("new");
        let first = DataLock::take(&[&inner, directory.path(), &inner]).unwrap();
        assert!(matches!(DataLock::take(&[&inner]), Err(LockError::InUse(_))));
        drop(first);
        DataLock::take(&[&inner]).unwrap();
    }
}
