//! The ROM ELFs of Espressif's chips, from the crate `espflash`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use clap::Args;
use coredock_domain::chip::KnownChip;
use coredock_domain::digest::Sha256Digest;

use coredock_testkit::program::{program, run};

const VERSION: &str = "4.7.0";
/// The digest of the crate file in the index of crates.io.
const SHA256: &str = "470053a0b1671c0d2c47b69000daceb8d79cedf0ad0b13990bf137ef8ddbe5cb";
/// The character after the chip in the name of a file: `esp32c3_rev101_rom.elf`.
const END_OF_CHIP: char = '_';

#[derive(Args)]
pub(crate) struct Roms {
    /// Directory for the files; created if it does not exist
    #[arg(long)]
    output: PathBuf,
}

impl Roms {
    pub(crate) fn run(&self) -> Result<()> {
        fs::create_dir_all(&self.output)
            .with_context(|| format!("cannot create {}", self.output.display()))?;
        let output = self.output.canonicalize()?;
        let scratch = tempfile::tempdir()?;
        let archive = scratch.path().join("espflash.crate");
        fetch(&archive)?;
        unpack(&archive, &output)?;
        show(&output)
    }
}

fn fetch(archive: &Path) -> Result<()> {
    let url = format!("https://static.crates.io/crates/espflash/espflash-{VERSION}.crate");
    let curl = ["--silent", "--show-error", "--fail", "--location", &url, "--output"];
    run(program("curl", &curl).arg(archive))?;
    let actual = Sha256Digest::of(&fs::read(archive)?).to_string();
    ensure!(actual == SHA256, "{url}: expected the SHA-256 {SHA256}, found {actual}");
    Ok(())
}

fn unpack(archive: &Path, output: &Path) -> Result<()> {
    let roms = format!("espflash-{VERSION}/resources/roms");
    let tar = ["--extract", "--gzip", "--no-same-owner", "--strip-components=3", "--file"];
    // tar extracts members to the directory of the preceding option.
    run(program("tar", &tar).arg(archive).arg("--directory").arg(output).arg(roms))
}

/// Prints chip, name and bytes of each file.
fn show(output: &Path) -> Result<()> {
    let mut files = fs::read_dir(output)?.collect::<Result<Vec<_>, _>>()?;
    files.sort_by_key(fs::DirEntry::file_name);
    println!("\n{:<9} {:<26} {:>7}", "chip", "name", "bytes");
    for file in files {
        let name = file.file_name().to_string_lossy().into_owned();
        let chip = name.split_once(END_OF_CHIP).and_then(|(chip, _)| KnownChip::named(chip));
        let (Some(chip), Some(_)) = (chip, name.strip_suffix("_rom.elf")) else { continue };
        println!("{:<9} {name:<26} {:>7}", chip.name(), file.metadata()?.len());
    }
    println!("\nHow to upload them: docs/rom-elfs.md");
    Ok(())
}
