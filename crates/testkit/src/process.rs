//! A child process with a clean environment, whose output goes to files.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process};

/// Between two checks of something that a process does.
const INTERVAL: Duration = Duration::from_millis(1);

/// A child process; killed and reaped when dropped.
#[derive(Debug)]
pub struct Process {
    child: Child,
    began: Instant,
    log: PathBuf,
}

/// `program` with nothing in its environment but `settings`.
pub fn command<N: AsRef<OsStr>, V: AsRef<OsStr>>(
    program: impl AsRef<OsStr>,
    settings: impl IntoIterator<Item = (N, V)>,
) -> Command {
    let mut command = Command::new(program);
    command.env_clear().envs(settings);
    command
}

impl Process {
    /// Starts it. Standard output goes to the file `log`, standard error to `log` with the further
    /// extension `err`.
    pub fn start(command: &mut Command, log: &Path) -> Result<Self> {
        let program = command.get_program().display().to_string();
        let file = |path: &Path| {
            File::create(path).with_context(|| format!("cannot create {}", path.display()))
        };
        command.stdin(Stdio::null()).stdout(file(log)?).stderr(file(&error_log(log))?);
        let began = Instant::now();
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        Ok(Self { child, began, log: log.to_owned() })
    }

    pub fn id(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Time since its start.
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    pub fn signal(&self, signal: Signal) -> Result<()> {
        Ok(kill_process(self.id(), signal)?)
    }

    /// Waits for its end. A process which runs longer than `limit` is an error.
    pub fn wait(&mut self, limit: Duration) -> Result<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            if began.elapsed() > limit {
                bail!("process {:?} still runs after {limit:?}", self.id());
            }
            sleep(INTERVAL);
        }
    }

    /// Waits until `find` finds something. The end of the process is an error, and so is more time
    /// than `limit` since its start.
    pub fn wait_for<T>(
        &mut self,
        limit: Duration,
        find: impl Fn(&Self) -> Result<Option<T>>,
    ) -> Result<T> {
        loop {
            if let Some(found) = find(self)? {
                return Ok(found);
            }
            if let Some(status) = self.ended()? {
                bail!("the process ended early with {status}: {}", self.last_lines());
            }
            if self.elapsed() > limit {
                bail!("the process is not ready after {limit:?}: {}", self.last_lines());
            }
            sleep(INTERVAL);
        }
    }

    /// Its standard output so far; the last line may be incomplete.
    pub fn output(&self) -> Result<String> {
        text(&self.log)
    }

    /// Its standard error so far; the last line may be incomplete.
    pub fn error_output(&self) -> Result<String> {
        text(&error_log(&self.log))
    }

    /// The last lines of its standard error and standard output, for messages.
    pub fn last_lines(&self) -> String {
        let [output, errors] = [self.output(), self.error_output()].map(Result::unwrap_or_default);
        let last = |text: &str| text.lines().rev().take(3).map(str::to_owned).collect::<Vec<_>>();
        [last(&errors), last(&output)].concat().join(" | ")
    }
}

/// The file of standard error.
fn error_log(log: &Path) -> PathBuf {
    log.with_added_extension("err")
}

fn text(path: &Path) -> Result<String> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

impl Drop for Process {
    fn drop(&mut self) {
        // Both fail when it has ended already, and then nothing is left to do.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}
