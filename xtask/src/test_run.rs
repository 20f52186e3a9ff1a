//! All tests, with the servers and the file system which they need.

use std::fmt;
use std::io::{BufRead, BufReader};
use std::process::Stdio;

use anyhow::{Context, Result, bail, ensure};
use coredock_drill::{Backends, Kill};
use coredock_testkit::PRODUCTION_BACKENDS;
use tokio::signal::unix::{SignalKind, signal};

use crate::small_fs::{self, SmallFs};
use coredock_testkit::program::{apt_install, program, root, shown};
use coredock_testkit::services::Services;

/// How often the drill after the tests kills the server.
const TRIALS: usize = 5;

/// Numbers of tests by result.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    passed: u64,
    failed: u64,
    skipped: u64,
}

impl fmt::Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed, {} skipped", self.passed, self.failed, self.skipped)
    }
}

impl Tally {
    /// Adds the numbers of a line `test result` of `cargo test`; other lines are ignored.
    fn add(&mut self, line: &str) {
        let Some(counts) = line.strip_prefix("test result: ") else { return };
        let counts = counts.split_once(". ").map_or("", |(_, counts)| counts);
        for count in counts.split("; ") {
            match count.split_once(' ').map(|(number, what)| (number.parse::<u64>(), what)) {
                Some((Ok(number), "passed")) => self.passed += number,
                Some((Ok(number), "failed")) => self.failed += number,
                Some((Ok(number), "ignored")) => self.skipped += number,
                _ => {}
            }
        }
    }
}

/// The servers and the file system for the tests.
struct Environment {
    small_fs: SmallFs,
    services: Services,
}

/// Runs `cargo test` on the whole workspace, documentation tests included, with `extra` arguments.
/// Without `extra` arguments, tests which support both kinds of backends run again on PostgreSQL
/// and S3, and a short drill follows.
pub(crate) fn run(extra: &[String]) -> Result<Tally> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let _entered = runtime.enter();
    // Ctrl-C ends the tests, which share the terminal; this process continues and cleans up.
    let _interrupts = signal(SignalKind::interrupt())?;
    // A test checks by the system calls of the server which files are synced when it answers.
    if program("strace", &["--version"]).output().is_err() {
        apt_install("strace")?;
    }
    let small_fs = SmallFs::prepare(given_small_fs())?;
    let environment = Environment { small_fs, services: Services::start()? };
    let mut tally = Tally::default();
    if !extra.is_empty() {
        environment.cargo_test(&with_packages(extra), &mut tally)?;
        return Ok(tally);
    }
    environment.cargo_test(&["--workspace"], &mut tally)?;
    println!("\nAgain on PostgreSQL and S3:");
    let packages = ["-p", "coredock-repository", "-p", "coredock", "--test", "it"];
    environment.cargo_test_with(&packages, &[(PRODUCTION_BACKENDS, "1")], &mut tally)?;
    drill()?;
    Ok(tally)
}

/// The arguments, with all packages unless they choose packages.
fn with_packages(extra: &[String]) -> Vec<&str> {
    let chooses_packages = extra
        .iter()
        .take_while(|word| *word != "--")
        .any(|word| word.starts_with("-p") || word.starts_with("--package"));
    let packages: &[&str] = if chooses_packages { &[] } else { &["--workspace"] };
    packages.iter().copied().chain(extra.iter().map(String::as_str)).collect()
}

/// Kills the binary which the tests have built.
fn drill() -> Result<()> {
    println!();
    let binary = root().join("target/debug/coredock");
    for backends in [Backends::Embedded, Backends::Production] {
        Kill {
            trials: TRIALS,
            seed: None,
            binary: Some(binary.clone()),
            release: false,
            backends,
            replicas: None,
            keep: false,
        }
        .run()?;
    }
    Ok(())
}

fn given_small_fs() -> Option<std::ffi::OsString> {
    std::env::var_os(small_fs::VARIABLE).filter(|given| !given.is_empty())
}

impl Environment {
    fn cargo_test(&self, arguments: &[&str], tally: &mut Tally) -> Result<()> {
        self.cargo_test_with(arguments, &[], tally)
    }

    fn cargo_test_with(
        &self,
        arguments: &[&str],
        environment: &[(&str, &str)],
        tally: &mut Tally,
    ) -> Result<()> {
        let mut cargo = program("cargo", &["test", "--locked", "--no-fail-fast"]);
        cargo.args(arguments).env(small_fs::VARIABLE, self.small_fs.path());
        cargo.envs(self.services.environment()).envs(environment.iter().copied());
        // A snapshot that differs is a failure and is not written.
        cargo.env("INSTA_UPDATE", "no").env("CI", "true");
        println!("$ {}", shown(&cargo));
        let mut child = cargo.stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
        let before = tally.passed;
        if let Some(output) = child.stdout.take() {
            for line in BufReader::new(output).lines() {
                let line = line?;
                println!("{line}");
                tally.add(&line);
            }
        }
        let status = child.wait()?;
        if !status.success() {
            bail!("`{}` ended with {status}: {tally}", shown(&cargo));
        }
        ensure!(tally.passed > before, "no test ran");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn result_lines_are_added_up() {
        let mut tally = Tally::default();
        tally.add("test result: ok. 12 passed; 0 failed; 1 ignored; 0 measured; 3 filtered out; finished in 0.00s");
        tally.add("test result: FAILED. 2 passed; 3 failed; 0 ignored; 0 measured; 0 filtered out");
        tally.add("test a_result ... ok");
        assert_eq!(tally, Tally { passed: 14, failed: 3, skipped: 1 });
        assert_eq!(tally.to_string(), "14 passed, 3 failed, 1 skipped");
    }
}
