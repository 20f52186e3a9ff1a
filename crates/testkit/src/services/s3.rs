//! Two S3 servers of different make: where they differ, the adapter must not rely on either.
//!
//! s3s-fs checks signatures and digests and keeps objects as files, but knows no lifecycle rules;
//! moto knows those, checks no digests and forgets everything when it ends.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

use super::free_port;
use crate::program::{apt_install, program, run};

const ACCESS_KEY: &str = "testaccesskey";
const SECRET_KEY: &str = "testsecretkey";

const MOTO_VERSION: &str = "5.2.5";
/// Starting Python on a busy machine takes a while.
const PATIENCE: Duration = Duration::from_mins(1);

/// A process that ends with its owner.
struct Server(Child);

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended on its own; then there is nothing left to do.
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// s3s-fs, hosted by this very program.
pub struct S3s {
    address: SocketAddr,
    root: TempDir,
    /// The build of this program that hosts it.
    xtask: PathBuf,
    server: Server,
}

impl S3s {
    pub fn start() -> Result<Self> {
        Self::start_as(&std::env::current_exe().context("cannot find this program")?)
    }

    /// Starts it as another build of this program.
    pub fn start_as(xtask: &Path) -> Result<Self> {
        let root = tempfile::Builder::new().prefix("coredock-s3s-").tempdir()?;
        let (server, address) = serve(xtask, root.path(), (Ipv4Addr::LOCALHOST, 0).into())?;
        println!("s3s-fs: {address}, files in {}", root.path().display());
        Ok(Self { address, root, xtask: xtask.to_owned(), server })
    }

    /// Its TCP port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// Its access key and the secret that goes with it.
    pub const fn credentials() -> (&'static str, &'static str) {
        (ACCESS_KEY, SECRET_KEY)
    }

    /// Where the objects of a bucket lie, as files under their keys.
    pub fn bucket(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    /// Kills it with SIGKILL.
    pub fn kill(&mut self) -> Result<()> {
        self.server.0.kill()?;
        self.server.0.wait()?;
        Ok(())
    }

    /// Starts it once more, on the same port and files.
    pub fn run(&mut self) -> Result<()> {
        self.server = serve(&self.xtask, self.root.path(), self.address)?.0;
        Ok(())
    }

    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let root = self.root.path().display().to_string();
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

    /// Makes a bucket, which is a directory.
    pub fn make_bucket(&self, bucket: &str) -> Result<()> {
        Ok(std::fs::create_dir(self.root.path().join(bucket))?)
    }
}

/// Starts s3s-fs, and returns when it listens.
fn serve(xtask: &Path, root: &Path, address: SocketAddr) -> Result<(Server, SocketAddr)> {
    let child = Command::new(xtask)
        .args(["s3-server", "--listen", &address.to_string()])
        .args(["--access-key", ACCESS_KEY, "--secret-key", SECRET_KEY, "--root"])
        .arg(root)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot start s3s-fs")?;
    let mut server = Server(child);
    let output = server.0.stdout.take().context("s3s-fs has no output")?;
    let mut line = String::new();
    BufReader::new(output).read_line(&mut line)?;
    let Some(address) = line.trim().strip_prefix("http://") else {
        bail!("s3s-fs did not start: {line}");
    };
    let address = address.parse()?;
    Ok((server, address))
}

/// moto, installed by pip into a directory of its own.
pub struct Moto {
    url: String,
    _server: Server,
}

impl Moto {
    pub fn start() -> Result<Self> {
        let moto = moto()?;
        let port = free_port()?;
        let child = Command::new(&moto)
            .args(["-H", "127.0.0.1", "-p", &port.to_string()])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            // It logs every request.
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot start {}", moto.display()))?;
        let mut server = Server(child);
        wait_for(&mut server, port)?;
        println!("moto {MOTO_VERSION}: 127.0.0.1:{port}");
        Ok(Self { url: with_credentials(&format!("127.0.0.1:{port}")), _server: server })
    }

    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![("COREDOCK_TEST_MOTO", self.url.clone())]
    }
}

fn with_credentials(address: &str) -> String {
    format!("http://{ACCESS_KEY}:{SECRET_KEY}@{address}")
}

/// Until it accepts connections.
fn wait_for(server: &mut Server, port: u16) -> Result<()> {
    let begun = Instant::now();
    while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
        if let Some(status) = server.0.try_wait()? {
            bail!("moto ended with {status} before it answered");
        }
        if begun.elapsed() > PATIENCE {
            bail!("moto does not answer on port {port}");
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(())
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
