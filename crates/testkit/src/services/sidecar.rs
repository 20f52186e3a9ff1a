//! What the symbolizer sidecar (`deploy/sidecar`) needs to run; the tests start and end it.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use crate::program::{apt_install, program, root, run};

/// Names the Python that the sidecar runs on.
const VARIABLE: &str = "COREDOCK_TEST_SIDECAR_PYTHON";
/// Of Debian's debuggers the one that knows RISC-V.
const GDB: &str = "gdb-multiarch";
/// What builds packages that come as source goes first.
const REQUIREMENTS: [&str; 2] = ["requirements-build.txt", "requirements.txt"];

/// A Python with the packages of the sidecar, in a directory of its own.
pub struct SidecarPython(PathBuf);

impl SidecarPython {
    /// Installs what is missing, and the packages again when other ones are asked for.
    pub fn prepare() -> Result<Self> {
        if program(GDB, &["--version"]).output().is_err() {
            apt_install(GDB)?;
        }
        let directory = root().join("target/sidecar");
        let wanted = wanted()?;
        // Written last, so that an interrupted installation is not taken for a whole one.
        let complete = directory.join("complete");
        if !fs::read_to_string(&complete).is_ok_and(|installed| installed == wanted) {
            println!("esp-coredump is missing: installing it into {}", directory.display());
            install(&directory).context("cannot install what the sidecar runs on")?;
            fs::write(&complete, wanted)?;
        }
        Ok(Self(directory.join("bin/python3")))
    }

    /// Where the tests find it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        vec![(VARIABLE, self.0.display().to_string())]
    }
}

/// All that has to be installed, with versions and digests.
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
