//! Licences, sources and banned crates, by cargo-deny and `deny.toml`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Context, Result};

use coredock_testkit::program::{output, program, run};

const VERSION: &str = "0.20.2";

/// Checks all dependencies of the workspace, without the advisory database, which is not reachable
/// from every machine.
pub(crate) fn check() -> Result<()> {
    let tool = cargo_deny()?;
    let arguments = ["--locked", "--all-features", "check", "licenses", "bans", "sources"];
    run(&mut program(&tool, &arguments))
}

/// The pinned version of cargo-deny: that of this machine, or a new one in the user's cache.
fn cargo_deny() -> Result<String> {
    let cache = std::env::home_dir().context("no home directory")?.join(".cache/coredock-tools");
    let cached = cache.join("bin/cargo-deny").display().to_string();
    for tool in ["cargo-deny", &cached] {
        if is_pinned(tool) {
            return Ok(tool.to_owned());
        }
    }
    install(&cache)?;
    Ok(cached)
}

fn is_pinned(tool: &str) -> bool {
    // Usually the tool is not installed at all.
    output(&mut program(tool, &["--version"]))
        .is_ok_and(|version| version.trim() == format!("cargo-deny {VERSION}"))
}

fn install(cache: &Path) -> Result<()> {
    println!("cargo-deny {VERSION} is missing: building it into {}", cache.display());
    let start = Instant::now();
    let target = tempfile::Builder::new().prefix("cargo-deny-").tempdir()?;
    let version = format!("={VERSION}");
    let install = ["install", "--quiet", "--locked", "cargo-deny", "--version", &version];
    run(program("cargo", &install)
        .args([PathBuf::from("--root"), cache.to_owned()])
        .args([PathBuf::from("--target-dir"), target.path().to_owned()]))?;
    println!("Built in {:.0} s", start.elapsed().as_secs_f64());
    Ok(())
}
