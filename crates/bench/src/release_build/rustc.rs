//! Time and memory of each run of `rustc` in a build, recorded by a wrapper which cargo starts
//! instead of it.

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

#[derive(Args)]
pub struct RecordRustc {
    /// The file which receives a line for each crate
    #[arg(long)]
    records: PathBuf,
    /// The compiler with its arguments
    #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    command: Vec<OsString>,
}

/// The sums over all runs of `rustc` for one crate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Crate {
    /// The package, followed by the crate in parentheses if it is not the library of the package.
    pub(super) name: String,
    pub(super) processor: Duration,
    pub(super) elapsed: Duration,
    /// The largest resident size of a single run.
    pub(super) peak_kib: u64,
}

impl RecordRustc {
    /// Runs `rustc`, whose failure is an error, and records its time and memory. Runs which only
    /// query the compiler leave no record.
    pub fn run(self) -> Result<()> {
        let (rustc, arguments) =
            self.command.split_first().context("expected the compiler as the first argument")?;
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

/// The name of the crate of `package` which is compiled, if the arguments are those of a
/// compilation.
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

/// Reads the records of [`RecordRustc`] and adds those of the same name.
pub(super) fn crates_of(records: &str) -> Result<Vec<Crate>> {
    let mut crates: BTreeMap<String, Crate> = BTreeMap::new();
    for record in records.lines() {
        let krate = Crate::read(record).with_context(|| format!("cannot read {record}"))?;
        match crates.get_mut(&krate.name) {
            Some(sum) => sum.add(&krate),
            None => drop(crates.insert(krate.name.clone(), krate)),
        }
    }
    Ok(crates.into_values().collect())
}

impl Crate {
    pub(super) fn peak_mib(&self) -> f64 {
        f64::from(u32::try_from(self.peak_kib).unwrap_or(u32::MAX)) / 1024.0
    }

    /// The crates of several builds, with the means of their times and their largest memory.
    pub(super) fn of_several<'a>(crates: impl Iterator<Item = &'a Self>) -> Vec<Self> {
        let mut sums: BTreeMap<&str, (Self, u32)> = BTreeMap::new();
        for krate in crates {
            match sums.get_mut(&*krate.name) {
                Some((sum, count)) => {
                    sum.add(krate);
                    *count += 1;
                }
                None => drop(sums.insert(&krate.name, (krate.clone(), 1))),
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
        let mut word = || words.next().context("expected four columns");
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

    fn krate(name: &str, seconds: u64, peak_kib: u64) -> Crate {
        let processor = Duration::from_secs(seconds);
        Crate { name: name.to_owned(), processor, elapsed: processor * 2, peak_kib }
    }

    #[test]
    fn records_of_a_crate_add_up() {
        let records = [krate("a (build_script_build)", 1, 7), krate("b", 1, 5), krate("b", 3, 4)];
        let records: String = records.iter().map(Crate::record).collect();
        let expected = [krate("a (build_script_build)", 1, 7), krate("b", 4, 5)];
        assert_eq!(crates_of(&records).unwrap(), expected);
        assert!(crates_of("1 2 3").is_err());
    }

    #[test]
    fn several_builds_give_means_and_the_largest_memory() {
        let builds = [krate("a", 1, 7), krate("b", 2, 1), krate("a", 3, 6)];
        assert_eq!(Crate::of_several(builds.iter()), [krate("a", 2, 7), krate("b", 2, 1)]);
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
