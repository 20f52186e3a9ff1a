//! Bodies that are not dumps, or are damaged ones.

use bytes::Bytes;
use coredock_symbolizer::{DecodeError, DumpError, End, Firmware, decode};
use coredock_testkit::coredumps::CoreBuilder;
use proptest::prelude::*;

use crate::elf_builder::{ElfBuilder, TEXT};
use crate::fixtures::{dump, elf};

fn refused(body: &[u8]) -> DumpError {
    match decode(&Bytes::copy_from_slice(body), None) {
        Err(DecodeError::Dump(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn bodies_that_are_not_dumps_are_refused_with_their_format() {
    assert_eq!(refused(b""), DumpError::NotADump("unknown"));
    assert_eq!(refused(&[0; 4096]), DumpError::NotADump("unknown"));
    assert_eq!(refused(b"Guru Meditation Error\n"), DumpError::NotADump("unknown"));
    assert_eq!(refused(&elf("Og")), DumpError::NotACore, "the firmware itself");
    assert_eq!(refused(&CoreBuilder::new().machine(40).elf()), DumpError::Machine(40));
    assert_eq!(refused(&CoreBuilder::new().elf()), DumpError::NoTask);
}

#[test]
fn dump_and_elf_of_different_processors_do_not_belong_together() {
    let xtensa = ElfBuilder::new(16).machine(94).build();
    let firmware = Firmware::of_elf(&xtensa).unwrap();
    let refused = decode(&dump("Og", 0), Some(&firmware)).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "expected an ELF for RISC-V, the architecture of the dump, found one for Xtensa"
    );
}

#[test]
fn a_task_of_xtensa_without_windows_ends_with_its_first_frame_and_says_so() {
    let elf = ElfBuilder::new(16).machine(94).build();
    let mut registers = vec![0; 588];
    registers[72..76].copy_from_slice(&TEXT.to_le_bytes());
    let core = CoreBuilder::new().machine(94).without_info().note("CORE", 1, &registers).elf();
    let report = decode(&core.into(), Some(&Firmware::of_elf(&elf).unwrap())).unwrap();
    let task = report.crashed_task().unwrap();
    assert_eq!((task.end, task.frames.len(), task.frames[0].pc), (End::NoWindows, 1, TEXT));
    assert!(report.text().contains("code without register windows leaves no way on"));
}

#[test]
fn of_ten_thousand_notes_only_the_first_are_read_and_the_dump_is_accepted() {
    let mut core = CoreBuilder::new();
    for _ in 0..10_000 {
        core = core.note("CORE", 1, &[0; 204]);
    }
    let report = decode(&core.elf().into(), None).unwrap();
    assert_eq!(report.tasks.len(), 256);
}

#[test]
fn a_dump_cut_anywhere_is_read_or_refused() {
    let (whole, elf) = (dump("O2", 2), elf("O2"));
    let firmware = Firmware::of_elf(&elf).unwrap();
    for end in 0..whole.len() {
        let _ = decode(&whole.slice(..end), Some(&firmware));
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn flipped_bits_are_survived(flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..20), case in 0..6_usize) {
        let mut body = dump("Os", case).to_vec();
        for (at, bit) in flips {
            let at = at.index(body.len());
            body[at] ^= 1 << bit;
        }
        let elf = elf("Os");
        let firmware = Firmware::of_elf(&elf).unwrap();
        if let Ok(report) = decode(&body.into(), Some(&firmware)) {
            prop_assert!(report.tasks.iter().all(|task| task.frames.len() <= 128 * 64));
            prop_assert!(report.text().len() <= 1 << 20);
        }
    }

    #[test]
    fn flipped_bits_of_an_elf_are_survived(flips in prop::collection::vec((any::<prop::sample::Index>(), 0..8_u32), 1..20)) {
        let mut elf = elf("Os");
        for (at, bit) in flips {
            let at = at.index(elf.len());
            elf[at] ^= 1 << bit;
        }
        if let Ok(firmware) = Firmware::of_elf(&elf) {
            let _ = decode(&dump("Os", 0), Some(&firmware));
        }
        let _ = coredock_symbolizer::build_index(&elf, coredock_domain::digest::Sha256Digest::of(&elf));
    }
}
