//! Files below a directory.

use std::io;
use std::path::{Path, PathBuf};

/// The path of every file below a directory, without files which vanish meanwhile.
pub fn files_below(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let (mut files, mut directories) = (Vec::new(), vec![directory.to_owned()]);
    while let Some(directory) = directories.pop() {
        let Some(entries) = unless_absent(std::fs::read_dir(&directory))? else { continue };
        for entry in entries {
            let entry = entry?;
            match unless_absent(entry.file_type())? {
                Some(kind) if kind.is_dir() => directories.push(entry.path()),
                Some(_) => files.push(entry.path()),
                None => {}
            }
        }
    }
    Ok(files)
}

/// The paths of [`files_below`], relative to the directory and sorted. Invalid UTF-8 is replaced.
pub fn names_below(directory: &Path) -> io::Result<Vec<String>> {
    let files = files_below(directory)?;
    let relative = |file: &PathBuf| {
        file.strip_prefix(directory).unwrap_or(file).to_string_lossy().into_owned()
    };
    let mut names: Vec<_> = files.iter().map(relative).collect();
    names.sort();
    Ok(names)
}

/// `None` if the file or directory does not exist.
pub fn unless_absent<T>(result: io::Result<T>) -> io::Result<Option<T>> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}
