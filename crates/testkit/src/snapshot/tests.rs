use std::fs;
use std::io::Cursor;
use std::path::Path;

use bytes::Bytes;
use coredock_domain::coredumps::body::{Container, build_id, unwrap};

use super::{
    ExtraNote, NotePadding, Registers, RiscvRegisters, Snapshot, TaskSnapshot, XtensaRegisters,
    XtensaYielded,
};

const VERSIONS: [u16; 8] = [0x0001, 0x0002, 0x0003, 0x0100, 0x0101, 0x0102, 0x0103, 0x0104];
const TCB: u32 = 0x4080_0100;
/// Not a multiple of 16: the frame must be moved down.
const STACK: u32 = 0x4080_2004;
const STACK_TOP: u32 = 0x4080_1f70;

fn task(tcb: u32, stack: u32) -> TaskSnapshot {
    let registers = RiscvRegisters {
        general: std::array::from_fn(|n| 0x100 + u32::try_from(n).unwrap()),
        machine_state: [0x1880, 1, 2, 3, 4],
    };
    TaskSnapshot {
        tcb: (tcb, vec![7; 80]),
        stack: (stack, vec![9; 22]),
        registers: Registers::Riscv(registers),
    }
}

fn snapshot() -> Snapshot {
    Snapshot {
        chip: 13,
        chip_revision: 101,
        build_id: Some("64d3738c1".to_owned()),
        tasks: vec![task(TCB, STACK), task(0x4080_0200, 0x4080_3000)],
        memory: vec![(0x4081_0000, vec![5; 32])],
        panic_details: Some("abort() was called".to_owned()),
        extra: ExtraNote::Crashed { tcb: TCB, in_isr: Some(false) },
    }
}

fn word_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_le_bytes(*bytes[offset..].first_chunk().unwrap())
}

fn half_at(bytes: &[u8], offset: usize) -> usize {
    u16::from_le_bytes(*bytes[offset..].first_chunk().unwrap()).into()
}

/// Type, address and content.
fn segments(elf: &[u8]) -> Vec<(u32, u32, Vec<u8>)> {
    let header = |n| &elf[52 + n * 32..][..32];
    let segment = |header: &[u8]| {
        let [offset, length] = [4, 16].map(|at| word_at(header, at) as usize);
        (word_at(header, 0), word_at(header, 8), elf[offset..][..length].to_vec())
    };
    (0..half_at(elf, 44)).map(|n| segment(header(n))).collect()
}

/// Name size, name, type and content.
fn notes(elf: &[u8]) -> Vec<(usize, String, u32, Vec<u8>)> {
    let mut notes = Vec::new();
    for (kind, _, bytes) in segments(elf) {
        let mut rest = if kind == 4 { bytes.as_slice() } else { &[] };
        while !rest.is_empty() {
            let [name, length, kind] = [0, 4, 8].map(|at| word_at(rest, at));
            let start = 12 + name.next_multiple_of(4) as usize;
            let text = String::from_utf8(rest[12..start].to_vec()).unwrap();
            let content = rest[start..][..length as usize].to_vec();
            notes.push((name as usize, text.trim_end_matches('\0').to_owned(), kind, content));
            rest = &rest[start + length.next_multiple_of(4) as usize..];
        }
    }
    notes
}

fn note(elf: &[u8], name: &str) -> Option<Vec<u8>> {
    notes(elf).into_iter().find(|note| note.1 == name).map(|note| note.3)
}

#[test]
fn the_domain_reads_every_raw_image_as_intact() {
    for version in VERSIONS {
        for device in [snapshot(), xtensa()] {
            let image = Bytes::from(device.raw(version));
            let read = unwrap(&image);
            assert_eq!((read.container, read.salvaged), (Container::Raw, false), "{version:#06x}");
            assert_eq!(read.bytes, image, "{version:#06x}");
            let found = build_id(&mut Cursor::new(image.as_ref())).map(|build| build.to_string());
            let expected = (version >= 0x0100).then(|| "64d3738c1".to_owned());
            assert_eq!(found, expected, "{version:#06x}");
        }
    }
}

#[test]
fn the_domain_reads_the_build_in_a_bare_core() {
    for names in [NotePadding::Counted, NotePadding::NotCounted] {
        let core = Bytes::from(snapshot().elf_core(names));
        assert_eq!(unwrap(&core).container, Container::Elf);
        let found = build_id(&mut Cursor::new(core.as_ref())).unwrap();
        assert_eq!(found.to_string(), "64d3738c1");
    }
}

#[test]
fn a_core_contains_each_task_with_its_memory() {
    let core = snapshot().elf_core(NotePadding::NotCounted);
    let loads: Vec<_> = segments(&core).into_iter().filter(|(kind, ..)| *kind == 1).collect();
    let shape: Vec<_> = loads.iter().map(|(_, at, bytes)| (*at, bytes.len())).collect();
    let expected = [(TCB, 80), (STACK_TOP, 148 + 22), (0x4080_0200, 80), (0x4080_2f60, 160 + 22)];
    assert_eq!(shape[..4], expected);
    assert_eq!(shape[4..], [(0x4081_0000, 32)]);

    let registers = &notes(&core)[0];
    assert_eq!((registers.1.as_str(), registers.2, registers.3.len()), ("CORE", 1, 204));
    assert_eq!(word_at(&registers.3, 24), TCB);
    assert_eq!(registers.3[72..200], loads[1].2[..128]);
    assert_eq!(word_at(&loads[1].2, 136), 2, "mcause");
    assert_eq!(loads[1].2[148..], [9; 22]);
}

#[test]
fn a_core_contains_the_cause_of_the_crash() {
    let core = snapshot().elf_core(NotePadding::NotCounted);
    let extra = note(&core, "ESP_EXTRA_INFO").unwrap();
    assert_eq!(extra, [TCB.to_le_bytes(), [0; 4]].concat());
    assert_eq!(note(&core, "ESP_PANIC_DETAILS").unwrap(), b"abort() was called");
    assert_eq!(note(&core, "ESP_CHIP_REV").unwrap(), 101_u32.to_le_bytes());
    assert_eq!(word_at(&note(&core, "ESP_CORE_DUMP_INFO").unwrap(), 0), 0x000d_0104);

    let bare = Snapshot {
        build_id: None,
        panic_details: None,
        extra: ExtraNote::None,
        tasks: Vec::new(),
        ..snapshot()
    };
    let bare = bare.elf_core(NotePadding::NotCounted);
    assert_eq!(notes(&bare).len(), 1, "only the revision");
    let unusable = Snapshot { extra: ExtraNote::Unusable, ..snapshot() }.raw(0x0104);
    assert_eq!(note(&unusable[12..], "ESP_EXTRA_INFO").unwrap(), 0xDEAD_BEEF_u32.to_le_bytes());
}

#[test]
fn name_sizes_count_the_padding_only_where_asked_for() {
    let size = |names| notes(&snapshot().elf_core(names))[0].0;
    assert_eq!((size(NotePadding::Counted), size(NotePadding::NotCounted)), (8, 5));
    let old = &snapshot().raw(0x0102)[24..];
    assert_eq!(notes(old)[0].0, 8);
    assert_eq!(word_at(&note(old, "ESP_CORE_DUMP_INFO").unwrap(), 0), 0x000d_0102);
    assert_eq!(note(old, "ESP_CHIP_REV"), None, "it is in the header");
}

#[test]
fn a_task_list_has_frames_stacks_and_the_memory_of_its_version() {
    let image = snapshot().raw(0x0003);
    let header = [8, 12, 16, 20].map(|at| word_at(&image, at));
    assert_eq!(header, [2, 80, 1, 101]);
    let record = &image[24..];
    assert_eq!([0, 4, 8].map(|at| word_at(record, at)), [TCB, STACK_TOP, STACK_TOP + 148 + 22]);
    assert_eq!(record[12..92], [7; 80]);
    assert_eq!(word_at(record, 92), 0x100, "pc");
    assert_eq!(word_at(record, 92 + 128), 0x1880, "mstatus");
    let second = &record[92 + 172..];
    assert_eq!(word_at(second, 0), 0x4080_0200);
    let region = &second[92 + 184..];
    assert_eq!([0, 4].map(|at| word_at(region, at)), [0x4081_0000, 32]);
    assert_eq!(region.len(), 8 + 32 + 4, "the checksum is last");

    let [oldest, newer] = [0x0001, 0x0002].map(|version| snapshot().raw(version).len());
    assert_eq!(oldest + 4 + 8 + 32, newer);
}

/// A task which crashed at a store, and a task which yielded.
fn xtensa() -> Snapshot {
    let crashed = XtensaRegisters {
        general: std::array::from_fn(|n| 0x4000_0000 + u32::try_from(n).unwrap()),
        exit: 0xDEAD_BEEF,
        ps: 0x60730,
        sar: 5,
        cause: 29,
        address: 0x10,
        loops: [1, 2, 3],
    };
    let yielded =
        XtensaYielded { general: [0x8000_1234, 0x8000_5678, 0x3FFB_3100, 7, 8], ps: 0x60720 };
    let task = |tcb, stack, registers| TaskSnapshot {
        tcb: (tcb, vec![7; 80]),
        stack: (stack, vec![9; 24]),
        registers,
    };
    let tasks = vec![
        task(0x3FFB_0100, 0x3FFB_2000, Registers::Xtensa(crashed)),
        task(0x3FFB_0200, 0x3FFB_3000, Registers::XtensaYielded(yielded)),
    ];
    let extra = ExtraNote::Crashed { tcb: 0x3FFB_0100, in_isr: Some(true) };
    Snapshot { chip: 9, tasks, extra, ..snapshot() }
}

#[test]
fn a_core_of_xtensa_contains_registers_and_their_frames() {
    let core = xtensa().elf_core(NotePadding::NotCounted);
    assert_eq!(half_at(&core, 18), 94, "e_machine");
    let loads: Vec<_> = segments(&core).into_iter().filter(|(kind, ..)| *kind == 1).collect();
    let shape: Vec<_> = loads.iter().map(|(_, at, bytes)| (*at, bytes.len())).collect();
    assert_eq!(shape[1], (0x3FFB_2000 - 144, 144 + 24));
    assert_eq!(shape[3], (0x3FFB_3000 - 32, 32 + 24));

    let [crashed, yielded] = [0, 1].map(|n| notes(&core)[n].3.clone());
    assert_eq!((crashed.len(), word_at(&crashed, 24)), (588, 0x3FFB_0100));
    let special = [72, 76, 80, 84, 88, 92].map(|at| word_at(&crashed, at));
    assert_eq!(special, [0x4000_0000, 0x60720, 1, 2, 3, 5]);
    assert_eq!([328, 388].map(|at| word_at(&crashed, at)), [0x4000_0001, 0x4000_0010]);
    let frame = [0, 4, 8, 12, 72, 76, 80, 84, 96].map(|at| word_at(&loads[1].2, at));
    let window = [0x4000_0001, 0x4000_0010];
    assert_eq!(frame[..3], [0xDEAD_BEEF, 0x4000_0000, 0x60730]);
    assert_eq!(frame[3..], [window[0], window[1], 5, 29, 0x10, 3]);

    assert_eq!([72, 328, 332].map(|at| word_at(&yielded, at)), [0x1234, 0x5678, 0x3FFB_3100]);
    let frame = [0, 4, 8, 12, 16, 28].map(|at| word_at(&loads[3].2, at));
    assert_eq!(frame, [0, 0x8000_1234, 0x60720, 0, 0x8000_5678, 8]);
}

#[test]
fn the_special_registers_of_xtensa_are_pairs_followed_by_a_flag() {
    let core = xtensa().elf_core(NotePadding::NotCounted);
    let extra = note(&core, "ESP_EXTRA_INFO").unwrap();
    assert_eq!(extra.len(), 152);
    let words = [0, 4, 8, 12, 16, 20, 24, 148].map(|at| word_at(&extra, at));
    assert_eq!(words, [0x3FFB_0100, 232, 29, 238, 0x10, 177, 0x4000_0000, 1]);
}

#[test]
fn stacks_in_a_task_list_of_xtensa_begin_with_the_frames() {
    let image = xtensa().raw(0x0003);
    let record = &image[24..];
    assert_eq!([4, 8].map(|at| word_at(record, at)), [0x3FFB_2000 - 144, 0x3FFB_2000 + 24]);
    assert_eq!([92, 96].map(|at| word_at(record, at)), [0xDEAD_BEEF, 0x4000_0000]);
    let second = &record[92 + 144 + 24..];
    assert_eq!([0, 4].map(|at| word_at(second, at)), [0x3FFB_0200, 0x3FFB_3000 - 32]);
    assert_eq!([92, 96].map(|at| word_at(second, at)), [0, 0x8000_1234]);
}

#[test]
fn registers_have_the_same_index_on_both_architectures() {
    let [mut riscv, mut xtensa] = [snapshot(), xtensa()];
    for device in [&mut riscv, &mut xtensa] {
        device.tasks[0].registers[2] = 0x1234_5678;
    }
    let [riscv, xtensa] = [riscv, xtensa].map(|device| device.elf_core(NotePadding::NotCounted));
    assert_eq!(word_at(&notes(&riscv)[0].3, 72 + 8), 0x1234_5678, "sp");
    assert_eq!(word_at(&notes(&xtensa)[0].3, 72 + 260), 0x1234_5678, "a1");
}

#[test]
fn a_device_is_the_same_when_it_is_read_from_its_core() {
    let core = xtensa().elf_core(NotePadding::NotCounted);
    let read = Snapshot::of_core(&core).unwrap();
    assert!(read.elf_core(NotePadding::NotCounted) == core, "{read:?}");
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures");
    for directory in ["riscv/Og", "riscv/O2", "xtensa/Og", "xtensa/Os", "xtensa/O2"] {
        for case in 0..6 {
            let core = fs::read(fixtures.join(directory).join(format!("{case}.dmp"))).unwrap();
            let read = Snapshot::of_core(&core).unwrap();
            assert!(read.elf_core(NotePadding::NotCounted) == core, "{directory} {case}");
        }
    }
}
