//! What each run of `rustc` takes in a build, recorded by a wrapper that cargo starts in its place.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::usage::Usage;

/// Runs `rustc` for cargo, and records what it took.
#[derive(Args)]
pub struct RecordRustc {
    /// The file which receives a line for each crate
    #[arg(long)]
    records: PathBuf,
    /// The compiler with its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// What the runs of `rustc` for one crate took together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crate {
    /// The package; behind it the crate in parentheses if it is not the library of the package.
    pub(super) name: String,
    pub(super) processor: Duration,
    pub(super) elapsed: Duration,
    /// Of the run with the largest one.
    pub(super) peak_kib: u64,
}

impl RecordRustc {
    /// A failure of `rustc` is an error. Runs that only ask the compiler something leave no record.
    pub fn run(self) -> Result<()> {
        let (rustc, arguments) = self.command.split_first().context("no compiler")?;
        let began = Instant::now();
        let status = Command::new(rustc).args(arguments).status();
        let status = status.with_context(|| format!("cannot start {}", rustc.display()))?;
        let package = std::env::var_os("CARGO_PKG_NAME");
        let package = package.as_deref().and_then(OsStr::to_str).unwrap_or("-");
        if let Some(name) = name(package, arguments) {
            let Usage { processor, peak_kib } = Usage::of_children()?;
            let record = Crate { name, processor, elapsed: began.elapsed(), peak_kib }.record();
            // One write to the end of the file: several compilers record at the same time.
            let mut records = OpenOptions::new().create(true).append(true).open(self.records)?;
            records.write_all(record.as_bytes())?;
        }
        ensure!(status.success(), "rustc ended with {status}");
        Ok(())
    }
}

/// The name of the crate of `package` that is compiled, if one is.
fn name(package: &str, arguments: &[OsString]) -> Option<String> {
    let value = |option: &str| {
        let mut values = arguments.iter().skip_while(|argument| *argument != option).skip(1);
        values.next().and_then(|value| value.to_str())
    };
    let name = value("--crate-name")?;
    let is_program = value("--crate-type") == Some("bin");
    Some(match (package.replace('-', "_") == name, is_program) {
        (true, true) => format!("{package} (program)"),
        (true, false) => package.to_owned(),
        (false, _) => format!("{package} ({name})"),
    })
}

/// Reads what [`RecordRustc`] wrote; records of the same name become one.
pub(super) fn crates_of(records: &str) -> Result<Vec<Crate>> {
    let mut crates: BTreeMap<String, Crate> = BTreeMap::new();
    for record in records.lines() {
        let one = Crate::read(record).with_context(|| format!("a record: {record}"))?;
        match crates.get_mut(&one.name) {
            Some(sum) => sum.add(&one),
            None => drop(crates.insert(one.name.clone(), one)),
        }
    }
    Ok(crates.into_values().collect())
}

impl Crate {
    pub(super) fn peak_mib(&self) -> f64 {
        f64::from(u32::try_from(self.peak_kib).unwrap_or(u32::MAX)) / 1024.0
    }

    /// The crates of several builds: means of times, the largest memory.
    pub(super) fn of_several<'a>(crates: impl Iterator<Item = &'a Self>) -> Vec<Self> {
        let mut sums: BTreeMap<&str, (Self, u32)> = BTreeMap::new();
        for one in crates {
            match sums.get_mut(&*one.name) {
                Some((sum, count)) => {
                    sum.add(one);
                    *count += 1;
                }
                None => drop(sums.insert(&one.name, (one.clone(), 1))),
            }
        }
        let mean = |(sum, count): (Self, u32)| Self {
            processor: sum.processor / count,
            elapsed: sum.elapsed / count,
            ..sum
        };
        sums.into_values().map(mean).collect()
    }

    fn add(&mut self, other: &Self) {
        self.processor += other.processor;
        self.elapsed += other.elapsed;
        self.peak_kib = self.peak_kib.max(other.peak_kib);
    }

    fn record(&self) -> String {
        let (processor, elapsed) = (self.processor.as_micros(), self.elapsed.as_micros());
        format!("{processor} {elapsed} {} {}\n", self.peak_kib, self.name)
    }

    fn read(record: &str) -> Result<Self> {
        let mut words = record.splitn(4, ' ');
        let mut word = || words.next().context("a record lacks columns");
        Ok(Self {
            processor: Duration::from_micros(word()?.parse()?),
            elapsed: Duration::from_micros(word()?.parse()?),
            peak_kib: word()?.parse()?,
            name: word()?.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(name: &str, seconds: u64, peak_kib: u64) -> Crate {
        let processor = Duration::from_secs(seconds);
        Crate { name: name.to_owned(), processor, elapsed: processor * 2, peak_kib }
    }

    #[test]
    fn records_of_a_crate_add_up() {
        let records = [one("a (build_script_build)", 1, 7), one("b", 1, 5), one("b", 3, 4)];
        let records: String = records.iter().map(Crate::record).collect();
        let expected = [one("a (build_script_build)", 1, 7), one("b", 4, 5)];
        assert_eq!(crates_of(&records).unwrap(), expected);
        assert!(crates_of("1 2 3").is_err());
    }

    #[test]
    fn several_builds_give_means_and_the_largest_memory() {
        let builds = [one("a", 1, 7), one("b", 2, 1), one("a", 3, 6)];
        assert_eq!(Crate::of_several(builds.iter()), [one("a", 2, 7), one("b", 2, 1)]);
    }

    #[test]
    fn a_crate_is_named_after_its_package() {
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let called = |package, crate_name, kind| {
            let compile = ["--crate-name", crate_name, "src/a.rs", "--crate-type", kind];
            name(package, &words(&compile)).unwrap()
        };
        assert_eq!(name("a", &words(&["-vV"])), None);
        assert_eq!(called("rust-s3", "s3", "lib"), "rust-s3 (s3)");
        assert_eq!(called("actix-web", "actix_web", "lib"), "actix-web");
        assert_eq!(called("coredock", "coredock", "bin"), "coredock (program)");
        assert_eq!(called("a", "build_script_build", "bin"), "a (build_script_build)");
    }
}
