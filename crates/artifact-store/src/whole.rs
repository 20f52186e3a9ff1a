//! Writing a small object to a local directory.
//!
//! `object_store` would do, but visits the blocking pool for each step, and a dump is acknowledged
//! only after all of them: here they are one visit. Names of temporary files, and identities, are
//! those of `object_store`, which reads the objects and cleans up after both.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use bytes::Bytes;
use coredock_domain::artifacts::store::StoredArtifact;
use coredock_domain::blocking;
use object_store::path::Path as ObjectPath;
use tokio::task::spawn_blocking;

use crate::local::{LocalDirectory, stored, sync_parent};
use crate::store::Fault;

/// Writers of one object, and leftovers of dead ones, that are stepped aside for.
const MOST_WRITERS: u32 = 1000;

impl LocalDirectory {
    /// Writes `bytes` to `object`: temporary file, sync, rename, sync of the directory (I14).
    pub(crate) async fn write_whole(
        &self,
        object: &ObjectPath,
        bytes: Bytes,
    ) -> Result<StoredArtifact, Fault> {
        let file = self.root().join(object.as_ref());
        if blocking::is_allowed() {
            return Ok(self.write_file(&file, &bytes)?);
        }
        let this = self.clone();
        Ok(spawn_blocking(move || this.write_file(&file, &bytes)).await??)
    }

    fn write_file(&self, file: &Path, bytes: &[u8]) -> io::Result<StoredArtifact> {
        self.make_parent(file)?;
        let (mut writer, temporary) = match create_temporary(file) {
            // Somebody has removed the directory, which was remembered as being there.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget_parent(file);
                self.make_parent(file)?;
                create_temporary(file)?
            }
            created => created?,
        };
        let written = write_and_rename(&mut writer, bytes, (&temporary, file));
        if written.is_err() {
            // It may have been renamed already; what is left is found as a leftover.
            drop(fs::remove_file(&temporary));
        }
        written
    }
}

fn create_temporary(file: &Path) -> io::Result<(File, PathBuf)> {
    let mut last = io::Error::from(io::ErrorKind::AlreadyExists);
    for writer in 1..=MOST_WRITERS {
        let mut name = file.as_os_str().to_owned();
        name.push(format!("#{writer}"));
        let temporary = PathBuf::from(name);
        match File::options().write(true).create_new(true).open(&temporary) {
            Ok(created) => return Ok((created, temporary)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => last = error,
            Err(error) => return Err(error),
        }
    }
    Err(last)
}

fn write_and_rename(
    writer: &mut File,
    bytes: &[u8],
    (temporary, file): (&Path, &Path),
) -> io::Result<StoredArtifact> {
    writer.write_all(bytes)?;
    writer.sync_all()?;
    fs::rename(temporary, file)?;
    sync_parent(file)?;
    let metadata = writer.metadata()?;
    if metadata.len() != bytes.len() as u64 {
        return Err(io::Error::other("the file has another length than was written"));
    }
    stored(&metadata)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object() -> ObjectPath {
        ObjectPath::parse("coredumps/abcd2345/1.dmp").unwrap()
    }

    async fn write(directory: &LocalDirectory, bytes: &'static [u8]) -> Result<String, Fault> {
        let written = directory.write_whole(&object(), Bytes::from_static(bytes)).await?;
        Ok(written.identity)
    }

    fn files(directory: &Path) -> Vec<String> {
        let entries = fs::read_dir(directory.join("coredumps/abcd2345")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    #[tokio::test]
    async fn leftovers_of_dead_writers_are_stepped_aside_for() {
        let root = tempfile::tempdir().unwrap();
        let directory = LocalDirectory::open(root.path()).unwrap();
        write(&directory, b"first").await.unwrap();
        fs::write(root.path().join("coredumps/abcd2345/1.dmp#1"), "cut").unwrap();
        write(&directory, b"second").await.unwrap();
        let mut left = files(root.path());
        left.sort();
        assert_eq!(left, ["1.dmp", "1.dmp#1"]);
        let held = fs::read(root.path().join("coredumps/abcd2345/1.dmp")).unwrap();
        assert_eq!(held, b"second");
    }

    #[tokio::test]
    async fn a_directory_removed_meanwhile_is_made_again() {
        let root = tempfile::tempdir().unwrap();
        let directory = LocalDirectory::open(root.path()).unwrap();
        write(&directory, b"first").await.unwrap();
        fs::remove_dir_all(root.path().join("coredumps")).unwrap();
        write(&directory, b"second").await.unwrap();
        assert_eq!(files(root.path()), ["1.dmp"]);
    }

    #[tokio::test]
    async fn a_write_that_cannot_be_renamed_leaves_nothing() {
        let root = tempfile::tempdir().unwrap();
        let directory = LocalDirectory::open(root.path()).unwrap();
        fs::create_dir_all(root.path().join("coredumps/abcd2345/1.dmp")).unwrap();
        assert!(write(&directory, b"bytes").await.is_err());
        assert_eq!(files(root.path()), ["1.dmp"]);
    }
}
