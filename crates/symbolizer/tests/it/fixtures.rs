//! Dumps of an emulator, and what a debugger made of them (`cargo xtask fixtures riscv`).

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{End, Firmware, Index, Report, Trust, build_index, decode};
use coredock_testkit::snapshot::{ExtraNote, Registers, RiscvRegisters, Snapshot, TaskSnapshot};
use serde::Deserialize;

const LEVELS: [&str; 3] = ["Og", "Os", "O2"];
const CASES: usize = 6;
/// Registers of a task behind the first word of a note `CORE`.
const NOTE_REGISTERS: usize = 72;

/// A frame as the debugger saw it.
#[derive(Debug, Deserialize)]
struct ReferenceFrame {
    pc: u32,
    function: Option<String>,
    file: Option<String>,
    line: Option<u32>,
    inlined: bool,
}

fn directory(level: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/riscv").join(level)
}

fn read(path: &Path) -> Vec<u8> {
    fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The ELF of a level of optimisation.
pub(crate) fn elf(level: &str) -> Vec<u8> {
    read(&directory(level).join("firmware.elf"))
}

/// An ELF core.
pub(crate) fn dump(level: &str, case: usize) -> Bytes {
    read(&directory(level).join(format!("{case}.dmp"))).into()
}

/// The report of a dump, which has to be the same with the ELF and with its index.
pub(crate) fn report(dump: &Bytes, elf: &[u8]) -> Report {
    let by_elf = decode(dump, Some(&Firmware::of_elf(elf).unwrap())).unwrap();
    let index = Index::open(build_index(elf, Sha256Digest::of(elf)).unwrap().into()).unwrap();
    let by_index = decode(dump, Some(&Firmware::of_index(index))).unwrap();
    assert_eq!(by_elf, by_index);
    let texts = [&by_elf, &by_index].map(|report| report.structured().to_string());
    assert_eq!(texts[0], texts[1]);
    by_elf
}

/// The device an ELF core is of: what packers need to write it in another form.
pub(crate) fn snapshot(core: &[u8]) -> Snapshot {
    let word = |at: usize| u32::from_le_bytes(*core[at..].first_chunk().unwrap());
    let headers = usize::from(u16::from_le_bytes(*core[44..].first_chunk().unwrap()));
    let segments: Vec<(u32, u32, &[u8])> = (0..headers)
        .map(|number| {
            let header = 52 + 32 * number;
            let (offset, length) = (word(header + 4) as usize, word(header + 16) as usize);
            (word(header), word(header + 8), &core[offset..offset + length])
        })
        .collect();
    let notes = segments.iter().find(|(kind, ..)| *kind == 4).unwrap().2;
    let mut loads =
        segments.iter().filter(|(kind, ..)| *kind == 1).map(|(_, at, bytes)| (*at, *bytes));
    let mut tasks = Vec::new();
    let mut rest = notes;
    while !rest.is_empty() {
        let size = |at: usize| u32::from_le_bytes(*rest[at..].first_chunk().unwrap()) as usize;
        let name = 12 + size(0).next_multiple_of(4);
        let content = &rest[name..name + size(4)];
        tasks.push(task(content, loads.next().unwrap(), loads.next().unwrap()));
        rest = &rest[name + size(4).next_multiple_of(4)..];
    }
    let memory = loads.map(|(at, bytes)| (at, bytes.to_vec())).collect();
    let extra = ExtraNote::Crashed { tcb: tasks[0].tcb.0, in_isr: Some(false) };
    Snapshot {
        chip: 13,
        chip_revision: 2,
        build_id: None,
        tasks,
        memory,
        panic_details: None,
        extra,
    }
}

/// The frame of the exception lies before the stack.
fn task(note: &[u8], tcb: (u32, &[u8]), stack: (u32, &[u8])) -> TaskSnapshot {
    let words = |bytes: &[u8]| -> Vec<u32> {
        bytes.chunks_exact(4).map(|word| u32::from_le_bytes(word.try_into().unwrap())).collect()
    };
    let general: [u32; 32] = words(&note[NOTE_REGISTERS..])[..32].try_into().unwrap();
    let machine_state = words(&stack.1[128..148]).try_into().unwrap();
    let sp = general[2];
    let used = &stack.1[(sp - stack.0) as usize..];
    TaskSnapshot {
        tcb: (tcb.0, tcb.1.to_vec()),
        stack: (sp, used.to_vec()),
        registers: Registers::Riscv(RiscvRegisters { general, machine_state }),
    }
}

#[test]
fn stacks_are_those_of_the_debugger() {
    for level in LEVELS {
        let elf = elf(level);
        for case in 0..CASES {
            let report = report(&dump(level, case), &elf);
            let reference = read(&directory(level).join(format!("{case}.json")));
            let reference: Vec<ReferenceFrame> = serde_json::from_slice(&reference).unwrap();
            let frames = &report.crashed_task().unwrap().frames;
            assert_eq!(frames.len(), reference.len(), "{level} {case}");
            for (frame, expected) in frames.iter().zip(&reference) {
                let source = &frame.source;
                assert_eq!(frame.pc, expected.pc, "{level} {case}");
                assert_eq!(source.function, expected.function, "{level} {case}");
                assert_eq!(source.path, expected.file, "{level} {case}");
                assert_eq!(source.line, expected.line, "{level} {case}");
                assert_eq!(source.inlined, expected.inlined, "{level} {case}");
                assert_ne!(frame.trust, Trust::Scan);
            }
        }
    }
}

#[test]
fn every_task_has_its_name_priority_and_a_stack_to_its_end() {
    for level in LEVELS {
        let elf = elf(level);
        for case in 0..CASES {
            let report = report(&dump(level, case), &elf);
            assert_eq!(report.remarks, [""; 0], "{level} {case}");
            let mut names: Vec<_> =
                report.tasks.iter().filter_map(|task| task.name.as_deref()).collect();
            names.sort_unstable();
            assert_eq!(names, ["IDLE", "main", "worker"]);
            for task in &report.tasks {
                assert_eq!(task.end, End::Bottom, "{level} {case} {:?}", task.name);
                assert!(task.stack.unwrap().saved > 0 && task.priority.is_some());
                let last = task.frames.last().unwrap().source.function.as_deref();
                assert_eq!(last, Some("vPortTaskWrapper"), "{level} {case}");
            }
            let idle = report.tasks.iter().find(|task| task.name.as_deref() == Some("IDLE"));
            assert_eq!(idle.unwrap().frames.len(), 1, "it never started");
        }
    }
}

#[test]
fn the_report_reads_as_expected() {
    let report = report(&dump("Og", 0), &elf("Og"));
    insta::assert_snapshot!("text", report.text());
    insta::assert_json_snapshot!("structured", report.structured());
}
