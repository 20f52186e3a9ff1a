//! The steps of CI, in their order; the first failure ends the run.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{layers, licences, test_run};
use coredock_testkit::program::{output, program, run as run_program};

type Step = (&'static str, fn() -> Result<()>);

const STEPS: &[Step] = &[
    ("format", format),
    ("lints", lints),
    ("libpq", libpq),
    ("documentation", documentation),
    ("layers", layers::check),
    ("licences", licences::check),
];

/// Runs every step; the last printed line has the numbers of tests.
pub(crate) fn run() -> Result<()> {
    let mut times = Vec::new();
    for (name, step) in STEPS {
        times.push((*name, timed(name, step)?.1));
    }
    let (tally, time) = timed("tests", || test_run::run(&[]))?;
    times.push(("tests", time));
    println!();
    for (name, time) in times {
        println!("{name:<14} {:>6.1} s", time.as_secs_f64());
    }
    println!("\n{tally}");
    Ok(())
}

fn timed<T>(name: &str, step: impl FnOnce() -> Result<T>) -> Result<(T, Duration)> {
    println!("\n== {name}");
    let start = Instant::now();
    let done = step().with_context(|| format!("the step \"{name}\" failed"))?;
    let time = start.elapsed();
    println!("== {name}: ok, {:.1} s", time.as_secs_f64());
    Ok((done, time))
}

fn format() -> Result<()> {
    run_program(&mut program("cargo", &["fmt", "--all", "--check"]))
}

fn lints() -> Result<()> {
    let clippy = ["clippy", "--workspace", "--all-targets", "--locked", "--", "-D", "warnings"];
    run_program(&mut program("cargo", &clippy))
}

/// Checks that no crate depends on libpq: PostgreSQL is accessed without it.
fn libpq() -> Result<()> {
    let tree = ["tree", "--workspace", "--all-features", "--target", "all", "--prefix", "none"];
    let tree = output(program("cargo", &tree).arg("--locked"))?;
    ensure!(tree.lines().count() > 1, "`cargo tree` shows no dependencies");
    let libpq = tree.lines().find(|line| line.starts_with("pq-sys "));
    ensure!(libpq.is_none(), "a crate depends on libpq: cargo tree --all-features -i pq-sys");
    Ok(())
}

fn documentation() -> Result<()> {
    let doc = ["doc", "--workspace", "--no-deps", "--document-private-items", "--locked"];
    run_program(program("cargo", &doc).env("RUSTDOCFLAGS", "-D warnings"))
}
