//! The programs which the symbolizer sidecar (`deploy/sidecar`) needs; the tests start and end it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::program::{apt_install, program, root, run};

/// The variable with the Python which runs the sidecar.
const VARIABLE: &str = "COREDOCK_TEST_SIDECAR_PYTHON";
/// Debian's debugger for RISC-V.
const GDB: &str = "gdb-multiarch";
/// Build tools come first, because some packages have only sources.
const REQUIREMENTS: [&str; 2] = ["requirements-build.txt", "requirements.txt"];

/// A Python with the packages of the sidecar, in a separate directory.
pub struct SidecarPython(PathBuf);

impl SidecarPython {
    /// Installs missing programs, and the packages again if their list has changed.
    pub fn prepare() -> Result<Self> {
        if program(GDB, &["--version"]).output().is_err() {
            apt_install(GDB)?;
        }
        let directory = root().join("target/sidecar");
        let wanted = wanted()?;
        // Written last, so that an interrupted installation is repeated.
        let complete = directory.join("complete");
        if !fs::read_to_string(&complete).is_ok_and(|installed| installed == wanted) {
            println!("esp-coredump is missing: installing it into {}", directory.display());
            install(&directory).context("cannot install the packages of the sidecar")?;
            fs::write(&complete, wanted)?;
        }
        Ok(Self(directory.join("bin/python3")))
    }

    /// The variable by which the tests find it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![(VARIABLE, self.0.display().to_string())]
    }
}

/// All packages with versions and digests.
fn wanted() -> Result<String> {
    let read = |name| fs::read_to_string(requirements(name)).with_context(|| name.to_owned());
    REQUIREMENTS.into_iter().map(read).collect()
}

fn requirements(name: &str) -> PathBuf {
    root().join("deploy/sidecar").join(name)
}

fn install(directory: &Path) -> Result<()> {
    let has_venv = program("python3", &["-c", "import ensurepip, venv"]).output();
    if !has_venv.is_ok_and(|output| output.status.success()) {
        apt_install("python3-venv")?;
    }
    run(program("python3", &["-m", "venv", "--clear"]).arg(directory))?;
    let pip = directory.join("bin/pip").display().to_string();
    let options = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "-r"];
    let [build, packages] = REQUIREMENTS.map(requirements);
    run(program(&pip, &options).arg(build))?;
    run(program(&pip, &options).arg(packages).arg("--no-build-isolation"))
}
