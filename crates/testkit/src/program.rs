//! Starts other programs, in the root of the repository and without standard input.

#![expect(clippy::print_stdout, reason = "shown by the commands of xtask")]

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

/// The root of the repository.
pub fn root() -> &'static Path {
    let testkit = Path::new(env!("CARGO_MANIFEST_DIR"));
    testkit.ancestors().nth(2).unwrap_or(testkit)
}

/// `name` with `arguments`, ready to start.
pub fn program(name: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(name);
    command.args(arguments).current_dir(root()).stdin(Stdio::null());
    command
}

/// Prints the command and runs it to its end; anything but success is an error.
pub fn run(command: &mut Command) -> Result<()> {
    println!("$ {}", shown(command));
    silently(command)
}

/// Runs to its end without printing the command; anything but success is an error.
pub fn silently(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    ensure!(status.success(), "`{}` ended with {status}", shown(command));
    Ok(())
}

/// Runs to its end and returns its standard output.
pub fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    ensure!(output.status.success(), "`{}` ended with {}", shown(command), output.status);
    String::from_utf8(output.stdout).context("the output is not UTF-8")
}

/// The command as a line, without quotes.
pub fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy()).collect::<Vec<_>>().join(" ")
}

/// Installs the Debian package of a program that cannot be started.
pub fn install_if_missing(tool: &str, package: &str) -> Result<()> {
    let started =
        program(tool, &["--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
    if started.is_err() { apt_install(package) } else { Ok(()) }
}

/// Prints a message and installs a Debian package; needs root.
pub fn apt_install(package: &str) -> Result<()> {
    ensure!(
        rustix::process::geteuid().is_root(),
        "{package} is missing: install it (`sudo apt-get install {package}`) and run this again"
    );
    println!("{package} is missing: installing it with apt-get");
    run(&mut program("apt-get", &["update", "-qq"]))?;
    let install = ["install", "-y", "-qq", "--no-install-recommends", package];
    run(program("apt-get", &install).env("DEBIAN_FRONTEND", "noninteractive"))
}
