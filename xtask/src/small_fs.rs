//! The small file system on which tests fill a disk.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use coredock_testkit::program::{output, program};

/// Where the tests find it.
pub(crate) const VARIABLE: &str = "COREDOCK_TEST_SMALL_FS";

/// A larger one would take the tests too long to fill.
const LARGEST: u64 = 16 << 20;

/// A file system of a few MiB; gone when dropped, if it was made here.
pub(crate) enum SmallFs {
    /// Made by the caller of xtask, who removes it too.
    Given(PathBuf),
    /// A tmpfs mounted by this process.
    Mounted(TempDir),
}

impl SmallFs {
    /// The one `given`, else a new tmpfs.
    pub(crate) fn prepare(given: Option<OsString>) -> Result<Self> {
        let small = match given {
            Some(directory) => Self::Given(directory.into()),
            None => Self::mount()?,
        };
        let path = small.path();
        let facts = rustix::fs::statvfs(path)
            .with_context(|| format!("cannot look at {}", path.display()))?;
        let size = facts.f_blocks * facts.f_frsize;
        ensure!(size <= LARGEST, "{} has {size} bytes: more than {LARGEST}", path.display());
        println!("Small file system for disk-full tests: {} ({size} bytes)", path.display());
        Ok(small)
    }

    fn mount() -> Result<Self> {
        let directory = tempfile::Builder::new().prefix("coredock-small-fs-").tempdir()?;
        let owner = std::fs::metadata(directory.path())?;
        let options = {
            use std::os::unix::fs::MetadataExt;
            format!("size=8m,mode=0700,uid={},gid={}", owner.uid(), owner.gid())
        };
        let words = ["mount", "-t", "tmpfs", "-o", &options, "tmpfs"];
        as_root(&words, directory.path()).with_context(|| {
            format!(
                "cannot mount a small file system for the disk-full tests. Mount one \
                 (`sudo mount -t tmpfs -o {options} tmpfs DIRECTORY`) and run this again with \
                 {VARIABLE}=DIRECTORY"
            )
        })?;
        Ok(Self::Mounted(directory))
    }

    /// Its root directory.
    pub(crate) fn path(&self) -> &Path {
        match self {
            Self::Given(path) => path,
            Self::Mounted(directory) => directory.path(),
        }
    }
}

impl Drop for SmallFs {
    fn drop(&mut self) {
        if let Self::Mounted(directory) = self
            && let Err(error) = as_root(&["umount"], directory.path())
        {
            println!("{} stays mounted: {error:#}", directory.path().display());
        }
    }
}

/// Runs `words` on `directory` as root; a password is never asked for.
fn as_root(words: &[&str], directory: &Path) -> Result<()> {
    let sudo: &[&str] =
        if rustix::process::geteuid().is_root() { &[] } else { &["sudo", "--non-interactive"] };
    let words = [sudo, words].concat();
    let (name, arguments) = words.split_first().context("no command")?;
    output(program(name, arguments).arg(directory)).map(drop)
}
