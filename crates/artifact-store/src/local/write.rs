//! Writing objects: whole or not at all, durable when a call returns (I2, I14).

use std::fs::{File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use coredock_domain::artifacts::body::ArtifactBody;
use coredock_domain::artifacts::store::StoredArtifact;
use coredock_domain::digest::{RunningSha256, Sha256Digest};
use tempfile::NamedTempFile;

use super::directory::{Directory, sync_parent};
use super::leftovers::{RANDOM_CHARACTERS, SUFFIX};
use super::read::describe;
use super::threads::Caller;

/// Bytes per read and write of a file.
const PIECE: usize = 256 << 10;

impl Directory {
    pub(super) fn put(
        &self,
        object: &Path,
        body: &ArtifactBody,
        caller: &Caller,
    ) -> io::Result<StoredArtifact> {
        self.replace(object, body.length(), caller, |file| match body {
            ArtifactBody::Bytes(body) => file.write_all(body.bytes()),
            ArtifactBody::File(spooled) => {
                write_checked(spooled.reader(), spooled.sha256(), file, caller)
            }
        })
    }

    /// Copies by reading and writing. A hard link would make both names one file, with one identity
    /// and one time of writing. `None` when the source does not exist.
    pub(super) fn copy(
        &self,
        from: &Path,
        to: &Path,
        caller: &Caller,
    ) -> io::Result<Option<StoredArtifact>> {
        let Some((source, stored)) = self.open_object(from)? else { return Ok(None) };
        let copied = self.replace(to, stored.size, caller, |file| {
            transfer(source, caller, |piece| file.write_all(piece))
        });
        copied.map(Some)
    }

    /// Replaces `object` by a new file of `length` bytes, which `write` provides. The order makes
    /// it durable, and complete after any crash: the bytes are synced before the object gets its
    /// name, and the name is synced before the call returns.
    fn replace(
        &self,
        object: &Path,
        length: u64,
        caller: &Caller,
        write: impl FnOnce(&mut File) -> io::Result<()>,
    ) -> io::Result<StoredArtifact> {
        let mut temporary = self.create_temporary(object)?;
        let file = temporary.as_file_mut();
        write(file)?;
        // Part of the identity: see `describe`.
        file.set_modified(SystemTime::now())?;
        file.sync_all()?;
        let stored = describe(&file.metadata()?);
        if stored.size != length {
            return Err(io::Error::other(format!("wrote {} of {length} bytes", stored.size)));
        }
        caller.check_waits()?;
        temporary.persist(object)?;
        sync_parent(object)?;
        Ok(stored)
    }

    /// Creates the file beside the object, so that both are in one file system. Dropping it removes
    /// it.
    fn create_temporary(&self, object: &Path) -> io::Result<NamedTempFile> {
        self.make_parents(object)?;
        match new_temporary(object) {
            // A directory that was remembered as present has been removed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.forget_parents(object);
                self.make_parents(object)?;
                new_temporary(object)
            }
            created => created,
        }
    }
}

fn new_temporary(object: &Path) -> io::Result<NamedTempFile> {
    let (Some(directory), Some(name)) = (object.parent(), object.file_name()) else {
        return Err(io::ErrorKind::InvalidFilename.into());
    };
    let mut prefix = name.to_owned();
    prefix.push(".");
    tempfile::Builder::new()
        .prefix(&prefix)
        .rand_bytes(RANDOM_CHARACTERS)
        .suffix(SUFFIX)
        // As for other files, the directories and the umask decide who may read it.
        .permissions(Permissions::from_mode(0o666))
        .tempfile_in(directory)
}

/// Compares the digest, because the spooled bytes have been on a disk since they were hashed.
fn write_checked(
    source: impl Read,
    sha256: Sha256Digest,
    file: &mut File,
    caller: &Caller,
) -> io::Result<()> {
    let mut hash = RunningSha256::default();
    transfer(source, caller, |piece| {
        hash.update(piece);
        file.write_all(piece)
    })?;
    let (_, found) = hash.finish();
    if found == sha256 {
        return Ok(());
    }
    Err(io::Error::other(format!("expected bytes with the SHA-256 {sha256}, found {found}")))
}

fn transfer(
    mut source: impl Read,
    caller: &Caller,
    mut sink: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    loop {
        caller.check_waits()?;
        match source.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(length) => sink(&piece[..length])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use bytes::Bytes;
    use tempfile::TempDir;

    use super::super::threads::Waiting;
    use super::*;

    const OBJECT: &str = "coredumps/abcd2345/1.dmp";

    struct TestDirectory {
        root: TempDir,
        directory: Directory,
        waiting: Waiting,
    }

    impl TestDirectory {
        fn new() -> Self {
            let root = tempfile::tempdir().unwrap();
            let directory = Directory::open(root.path()).unwrap();
            Self { root, directory, waiting: Waiting::default() }
        }

        fn object(&self) -> std::path::PathBuf {
            self.directory.root().join(OBJECT)
        }

        fn put(&self, bytes: &'static [u8]) -> io::Result<StoredArtifact> {
            let body = Bytes::from_static(bytes).into();
            self.directory.put(&self.object(), &body, &self.waiting.caller())
        }

        fn replace(&self, write: impl FnOnce(&mut File) -> io::Result<()>) -> io::Result<()> {
            let replaced = self.directory.replace(&self.object(), 3, &self.waiting.caller(), write);
            replaced.map(drop)
        }

        /// Names in the directory of the object.
        fn files(&self) -> Vec<String> {
            let entries = fs::read_dir(self.root.path().join("coredumps/abcd2345")).unwrap();
            let mut files: Vec<_> =
                entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
            files.sort();
            files
        }
    }

    #[test]
    fn leftovers_do_not_stop_a_write() {
        let test = TestDirectory::new();
        test.put(b"first").unwrap();
        for leftover in ["1.dmp#1", "1.dmp.a1B2c3D4e5.part"] {
            fs::write(test.object().with_file_name(leftover), "cut").unwrap();
        }
        test.put(b"second").unwrap();
        assert_eq!(test.files(), ["1.dmp", "1.dmp#1", "1.dmp.a1B2c3D4e5.part"]);
        assert_eq!(fs::read(test.object()).unwrap(), b"second");
    }

    #[test]
    fn a_directory_removed_meanwhile_is_created_again() {
        let test = TestDirectory::new();
        test.put(b"first").unwrap();
        fs::remove_dir_all(test.root.path().join("coredumps")).unwrap();
        test.put(b"second").unwrap();
        assert_eq!(test.files(), ["1.dmp"]);
    }

    #[test]
    fn a_write_that_cannot_be_renamed_leaves_nothing() {
        let test = TestDirectory::new();
        fs::create_dir_all(test.object()).unwrap();
        assert!(test.put(b"bytes").is_err());
        assert_eq!(test.files(), ["1.dmp"]);
    }

    #[test]
    fn a_failed_write_leaves_neither_object_nor_file() {
        let test = TestDirectory::new();
        let failed = test.replace(|_| Err(io::Error::other("spool broke")));
        assert_eq!(failed.unwrap_err().to_string(), "spool broke");
        let failed = test.replace(|file| file.write_all(b"ab"));
        assert_eq!(failed.unwrap_err().to_string(), "wrote 2 of 3 bytes");
        let (sha256, caller) = (Sha256Digest::of(b"something else"), test.waiting.caller());
        let failed = test.replace(|file| write_checked(&b"abc"[..], sha256, file, &caller));
        assert!(failed.unwrap_err().to_string().starts_with("expected bytes with the SHA-256"));
        assert!(test.files().is_empty());
    }

    #[test]
    fn nothing_is_replaced_when_the_caller_has_stopped_waiting() {
        let mut test = TestDirectory::new();
        test.put(b"first").unwrap();
        let caller = test.waiting.caller();
        test.waiting = Waiting::default();
        assert!(test.directory.put(&test.object(), &Bytes::new().into(), &caller).is_err());
        assert_eq!(test.files(), ["1.dmp"]);
        assert_eq!(fs::read(test.object()).unwrap(), b"first");
    }
}
