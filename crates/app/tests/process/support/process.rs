//! One process of the binary, in a clean environment.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::wait_until;

const BINARY: &str = env!("CARGO_BIN_EXE_coredock");

/// Settings of the environment.
pub(crate) type Settings<'a> = &'a [(&'a str, &'a str)];

/// A process that was started here; it is killed and reaped when dropped.
pub(crate) struct Process {
    child: Child,
    stdout: Lines,
    stderr: Lines,
}

/// How a process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// Exit status; `None` when a signal ended it.
    pub(crate) status: Option<i32>,
    /// Standard output.
    pub(crate) stdout: String,
    /// Standard error.
    pub(crate) stderr: String,
}

impl Ended {
    /// Fails unless this is the exit status.
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

/// What a process has written so far.
struct Lines {
    read: Arc<Mutex<Vec<String>>>,
    reader: Option<JoinHandle<()>>,
}

impl Lines {
    fn of(stream: impl Read + Send + 'static) -> Self {
        let read = Arc::new(Mutex::new(Vec::new()));
        let lines = Arc::clone(&read);
        let reader = std::thread::spawn(move || {
            for line in BufReader::new(stream).lines().map_while(Result::ok) {
                lines.lock().unwrap().push(line);
            }
        });
        Self { read, reader: Some(reader) }
    }

    fn so_far(&self) -> Vec<String> {
        self.read.lock().unwrap().clone()
    }

    /// Everything, once the process has ended.
    fn all(&mut self) -> String {
        if let Some(reader) = self.reader.take() {
            reader.join().unwrap();
        }
        self.so_far().join("\n")
    }
}

impl Process {
    /// Starts `coredock ARGUMENTS` in `directory` with nothing in its environment but `settings`.
    pub(crate) fn start(directory: &Path, arguments: &[&str], settings: Settings<'_>) -> Self {
        let mut command = Command::new(BINARY);
        command.args(arguments);
        Self::spawn(command, directory, settings)
    }

    /// Like [`Process::start`], with its calls that write, sync and rename noted in the file
    /// `trace` by `strace`, which runs beside it: this process is the server itself.
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

    /// Like [`Process::start`], with some calls on `path` tampered with by `strace`: `calls` are
    /// names with commas between, `tampering` is what `-e inject` calls so.
    pub(crate) fn start_tampered(
        directory: &Path,
        arguments: &[&str],
        path: &Path,
        (calls, tampering): (&str, &str),
    ) -> Self {
        let mut command = Command::new("strace");
        command.args(["-D", "-f", "-o", "/dev/null", "-P"]).arg(path);
        command.args(["-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:{tampering}")]);
        command.arg(BINARY).args(arguments);
        Self::spawn(command, directory, &[])
    }

    fn spawn(mut command: Command, directory: &Path, settings: Settings<'_>) -> Self {
        let path = std::env::var_os("PATH").unwrap_or_default();
        let program = command.get_program().to_owned();
        let mut child = command
            .current_dir(directory)
            .env_clear()
            .env("PATH", path)
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("{}: {error}", program.display()));
        let stdout = Lines::of(child.stdout.take().unwrap());
        let stderr = Lines::of(child.stderr.take().unwrap());
        Self { child, stdout, stderr }
    }

    /// Runs a command to its end.
    #[track_caller]
    pub(crate) fn run(directory: &Path, arguments: &[&str], settings: Settings<'_>) -> Ended {
        Self::start(directory, arguments, settings).wait()
    }

    /// Waits for its end.
    #[track_caller]
    pub(crate) fn wait(mut self) -> Ended {
        wait_until("the process ends", || self.has_ended().is_some());
        let status = self.has_ended().unwrap().code();
        Ended { status, stdout: self.stdout.all(), stderr: self.stderr.all() }
    }

    /// Its exit status, if it has ended.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// Sends it a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let id = Pid::from_child(&self.child);
        kill_process(id, signal).unwrap();
    }

    /// What its open files are called (see `proc_pid_fd(5)`).
    pub(crate) fn open_files(&self) -> Vec<String> {
        let directory = format!("/proc/{}/fd", self.child.id());
        let links = std::fs::read_dir(directory)
            .unwrap()
            .filter_map(|entry| entry.ok()?.path().read_link().ok());
        links.map(|link| link.to_string_lossy().into_owned()).collect()
    }

    /// The lines of its log so far; fails on a line that is no JSON object.
    #[track_caller]
    pub(crate) fn log(&self) -> Vec<Value> {
        self.stdout.so_far().iter().map(|line| log_line(line)).collect()
    }

    /// What it has written to standard error so far.
    pub(crate) fn complaints(&self) -> String {
        self.stderr.so_far().join("\n")
    }
}

/// One line of a log.
#[track_caller]
pub(crate) fn log_line(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("no JSON ({error}): {line}"))
}

impl Drop for Process {
    #[expect(clippy::print_stderr, reason = "shown with a test that failed")]
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}\n{}", self.stdout.so_far().join("\n"), self.complaints());
        }
        // Both fail when it has ended already, and then there is nothing to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
