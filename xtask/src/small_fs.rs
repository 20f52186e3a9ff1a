//! The small file system which tests of a full disk fill.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use coredock_testkit::program::{output, program};

/// The variable by which the tests find it.
pub(crate) const VARIABLE: &str = "COREDOCK_TEST_SMALL_FS";

/// Tests take too long to fill a larger file system.
const MAX_BYTES: u64 = 16 << 20;

/// A file system of a few MiB. A mounted one is unmounted when dropped.
pub(crate) enum SmallFs {
    /// A directory of the caller of xtask, who also removes it.
    Given(PathBuf),
    /// A tmpfs mounted by this process.
    Mounted(TempDir),
}

impl SmallFs {
    /// The directory `given`, or a new tmpfs.
    pub(crate) fn prepare(given: Option<OsString>) -> Result<Self> {
        let small = match given {
            Some(directory) => Self::Given(directory.into()),
            None => Self::mount()?,
        };
        let path = small.path();
        let stat = rustix::fs::statvfs(path)
            .with_context(|| format!("cannot read the size of {}", path.display()))?;
        let (size, shown) = (stat.f_blocks * stat.f_frsize, path.display());
        ensure!(size <= MAX_BYTES, "{shown}: expected at most {MAX_BYTES} bytes, found {size}");
        println!("Small file system for disk-full tests: {shown} ({size} bytes)");
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
            println!("cannot unmount {}: {error:#}", directory.path().display());
        }
    }
}

/// Runs the command `words` with `directory` as root, without asking for a password.
fn as_root(words: &[&str], directory: &Path) -> Result<()> {
    let sudo: &[&str] =
        if rustix::process::geteuid().is_root() { &[] } else { &["sudo", "--non-interactive"] };
    let words = [sudo, words].concat();
    let (name, arguments) = words.split_first().context("no command")?;
    output(program(name, arguments).arg(directory)).map(drop)
}
