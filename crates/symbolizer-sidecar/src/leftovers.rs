//! What attempts of processes that died have left in the shared directory.

use std::fs::{self, DirEntry};
use std::io;
use std::path::Path;
use std::time::SystemTime;

use crate::names::is_job_file;

/// Removes our files last written before `written_before`; returns how many. One that cannot be
/// removed is logged and left.
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
            // Whoever has removed it meanwhile, it is gone.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                tracing::warn!(file = name, %error, "could not remove a leftover of the sidecar");
            }
        }
    }
    Ok(removed)
}

/// Of a symbolic link, the link itself counts.
fn remove_if_old(entry: &DirEntry, written_before: SystemTime) -> io::Result<bool> {
    let metadata = entry.metadata()?;
    let removable = metadata.is_file() || metadata.is_symlink();
    if !removable || metadata.modified()? >= written_before {
        return Ok(false);
    }
    fs::remove_file(entry.path())?;
    Ok(true)
}
