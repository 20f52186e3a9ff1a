//! One process of the binary, in a clean environment.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use coredock_testkit::process;
use coredock_testkit::server::address_of;
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::PATIENCE;

const BINARY: &str = env!("CARGO_BIN_EXE_coredock");

/// Settings of the environment.
pub(crate) type Settings<'a> = &'a [(&'a str, &'a str)];

/// A process that was started here; it is killed and reaped when dropped.
pub(crate) struct Process {
    process: process::Process,
    _logs: TempDir,
}

/// The end of a process.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit status; `None` when a signal ended it.
    pub(crate) status: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    #[track_caller]
    pub(crate) fn expect(self, status: i32) -> Self {
        assert_eq!(self.status, Some(status), "{self:?}");
        self
    }

    /// Fails unless it ended as misuse and standard error has this text.
    #[track_caller]
    pub(crate) fn expect_misuse(self, text: &str) -> Self {
        let ended = self.expect(2);
        assert!(ended.stderr.contains(text), "{text} is not in {ended:?}");
        ended
    }
}

impl Process {
    /// Starts `coredock ARGUMENTS` in `directory` with nothing in its environment but `settings`.
    pub(crate) fn start(directory: &Path, arguments: &[&str], settings: Settings<'_>) -> Self {
        let mut command = Command::new(BINARY);
        command.args(arguments);
        Self::spawn(command, directory, settings)
    }

    /// Like [`Process::start`], while `strace` records the calls that write, sync and rename in the
    /// file `trace`. `strace` runs beside the server, so this process is the server itself.
    pub(crate) fn start_traced(
        directory: &Path,
        arguments: &[&str],
        settings: Settings<'_>,
        trace: &Path,
    ) -> Self {
        let calls =
            "trace=rename,renameat,renameat2,mkdir,fsync,fdatasync,write,writev,sendto,sendmsg";
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-yy", "-s", "64", "-e", calls, "-o"]).arg(trace);
        command.arg(BINARY).args(arguments);
        Self::spawn(command, directory, settings)
    }

    /// Like [`Process::start`], while `strace` tampers with calls on `path`. `calls` are names
    /// separated by commas; `tampering` has the form of `strace -e inject`.
    pub(crate) fn start_tampered(
        directory: &Path,
        arguments: &[&str],
        path: &Path,
        calls: &str,
        tampering: &str,
    ) -> Self {
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-o", "/dev/null", "-P"]).arg(path);
        command.args(["-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:{tampering}")]);
        command.arg(BINARY).args(arguments);
        Self::spawn(command, directory, &[])
    }

    fn spawn(mut command: Command, directory: &Path, settings: Settings<'_>) -> Self {
        let logs = tempfile::tempdir().unwrap();
        let path = std::env::var_os("PATH").unwrap_or_default();
        command.env_clear().env("PATH", path).envs(settings.iter().copied());
        command.current_dir(directory);
        let process = process::Process::start(&mut command, &logs.path().join("stdout")).unwrap();
        Self { process, _logs: logs }
    }

    #[track_caller]
    pub(crate) fn run(directory: &Path, arguments: &[&str], settings: Settings<'_>) -> Ended {
        Self::start(directory, arguments, settings).wait()
    }

    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        let status = self.process.wait(PATIENCE).unwrap().code();
        let (stdout, stderr) = (self.process.output().unwrap(), self.error_output());
        Ended { status, stdout: stdout.trim_end().to_owned(), stderr }
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        self.process.ended().unwrap().is_some()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        self.process.signal(signal).unwrap();
    }

    /// Names of its open files (see `proc_pid_fd(5)`).
    pub(crate) fn open_files(&self) -> Vec<String> {
        let directory = format!("/proc/{}/fd", self.process.id());
        let links = std::fs::read_dir(directory)
            .unwrap()
            .filter_map(|entry| entry.ok()?.path().read_link().ok());
        links.map(|link| link.to_string_lossy().into_owned()).collect()
    }

    /// The lines of its log so far; fails on a line that is not a JSON object.
    #[track_caller]
    pub(crate) fn log(&self) -> Vec<Value> {
        let output = self.process.output().unwrap();
        // The last line may be incomplete.
        let whole = output.rsplit_once('\n').map_or("", |(whole, _)| whole);
        whole.lines().map(log_line).collect()
    }

    /// The address on which it listens, once it does.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        address_of(&self.process).unwrap()
    }

    /// What it has written to standard error so far.
    pub(crate) fn error_output(&self) -> String {
        self.process.error_output().unwrap().trim_end().to_owned()
    }
}

/// One line of a log.
#[track_caller]
pub(crate) fn log_line(line: &str) -> Value {
    serde_json::from_str(line)
        .unwrap_or_else(|error| panic!("expected JSON, found {line}: {error}"))
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "shown with a test that failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.process.output().unwrap_or_default(), self.error_output());
        }
    }
}
