//! A first release build: its processor time, and the time and memory of each crate.

mod rustc;

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use clap::Args;
use coredock_testkit::program::{output, program, root, run, silently};
use tempfile::TempDir;

use crate::machine;
use crate::report::{self, Figure};
use crate::usage::Usage;
pub use rustc::RecordRustc;
use rustc::{Crate, crates_of};

/// Crates in each list.
const LISTED: usize = 10;

#[derive(Args)]
pub struct ReleaseBuild {
    /// Builds this revision too, from a temporary clone, alternately with the working tree
    #[arg(long)]
    commit: Option<String>,
    /// How often each revision is built
    #[arg(long, default_value_t = 1)]
    runs: usize,
    /// The package to build, with all its dependencies
    #[arg(long, default_value = "coredock")]
    package: String,
}

/// A checkout and its builds.
struct Source {
    name: String,
    directory: PathBuf,
    builds: Vec<Build>,
}

/// A build into an empty directory.
struct Build {
    elapsed: Duration,
    /// Of cargo and of all processes which it started.
    processor: Duration,
    crates: Vec<Crate>,
}

impl ReleaseBuild {
    pub(crate) fn run(&self) -> Result<()> {
        ensure!(self.runs > 0, "expected at least one run, found --runs 0");
        let target = root().join("target");
        fs::create_dir_all(&target)?;
        let scratch = TempDir::with_prefix_in("build-", target)?;
        let mut sources = self.sources(scratch.path())?;
        for source in &sources {
            // Downloads are not measured.
            silently(program("cargo", &["fetch", "--locked"]).current_dir(&source.directory))?;
        }
        println!("\nBefore: {}", machine::state()?);
        for number in 1..=self.runs {
            for source in &mut sources {
                println!("Build {number} of {}: {}", self.runs, source.name);
                let build = Build::measure(&source.directory, &self.package, scratch.path())?;
                println!("  {:.0} s, {:.0} s of processor time", build.seconds(), build.spent());
                source.builds.push(build);
            }
        }
        println!("After: {}", machine::state()?);
        sources.iter().for_each(Source::print);
        if let [tree, commit] = &sources[..] {
            let ratio =
                report::quantile(&tree.spent(), 50).zip(report::quantile(&commit.spent(), 50));
            if let Some((tree, commit)) = ratio {
                println!("\nProcessor time, ratio of the medians: {:.3}", tree / commit);
            }
        }
        Ok(())
    }

    fn sources(&self, scratch: &Path) -> Result<Vec<Source>> {
        let source = |name, directory| Source { name, directory, builds: Vec::new() };
        let mut sources = vec![source("working tree".to_owned(), root().to_owned())];
        if let Some(commit) = &self.commit {
            let directory = scratch.join("clone");
            sources.push(source(format!("commit {commit}"), directory.clone()));
            clone(commit, &directory)?;
        }
        Ok(sources)
    }
}

/// A clone with `commit` checked out. It shares the objects of this repository.
fn clone(commit: &str, directory: &Path) -> Result<()> {
    let commit = format!("{commit}^{{commit}}");
    let commit = output(&mut program("git", &["rev-parse", "--verify", &commit]))?;
    let clone = ["clone", "--quiet", "--shared", "--no-checkout"];
    run(program("git", &clone).arg(root()).arg(directory))?;
    let checkout = ["checkout", "--quiet", "--detach", commit.trim()];
    silently(program("git", &checkout).current_dir(directory))
}

impl Build {
    fn measure(source: &Path, package: &str, scratch: &Path) -> Result<Self> {
        let directory = TempDir::new_in(scratch)?;
        let records = directory.path().join("records");
        let wrapper = directory.path().join("rustc-wrapper");
        let this = std::env::current_exe()?;
        // Cargo cannot pass further arguments to the wrapper: the script adds them.
        let script = format!(
            "#!/bin/sh\nexec '{}' record-rustc --records '{}' -- \"$@\"\n",
            this.display(),
            records.display()
        );
        fs::write(&wrapper, script)?;
        fs::set_permissions(&wrapper, Permissions::from_mode(0o755))?;
        let build = ["build", "--release", "--locked", "--quiet", "--package", package];
        let mut cargo = program("cargo", &build);
        cargo.arg("--target-dir").arg(directory.path().join("target"));
        cargo.current_dir(source).env("RUSTC_WRAPPER", wrapper);
        let (before, began) = (Usage::of_children()?, Instant::now());
        silently(&mut cargo)?;
        let elapsed = began.elapsed();
        let processor = Usage::of_children()?.processor.saturating_sub(before.processor);
        Ok(Self { elapsed, processor, crates: crates_of(&fs::read_to_string(records)?)? })
    }

    fn seconds(&self) -> f64 {
        self.elapsed.as_secs_f64()
    }

    fn spent(&self) -> f64 {
        self.processor.as_secs_f64()
    }

    /// Seconds of build scripts, of the C compilers which they start, and of cargo.
    fn spent_outside_rustc(&self) -> f64 {
        let rustc: Duration = self.crates.iter().map(|krate| krate.processor).sum();
        self.processor.saturating_sub(rustc).as_secs_f64()
    }

    fn peak_mib(&self) -> f64 {
        self.crates.iter().map(Crate::peak_mib).fold(0.0, f64::max)
    }
}

impl Source {
    fn spent(&self) -> Vec<f64> {
        self.builds.iter().map(Build::spent).collect()
    }

    fn print(&self) {
        let each = |figure: fn(&Build) -> f64| self.builds.iter().map(figure).collect();
        let outside_rustc = "of it outside rustc (build scripts, C compilers)";
        let peak = "largest memory of a rustc process";
        let figures = [
            Figure::without_limit("processor time of a first release build", "s", self.spent()),
            Figure::without_limit(outside_rustc, "s", each(Build::spent_outside_rustc)),
            Figure::without_limit("elapsed time", "s", each(Build::seconds)),
            Figure::without_limit(peak, "MiB", each(Build::peak_mib)),
        ];
        println!("\n{}\n{}", self.name, report::table(&figures));
        let mut crates = Crate::of_several(self.builds.iter().flat_map(|build| &build.crates));
        crates.sort_by_key(|krate| std::cmp::Reverse(krate.processor));
        print_crates("most processor time (mean of the builds)", &crates);
        crates.sort_by_key(|krate| std::cmp::Reverse(krate.peak_kib));
        print_crates("most memory", &crates);
    }
}

fn print_crates(title: &str, crates: &[Crate]) {
    println!("{title:<44} {:>11} {:>9} {:>9}", "processor s", "elapsed s", "peak MiB");
    for krate in crates.iter().take(LISTED) {
        let (processor, elapsed) = (krate.processor.as_secs_f64(), krate.elapsed.as_secs_f64());
        let (name, peak) = (&krate.name, krate.peak_mib());
        println!("  {name:<42} {processor:>11.1} {elapsed:>9.1} {peak:>9.0}");
    }
}
