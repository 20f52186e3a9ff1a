//! Dumps of programs which an emulator ran and stopped anywhere, with the true frames of their
//! stacks, against which symbolizers are measured. On RISC-V the frames come from a debugger. For
//! Xtensa there is no debugger: calls are watched as they happen, and the compiler's tools find
//! their lines.

mod committed;
mod padding;
mod riscv;
mod xtensa;

use std::fs;
use std::path::{Path, PathBuf};

use crate::snapshot::Snapshot;
use anyhow::Result;
use clap::ValueEnum;
use coredock_domain::digest::Sha256Digest;
use serde::{Deserialize, Serialize};

use crate::program::root;

/// Digits of the digest in a dump.
const BUILD_ID_DIGITS: usize = 9;

#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Architecture {
    /// As in esp32c6
    Riscv,
    /// As in esp32s3
    Xtensa,
}

impl Architecture {
    pub const ALL: [Self; 2] = [Self::Riscv, Self::Xtensa];

    /// Writes the fixtures of the repository.
    pub fn commit(self) -> Result<()> {
        committed::write(self)
    }

    /// Builds a program and stops it once for each case.
    pub fn generate(self, request: &Request) -> Result<Generated> {
        match self {
            Self::Riscv => riscv::generate(request),
            Self::Xtensa => xtensa::generate(request),
        }
    }

    /// The name in commands and directories.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Riscv => "riscv",
            Self::Xtensa => "xtensa",
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub enum Optimization {
    /// For debugging
    Og,
    /// For size
    Os,
    /// For speed
    O2,
}

impl Optimization {
    pub const ALL: [Self; 3] = [Self::Og, Self::Os, Self::O2];

    /// The option of the compiler, without its dash.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Og => "Og",
            Self::Os => "Os",
            Self::O2 => "O2",
        }
    }
}

/// Equal requests give equal cases.
#[derive(Debug, Clone)]
pub struct Request {
    /// Number of cases.
    pub cases: usize,
    /// Decides where the program stops.
    pub seed: u64,
    pub optimization: Optimization,
    /// Number of files with code that never runs; about 40 KiB each in the ELF.
    pub padding: usize,
    /// An existing directory for the program and working files.
    pub directory: PathBuf,
}

/// A program and some of its crashes.
#[derive(Debug)]
pub struct Generated {
    /// The program with debugging information.
    pub elf: PathBuf,
    pub cases: Vec<Case>,
}

/// One crash.
#[derive(Debug)]
pub struct Case {
    pub snapshot: Snapshot,
    /// The backtrace of the crashed task, innermost first.
    pub reference: Vec<ReferenceFrame>,
    /// The backtraces of other tasks, where they are known.
    pub others: Vec<TaskReference>,
}

/// The backtrace of a task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct TaskReference {
    /// Address of its control block.
    pub tcb: u32,
    /// Innermost first, without the caller of a function that yielded if the dump lacks it.
    pub frames: Vec<ReferenceFrame>,
}

/// The true content of a frame.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReferenceFrame {
    /// The address at which it continues; that of an inlined frame is the address of the frame into
    /// which it is inlined.
    pub pc: u32,
    pub function: Option<String>,
    /// The source file as the debugging information names it.
    pub file: Option<String>,
    /// The line of the call, or of the stop for the innermost frame.
    pub line: Option<u32>,
    /// Whether its function is inlined into that of the next frame.
    pub inlined: bool,
}

/// A region of memory in the files which the scripts of the emulators write.
#[derive(Deserialize)]
struct Region {
    address: u32,
    bytes: Vec<u8>,
}

impl Region {
    fn into_pair(self) -> (u32, Vec<u8>) {
        (self.address, self.bytes)
    }
}

/// A source file or a directory of the programs.
fn source(path: &str) -> PathBuf {
    root().join("crates/testkit/programs").join(path)
}

/// The prefix of the build id which a dump carries.
fn build_id(elf: &Path) -> Result<String> {
    let mut digits = Sha256Digest::of(&fs::read(elf)?).to_string();
    digits.truncate(BUILD_ID_DIGITS);
    Ok(digits)
}
