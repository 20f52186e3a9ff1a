//! Files in the shared directory that aborted attempts left.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::names::is_job_file;

/// Removes files of attempts that were last written before `written_before`; returns how many. A
/// file that cannot be removed is logged and stays.
pub(crate) fn clean(directory: &Path, written_before: SystemTime) -> io::Result<usize> {
    let mut removed = 0;
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if !is_job_file(&name) {
            continue;
        }
        match remove_if_old(&entry, written_before) {
            Ok(true) => removed += 1,
            Ok(false) => {}
            // Another process removed it at the same time.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                let (error, path) = (&error as &dyn std::error::Error, entry.path());
                tracing::warn!(error, file = name, "could not remove {}", path.display());
            }
        }
    }
    Ok(removed)
}

/// A symbolic link counts by itself, not by its target.
fn remove_if_old(entry: &DirEntry, written_before: SystemTime) -> io::Result<bool> {
    let metadata = entry.metadata()?;
    let removable = metadata.is_file() || metadata.is_symlink();
    if !removable || metadata.modified()? >= written_before {
        return Ok(false);
    }
    fs::remove_file(entry.path())?;
    Ok(true)
}
