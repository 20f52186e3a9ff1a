//! Choosing a ROM ELF, and naming functions in ROM.
//!
//! The code of the Xtensa fixtures has addresses of the ROM of a chip. Here the firmware of the
//! fixture is the ROM, and the firmware is a program that does nothing.

use bytes::Bytes;
use coredock_symbolizer::{Firmware, Frame, Report, Rom, decode};
use coredock_testkit::snapshot::Snapshot;

use crate::elf_builder::ElfBuilder;
use crate::fixtures::{CASES, ReferenceFrame, XTENSA, snapshot};

const LEVEL: &str = "Og";
const XTENSA_MACHINE: u16 = 94;

fn with_roms(case: usize, files: &[(&str, Vec<u8>)]) -> Report {
    let device = Snapshot { build_id: None, ..snapshot(&XTENSA.dump(LEVEL, case)) };
    // The header of a raw image names the chip.
    let dump = Bytes::from(device.raw(0x0104));
    let elf = ElfBuilder::new(16).machine(XTENSA_MACHINE).build();
    let roms: Vec<_> =
        files.iter().map(|(name, bytes)| Rom::of_file(name, bytes).unwrap()).collect();
    let firmware = Firmware::of_elf(&elf).unwrap().with_roms(&roms);
    decode(&dump, Some(&firmware)).unwrap()
}

/// Function of each frame by its symbol, into which the others are inlined.
fn outer_functions(reference: &[ReferenceFrame]) -> Vec<Option<String>> {
    let outer = reference.iter().filter(|frame| !frame.inlined);
    outer.map(|frame| frame.function.clone()).collect()
}

fn functions(frames: &[Frame]) -> Vec<Option<String>> {
    frames.iter().map(|frame| frame.source.function.clone()).collect()
}

#[test]
fn of_several_roms_that_whose_calls_are_on_the_stacks_is_chosen() {
    let [right, wrong] = [XTENSA.elf(LEVEL), XTENSA.elf("O2")];
    for case in 0..CASES {
        let expected = outer_functions(&XTENSA.reference(LEVEL, case));
        for files in [
            [("esp32s3_rev0_rom.elf", right.clone()), ("esp32s3_rev100_rom.elf", wrong.clone())],
            [("esp32s3_rev0_rom.elf", wrong.clone()), ("esp32s3_rev1_rom.elf", right.clone())],
        ] {
            let found = with_roms(case, &files);
            let frames = &found.crashed_task().unwrap().frames;
            assert_eq!(functions(frames), expected, "{case}");
        }
    }
}

#[test]
fn roms_of_other_chips_and_processors_are_not_used() {
    let none = with_roms(0, &[]);
    let frames = |report: &Report| functions(&report.crashed_task().unwrap().frames);
    assert!(frames(&none).iter().all(Option::is_none));
    let riscv = crate::fixtures::elf(LEVEL);
    for file in [("esp32_rev300_rom.elf", XTENSA.elf(LEVEL)), ("esp32s3_rev0_rom.elf", riscv)] {
        assert_eq!(frames(&with_roms(0, &[file])), frames(&none));
    }
}

#[test]
fn a_rom_whose_name_has_no_chip_is_used() {
    let found = with_roms(0, &[("my.elf", XTENSA.elf(LEVEL))]);
    let expected = outer_functions(&XTENSA.reference(LEVEL, 0));
    assert_eq!(functions(&found.crashed_task().unwrap().frames), expected);
}
