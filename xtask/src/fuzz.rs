//! Fuzzing of all code which reads data from outside.
//!
//! libFuzzer needs only flags that the stable compiler has; `fuzz/` is built with them apart from
//! the workspace, with checks for overflow.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;

use coredock_testkit::program::{install_if_missing, program, root, run};

/// Flags of the compiler for the coverage which libFuzzer needs, and for checks.
const FLAGS: [&str; 8] = [
    "--cfg=fuzzing",
    "-Cpasses=sancov-module",
    "-Cllvm-args=-sanitizer-coverage-level=4",
    "-Cllvm-args=-sanitizer-coverage-inline-8bit-counters",
    "-Cllvm-args=-sanitizer-coverage-pc-table",
    "-Cllvm-args=-sanitizer-coverage-trace-compares",
    "-Coverflow-checks=on",
    "-Cdebug-assertions=on",
];
/// With an explicit target, the flags do not apply to build scripts.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Limits for one input: seconds, MiB of memory, and bytes of its length.
const LIMITS: [&str; 3] = ["-timeout=10", "-rss_limit_mb=1024", "-max_len=262144"];
/// Prefixes of targets for which dumps and ELFs are useful first inputs.
const DUMP_READERS: [&str; 3] = ["coredump_body", "symbolizer_dump", "symbolizer_elf"];

#[derive(Args)]
pub(crate) struct Fuzz {
    /// How long each target runs
    #[arg(long, default_value_t = 60)]
    seconds: u32,
    /// Only targets whose names contain this
    #[arg(long, value_name = "PART", default_value = "")]
    only: String,
}

impl Fuzz {
    /// Runs every target; a finding is an error.
    pub(crate) fn run(&self) -> Result<()> {
        install_if_missing("g++", "g++")?;
        let directory = root().join("fuzz");
        let mut build = program("cargo", &["build", "--locked", "--release", "--target", TARGET]);
        run(build.current_dir(&directory).env("RUSTFLAGS", FLAGS.join(" ")))?;
        let targets = targets(&directory)?;
        let chosen: Vec<_> = targets.iter().filter(|name| name.contains(&self.only)).collect();
        let all = targets.join(", ");
        ensure!(!chosen.is_empty(), "no target contains {:?}; targets are {all}", self.only);
        for name in chosen {
            self.fuzz(&directory, name)?;
        }
        Ok(())
    }

    /// Inputs with findings go to `fuzz/artifacts`, inputs which reach new code to `fuzz/corpus`.
    fn fuzz(&self, directory: &Path, name: &str) -> Result<()> {
        let binary = directory.join("target").join(TARGET).join("release").join(name);
        let (corpus, findings) = (directory.join("corpus").join(name), directory.join("artifacts"));
        for directory in [&corpus, &findings] {
            fs::create_dir_all(directory)
                .with_context(|| format!("cannot create {}", directory.display()))?;
        }
        let findings = format!("-artifact_prefix={}/{name}-", findings.display());
        let seconds = format!("-max_total_time={}", self.seconds);
        let mut fuzzer = program(&binary.display().to_string(), &LIMITS);
        fuzzer
            .args([&*findings, &*seconds, "-print_final_stats=1", "-print_funcs=0", "-verbosity=0"])
            .arg(&corpus);
        fuzzer.args(seeds(name));
        println!("{name}: {} s", self.seconds);
        run(&mut fuzzer).with_context(|| format!("target {name} has a finding: see fuzz/artifacts"))
    }
}

/// The names of the files below `fuzz_targets`.
fn targets(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory.join("fuzz_targets"))? {
        let path = entry?.path();
        names.extend(path.file_stem().and_then(|stem| stem.to_str()).map(str::to_owned));
    }
    names.sort();
    Ok(names)
}

/// The first inputs, besides those which earlier runs found.
fn seeds(target: &str) -> Vec<PathBuf> {
    let reads_dumps = DUMP_READERS.iter().any(|name| target.starts_with(name));
    let directory = |name| root().join("crates/testkit/fixtures").join(name);
    if reads_dumps { ["riscv", "xtensa"].map(directory).to_vec() } else { Vec::new() }
}
