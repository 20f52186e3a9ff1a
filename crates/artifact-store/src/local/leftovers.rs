//! Temporary files: how they are named, and how those of interrupted writes are removed.
//!
//! A write goes to a temporary file beside the object, which a crash leaves behind. Its name is
//! `{object}.{ten random letters and digits}.part`. Earlier versions of Coredock wrote to
//! `{object}#{number}`; such files are leftovers too.

use std::fs::{self, DirEntry};
use std::io;
use std::path::{Path, PathBuf};

use coredock_domain::artifacts::key::{ArtifactKey, ArtifactPrefix};
use coredock_domain::timestamp::Timestamp;

use super::directory::unless_absent;
use super::list::modified;

pub(super) const RANDOM_CHARACTERS: usize = 10;
pub(super) const SUFFIX: &str = ".part";

/// Whether a path, relative to the root, is the temporary file of an object: what precedes the
/// suffix must be a key, because other programs may use such a suffix too.
pub(super) fn is_temporary(path: &str) -> bool {
    let object = object_of_temporary(path).or_else(|| object_of_earlier_temporary(path));
    object.is_some_and(|object| object.parse::<ArtifactKey>().is_ok())
}

fn object_of_temporary(path: &str) -> Option<&str> {
    let (object, random) = path.strip_suffix(SUFFIX)?.rsplit_once('.')?;
    let is_random = random.len() == RANDOM_CHARACTERS
        && random.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_random.then_some(object)
}

fn object_of_earlier_temporary(path: &str) -> Option<&str> {
    let (object, number) = path.rsplit_once('#')?;
    let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then_some(object)
}

/// Removes temporary files last written before `written_before`, and empty directories. Nothing may
/// be written meanwhile.
pub(super) fn clean(root: &Path, written_before: Timestamp) -> io::Result<u64> {
    let mut removed = 0;
    let prefixes = ArtifactPrefix::ALL.map(ArtifactPrefix::as_str);
    for name in prefixes.into_iter().chain(["coredock", "health"]) {
        removed += clean_below(root, root.join(name), written_before)?;
    }
    Ok(removed)
}

/// Does not follow symbolic links. Tolerates files and directories which vanish meanwhile.
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
    // Children were seen after their parents. A directory which is not empty stays.
    for directory in seen.iter().rev() {
        drop(fs::remove_dir(directory));
    }
    Ok(removed)
}

fn is_leftover(root: &Path, entry: &DirEntry, written_before: Timestamp) -> io::Result<bool> {
    let path = entry.path();
    let relative = path.strip_prefix(root).ok().and_then(Path::to_str);
    if !relative.is_some_and(is_temporary) {
        return Ok(false);
    }
    let Some(metadata) = unless_absent(entry.metadata())? else { return Ok(false) };
    Ok(modified(&metadata)? < written_before)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn temporary_files_of_objects_are_recognised() {
        for temporary in [
            "coredumps/abcd2345/1.dmp.a1B2c3D4e5.part",
            "firmware/demo/1.0/firmware.bin.0123456789.part",
            "coredock/owner.abcdefghij.part",
            "coredumps/abcd2345/1.dmp#1",
            "firmware/demo/1.0#2/firmware.map#12",
        ] {
            assert!(is_temporary(temporary), "{temporary}");
        }
        for other in [
            "coredumps/abcd2345/1.dmp",
            "coredumps/abcd2345/1.dmp.part",
            "coredumps/abcd2345/1.dmp.a1B2c3D4e.part",
            "coredumps/abcd2345/1.dmp.a1B2c3D4e-.part",
            "coredumps/abcd2345/notes.a1B2c3D4e5.part",
            "coredumps/abcd2345/1.dmp#",
            "coredumps/abcd2345/1.dmp#1a",
            "coredumps/abcd2345/notes#1",
            "notes#1",
        ] {
            assert!(!is_temporary(other), "{other}");
        }
    }
}
