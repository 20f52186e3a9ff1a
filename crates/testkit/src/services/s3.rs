//! Two S3 servers of different make: where they differ, the adapter must not rely on either.
//!
//! s3s-fs checks signatures and digests and keeps objects as files, but knows no lifecycle rules;
//! moto knows those, checks no digests and forgets everything when it ends.

use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use rustix::process::Signal;
use tempfile::TempDir;

use super::free_port;
use crate::process::Process;
use crate::program::{apt_install, program, run};

const ACCESS_KEY: &str = "testaccesskey";
const SECRET_KEY: &str = "testsecretkey";

const MOTO_VERSION: &str = "5.2.5";
/// Python takes a while to start on a busy machine.
const START_TIMEOUT: Duration = Duration::from_mins(1);
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// s3s-fs, hosted by a build of xtask.
pub struct S3s {
    address: SocketAddr,
    process: Process,
    xtask: PathBuf,
    directory: TempDir,
}

impl S3s {
    /// Starts it as this very program, which is xtask.
    pub fn start() -> Result<Self> {
        Self::start_as(&std::env::current_exe().context("cannot find this program")?)
    }

    /// Starts it as another build of xtask.
    pub fn start_as(xtask: &Path) -> Result<Self> {
        let directory = temporary_directory("coredock-s3s-")?;
        std::fs::create_dir(buckets(directory.path()))?;
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let (process, address) = serve(xtask, directory.path(), any_port)?;
        println!("s3s-fs: {address}, files in {}", directory.path().display());
        Ok(Self { address, process, xtask: xtask.to_owned(), directory })
    }

    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its access key and the secret that goes with it.
    pub const fn credentials() -> (&'static str, &'static str) {
        (ACCESS_KEY, SECRET_KEY)
    }

    /// The directory of a bucket; its objects are files under their keys.
    pub fn bucket(&self, name: &str) -> PathBuf {
        buckets(self.directory.path()).join(name)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.process.signal(Signal::KILL)?;
        self.process.wait(STOP_TIMEOUT)?;
        Ok(())
    }

    /// Starts it once more, on the same port and files.
    pub fn run(&mut self) -> Result<()> {
        self.process = serve(&self.xtask, self.directory.path(), self.address)?.0;
        Ok(())
    }

    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let root = buckets(self.directory.path()).display().to_string();
        let url = with_credentials(&self.address.to_string());
        vec![("COREDOCK_TEST_S3S", url), ("COREDOCK_TEST_S3S_ROOT", root)]
    }

    /// What a client needs to use a bucket of it, under the names of the server's settings.
    pub fn settings(&self, bucket: &str) -> Vec<(&'static str, String)> {
        vec![
            ("S3_ENDPOINT_URL", format!("http://{}", self.address)),
            ("S3_ACCESS_KEY_ID", ACCESS_KEY.to_owned()),
            ("S3_SECRET_ACCESS_KEY", SECRET_KEY.to_owned()),
            ("S3_BUCKET_NAME", bucket.to_owned()),
        ]
    }

    /// Creates a bucket, which is a directory.
    pub fn make_bucket(&self, bucket: &str) -> Result<()> {
        Ok(std::fs::create_dir(self.bucket(bucket))?)
    }
}

fn temporary_directory(prefix: &str) -> Result<TempDir> {
    Ok(tempfile::Builder::new().prefix(prefix).tempdir()?)
}

fn buckets(directory: &Path) -> PathBuf {
    directory.join("buckets")
}

/// Starts s3s-fs, and returns its address once it listens there. The first line that it prints has it.
fn serve(xtask: &Path, directory: &Path, listen: SocketAddr) -> Result<(Process, SocketAddr)> {
    let mut command = Command::new(xtask);
    command
        .args(["s3-server", "--listen", &listen.to_string()])
        .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, "--root"])
        .arg(buckets(directory));
    let mut process = Process::start(&mut command, &directory.join("log"))?;
    let address = process.wait_for(START_TIMEOUT, |process| {
        let output = process.output()?;
        let line = output.split_once('\n').map(|(line, _)| line.trim_start_matches("http://"));
        Ok(line.map(str::parse).transpose()?)
    })?;
    Ok((process, address))
}

/// moto, installed by pip into a directory of its own.
pub struct Moto {
    url: String,
    _process: Process,
    _log: TempDir,
}

impl Moto {
    pub fn start() -> Result<Self> {
        let port = free_port()?;
        let mut command = Command::new(moto()?);
        command.args(["-H", "127.0.0.1", "-p", &port.to_string()]);
        let log = temporary_directory("coredock-moto-")?;
        let mut process = Process::start(&mut command, &log.path().join("log"))?;
        process.wait_for(START_TIMEOUT, |_| {
            Ok(TcpStream::connect((Ipv4Addr::LOCALHOST, port)).ok().map(drop))
        })?;
        println!("moto {MOTO_VERSION}: 127.0.0.1:{port}");
        let url = with_credentials(&format!("127.0.0.1:{port}"));
        Ok(Self { url, _process: process, _log: log })
    }

    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("COREDOCK_TEST_MOTO", self.url.clone())]
    }
}

fn with_credentials(address: &str) -> String {
    format!("http://{ACCESS_KEY}:{SECRET_KEY}@{address}")
}

/// The program `moto_server`; installed when it is not there yet.
fn moto() -> Result<PathBuf> {
    let directory = tools()?.join(format!("moto-{MOTO_VERSION}"));
    let server = directory.join("bin/moto_server");
    // Written last, so that an interrupted installation is not taken for a whole one.
    let complete = directory.join("complete");
    if !complete.exists() {
        println!("moto is missing: installing version {MOTO_VERSION} into {}", directory.display());
        install(&directory).context("cannot install moto, which the tests of S3 need")?;
        std::fs::write(&complete, "")?;
    }
    Ok(server)
}

fn install(directory: &Path) -> Result<()> {
    if program("python3", &["-c", "import ensurepip, venv"])
        .output()
        .is_ok_and(|out| !out.status.success())
        || program("python3", &["--version"]).output().is_err()
    {
        apt_install("python3-venv")?;
    }
    run(program("python3", &["-m", "venv", "--clear"]).arg(directory))?;
    let package = format!("moto[server]=={MOTO_VERSION}");
    let pip = directory.join("bin/pip").display().to_string();
    run(&mut program(&pip, &["install", "--quiet", "--disable-pip-version-check", &package]))
}

/// Where tools are kept between runs, outside of the repository.
fn tools() -> Result<PathBuf> {
    let given = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = given("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| given("HOME").map(|home| PathBuf::from(home).join(".cache")))
        .context("neither XDG_CACHE_HOME nor HOME is set")?;
    Ok(cache.join("coredock-tools"))
}
