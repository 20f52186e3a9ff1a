//! Dumps from an emulator, and the stacks that a debugger found in them (`cargo xtask fixtures
//! riscv`).

use std::fs;
use std::path::{Path, PathBuf};

use bytes::Bytes;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{End, Firmware, Frame, Index, Report, Trust, build_index, decode};
use coredock_testkit::snapshot::{NotePadding, Snapshot};
use serde::Deserialize;

pub(crate) const LEVELS: [&str; 3] = ["Og", "Os", "O2"];
pub(crate) const CASES: usize = 6;
/// Of raw images.
pub(crate) const VERSIONS: [u16; 8] =
    [0x0001, 0x0002, 0x0003, 0x0100, 0x0101, 0x0102, 0x0103, 0x0104];

/// A frame as the debugger or the recorded calls have it.
#[derive(Debug, Deserialize)]
pub(crate) struct ReferenceFrame {
    pub(crate) pc: u32,
    pub(crate) function: Option<String>,
    pub(crate) file: Option<String>,
    pub(crate) line: Option<u32>,
    pub(crate) inlined: bool,
}

/// Fixtures of one architecture.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fixtures(&'static str);

pub(crate) const RISCV: Fixtures = Fixtures("riscv");
pub(crate) const XTENSA: Fixtures = Fixtures("xtensa");

impl Fixtures {
    fn path(self, level: &str, file: &str) -> PathBuf {
        let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures");
        all.join(self.0).join(level).join(file)
    }

    pub(crate) fn read(self, level: &str, file: &str) -> Vec<u8> {
        let path = self.path(level, file);
        fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
    }

    pub(crate) fn elf(self, level: &str) -> Vec<u8> {
        self.read(level, "firmware.elf")
    }

    pub(crate) fn dump(self, level: &str, case: usize) -> Bytes {
        self.read(level, &format!("{case}.dmp")).into()
    }

    /// The frames of the crashed task.
    pub(crate) fn reference(self, level: &str, case: usize) -> Vec<ReferenceFrame> {
        serde_json::from_slice(&self.read(level, &format!("{case}.json"))).unwrap()
    }
}

pub(crate) fn elf(level: &str) -> Vec<u8> {
    RISCV.elf(level)
}

pub(crate) fn dump(level: &str, case: usize) -> Bytes {
    RISCV.dump(level, case)
}

/// The report of a dump, which must be the same with the ELF and with its index.
pub(crate) fn report(dump: &Bytes, elf: &[u8]) -> Report {
    let by_elf = decode(dump, Some(&Firmware::of_elf(elf).unwrap())).unwrap();
    let index = Index::open(build_index(elf, Sha256Digest::of(elf)).unwrap().into()).unwrap();
    let by_index = decode(dump, Some(&Firmware::of_index(index))).unwrap();
    assert_eq!(by_elf, by_index);
    let texts = [&by_elf, &by_index].map(|report| report.structured().to_string());
    assert_eq!(texts[0], texts[1]);
    by_elf
}

/// The device of an ELF core, from which other containers can be written.
pub(crate) fn snapshot(core: &[u8]) -> Snapshot {
    Snapshot::of_core(core).unwrap()
}

/// The dump of a device as an ELF core.
pub(crate) fn core(device: &Snapshot) -> Bytes {
    device.elf_core(NotePadding::NotCounted).into()
}

/// Compares a stack with the debugger or the recorded calls.
pub(crate) fn check_frames(frames: &[Frame], reference: &[ReferenceFrame], what: &str) {
    assert_eq!(frames.len(), reference.len(), "{what}");
    for (frame, expected) in frames.iter().zip(reference) {
        let source = &frame.source;
        assert_eq!(frame.pc, expected.pc, "{what}");
        assert_eq!(source.function, expected.function, "{what}");
        assert_eq!(source.path, expected.file, "{what}");
        assert_eq!(source.line, expected.line, "{what}");
        assert_eq!(source.inlined, expected.inlined, "{what}");
        assert_ne!(frame.trust, Trust::Scan);
    }
}

#[test]
fn stacks_are_those_of_the_debugger() {
    for level in LEVELS {
        let elf = elf(level);
        for case in 0..CASES {
            let report = report(&dump(level, case), &elf);
            let reference = RISCV.reference(level, case);
            let frames = &report.crashed_task().unwrap().frames;
            check_frames(frames, &reference, &format!("{level} {case}"));
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
