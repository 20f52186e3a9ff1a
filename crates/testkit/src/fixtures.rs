//! Dumps of programs that an emulator ran and stopped anywhere, with what is on their stacks: the truth
//! that symbolizers are measured by. On RISC-V a debugger tells it. There is none for Xtensa: calls are
//! watched as they happen, and the tools of the compiler tell the lines.

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

/// Digits of the digest that a device tells.
const BUILD_ID_DIGITS: usize = 9;

/// What a device of the fixtures has inside.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub enum Architecture {
    /// As in esp32c6
    Riscv,
    /// As in esp32s3
    Xtensa,
}

impl Architecture {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::Riscv, Self::Xtensa];

    /// Writes the fixtures that the repository holds.
    pub fn commit(self) -> Result<()> {
        committed::write(self)
    }

    /// Builds a program and stops it.
    pub fn generate(self, request: &Request) -> Result<Generated> {
        match self {
            Self::Riscv => riscv::generate(request),
            Self::Xtensa => xtensa::generate(request),
        }
    }

    /// In commands and directories.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Riscv => "riscv",
            Self::Xtensa => "xtensa",
        }
    }
}

/// How well a program is optimised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
#[value(rename_all = "verbatim")]
pub enum Optimization {
    /// For debugging.
    Og,
    /// For size.
    Os,
    /// For speed.
    O2,
}

impl Optimization {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Og, Self::Os, Self::O2];

    /// As in the option of the compiler.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Og => "Og",
            Self::Os => "Os",
            Self::O2 => "O2",
        }
    }
}

/// What to make. The same request makes the same cases.
#[derive(Debug, Clone)]
pub struct Request {
    /// How many.
    pub cases: usize,
    /// Decides where the program stops.
    pub seed: u64,
    /// How the program is built.
    pub optimization: Optimization,
    /// Files of code that never runs; about 40 KiB each in the ELF.
    pub padding: usize,
    /// Exists, and receives the program and working files.
    pub directory: PathBuf,
}

/// A program and some of its crashes.
#[derive(Debug)]
pub struct Generated {
    /// With debugging information.
    pub elf: PathBuf,
    /// In the order they were made.
    pub cases: Vec<Case>,
}

/// One crash.
#[derive(Debug)]
pub struct Case {
    /// The device.
    pub snapshot: Snapshot,
    /// The backtrace of the crashed task, innermost first.
    pub reference: Vec<ReferenceFrame>,
    /// Those of other tasks, where they are known.
    pub others: Vec<TaskReference>,
}

/// The backtrace of a task.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct TaskReference {
    /// Address of its control block.
    pub tcb: u32,
    /// Innermost first. Without the caller of a function that yielded, where the dump lacks it.
    pub frames: Vec<ReferenceFrame>,
}

/// A frame as a debugger sees it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct ReferenceFrame {
    /// Where it goes on; an inlined frame has that of the one it is inlined into.
    pub pc: u32,
    /// Its function.
    pub function: Option<String>,
    /// The source file as the debugging information names it.
    pub file: Option<String>,
    /// The line of the call, or of the stop for the innermost frame.
    pub line: Option<u32>,
    /// Whether its function is inlined into that of the next frame.
    pub inlined: bool,
}

/// A source, or a directory of them.
fn source(path: &str) -> PathBuf {
    root().join("crates/testkit/programs").join(path)
}

/// What a device tells of its firmware.
fn build_id(elf: &Path) -> Result<String> {
    let mut digits = Sha256Digest::of(&fs::read(elf)?).to_string();
    digits.truncate(BUILD_ID_DIGITS);
    Ok(digits)
}
