//! The registers of a task.

use coredock_domain::chip::Architecture;

use crate::words::u32_at;

#[derive(Debug, Clone)]
pub(crate) enum Registers {
    RiscV(RiscVRegisters),
    Xtensa(XtensaRegisters),
}

/// pc, then x1 to x31.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct RiscVRegisters(pub(crate) [u32; 32]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct XtensaRegisters {
    pub(crate) pc: u32,
    pub(crate) ps: u32,
    pub(crate) sar: u32,
    /// lbeg, lend, lcount
    pub(crate) loops: [u32; 3],
    /// a0 to a15 of the current window.
    pub(crate) window: [u32; 16],
}

/// Names of the integer registers, with pc in place of x0.
pub(crate) const RISCV_NAMES: [&str; 32] = [
    "pc", "ra", "sp", "gp", "tp", "t0", "t1", "t2", "s0", "s1", "a0", "a1", "a2", "a3", "a4", "a5",
    "a6", "a7", "s2", "s3", "s4", "s5", "s6", "s7", "s8", "s9", "s10", "s11", "t3", "t4", "t5",
    "t6",
];

/// Offset of the registers in a note.
const NOTE_REGISTERS: usize = 72;
/// Offset of the address of the control block in a note.
const NOTE_TCB: usize = 24;
/// Offset of ar0 after the first register in a note of Xtensa.
const NOTE_WINDOW: usize = 256;

impl Registers {
    /// Control block and registers in the content of a note `CORE`.
    pub(super) fn of_note(note: &[u8], architecture: Architecture) -> Option<(u32, Self)> {
        let tcb = u32_at(note, NOTE_TCB)?;
        let words = note.get(NOTE_REGISTERS..)?;
        let registers = match architecture {
            Architecture::RiscV => Self::RiscV(RiscVRegisters::of_words(words)?),
            Architecture::Xtensa => Self::Xtensa(XtensaRegisters::of_note(words)?),
        };
        Some((tcb, registers))
    }

    pub(crate) fn pc(&self) -> u32 {
        match self {
            Self::RiscV(registers) => registers.0[0],
            Self::Xtensa(registers) => registers.pc,
        }
    }

    pub(crate) fn sp(&self) -> u32 {
        match self {
            Self::RiscV(registers) => registers.0[2],
            Self::Xtensa(registers) => registers.window[1],
        }
    }

    /// Names and values, in the order of reports.
    pub(crate) fn named(&self) -> Vec<(String, u32)> {
        match self {
            Self::RiscV(RiscVRegisters(values)) => {
                RISCV_NAMES.iter().map(|name| (*name).to_owned()).zip(*values).collect()
            }
            Self::Xtensa(registers) => registers.named(),
        }
    }
}

impl RiscVRegisters {
    pub(super) fn of_words(bytes: &[u8]) -> Option<Self> {
        let words = bytes.as_chunks().0.first_chunk()?;
        Some(Self(words.map(u32::from_le_bytes)))
    }
}

impl XtensaRegisters {
    fn of_note(bytes: &[u8]) -> Option<Self> {
        let special: [u32; 8] = bytes.as_chunks().0.first_chunk().map(|words| {
            let words: &[[u8; 4]; 8] = words;
            words.map(u32::from_le_bytes)
        })?;
        let [pc, ps, lbeg, lend, lcount, sar, _, _] = special;
        let window = bytes.get(NOTE_WINDOW..)?.as_chunks().0.first_chunk()?;
        let window = window.map(u32::from_le_bytes);
        Some(Self { pc, ps, sar, loops: [lbeg, lend, lcount], window })
    }

    fn named(&self) -> Vec<(String, u32)> {
        let [lbeg, lend, lcount] = self.loops;
        let special = [("pc", self.pc), ("ps", self.ps)];
        let loops = [("lbeg", lbeg), ("lend", lend), ("lcount", lcount), ("sar", self.sar)];
        let special = special.into_iter().chain(loops).map(|(name, value)| (name.into(), value));
        let window = self.window.iter().enumerate().map(|(n, value)| (format!("a{n}"), *value));
        special.chain(window).collect()
    }
}

/// Cause registers of a crash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MachineState {
    /// Control and status registers of an exception frame.
    RiscV { mstatus: u32, mtvec: u32, mcause: u32, mtval: u32, mhartid: u32 },
    /// EXCCAUSE, EXCVADDR and further special registers by number.
    Xtensa { cause: u32, address: u32, others: Vec<(u32, u32)> },
}

impl MachineState {
    /// Words 32 to 36 of an exception frame.
    pub(super) fn of_riscv_frame(frame: &[u8]) -> Option<Self> {
        let words = frame.get(128..)?.as_chunks().0.first_chunk()?;
        let [mstatus, mtvec, mcause, mtval, mhartid] = words.map(u32::from_le_bytes);
        Some(Self::RiscV { mstatus, mtvec, mcause, mtval, mhartid })
    }

    /// Names and values, in the order of reports.
    pub(crate) fn named(&self) -> Vec<(String, u32)> {
        match self {
            Self::RiscV { mstatus, mtvec, mcause, mtval, mhartid } => [
                ("mstatus", *mstatus),
                ("mtvec", *mtvec),
                ("mcause", *mcause),
                ("mtval", *mtval),
                ("mhartid", *mhartid),
            ]
            .map(|(name, value)| (name.to_owned(), value))
            .into(),
            Self::Xtensa { cause, address, others } => {
                let first = [("exccause".to_owned(), *cause), ("excvaddr".to_owned(), *address)];
                let others = others.iter().filter_map(|(number, value)| {
                    special_register(*number).map(|name| (name, *value))
                });
                first.into_iter().chain(others).collect()
            }
        }
    }
}

/// EPC1 to 7 and EPS2 to 7 (Xtensa ISA, special registers 177 to 183 and 194 to 199).
fn special_register(number: u32) -> Option<String> {
    match number {
        177..=183 => Some(format!("epc{}", number - 176)),
        194..=199 => Some(format!("eps{}", number - 192)),
        _ => None,
    }
}
