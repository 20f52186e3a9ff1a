//! Stacks that no correct program has.

use coredock_symbolizer::{End, Report};
use coredock_testkit::snapshot::Snapshot;

use crate::fixtures::{core, dump, elf, report, snapshot};

const LEVEL: &str = "Og";

/// Changes the deepest stack of the fixtures.
fn check(change: impl FnOnce(&mut Snapshot)) -> Report {
    let devices = (0..6).map(|case| snapshot(&dump(LEVEL, case)));
    let mut device = devices.max_by_key(|device| device.tasks[0].stack.1.len()).unwrap();
    change(&mut device);
    report(&core(&device), &elf(LEVEL))
}

fn names(report: &Report) -> Vec<Option<&str>> {
    let frames = &report.crashed_task().unwrap().frames;
    frames.iter().map(|frame| frame.source.function.as_deref()).collect()
}

#[test]
fn an_overwritten_stack_ends_at_the_first_frame_that_is_not_plausible() {
    for byte in [0x00, 0xA5, 0xFF] {
        let found = check(|device| device.tasks[0].stack.1.fill(byte));
        let task = found.crashed_task().unwrap();
        let mut places: Vec<u32> = task.frames.iter().map(|frame| frame.pc).collect();
        places.dedup();
        assert!(places.len() <= 2 && task.end == End::Lost, "{byte:#x}: {:?}", names(&found));
    }
}

#[test]
fn a_call_through_a_null_pointer_has_a_frame_without_a_function() {
    let whole = check(|_| {});
    let frames = &whole.crashed_task().unwrap().frames;
    // The return address of the innermost function that is not inlined, as a call puts it into ra.
    let caller = frames.iter().find(|frame| frame.pc != frames[0].pc).unwrap().pc;
    let found = check(|device| {
        device.tasks[0].registers[0] = 0;
        device.tasks[0].registers[1] = caller;
    });
    let task = found.crashed_task().unwrap();
    assert_eq!((task.frames[0].pc, task.frames[0].source.function.as_ref()), (0, None));
}

#[test]
fn stack_pointers_at_the_edges_are_survived() {
    for sp in [0, 1, 3, 0x8004_0000, 0x7FFF_FFFF, u32::MAX - 15, u32::MAX - 3, u32::MAX] {
        for pc in [0, 2, 0x8000_0100, u32::MAX] {
            check(|device| {
                device.tasks[0].registers[0] = pc;
                device.tasks[0].registers[2] = sp;
            });
        }
    }
}

#[test]
fn a_stack_that_leads_back_into_itself_ends() {
    let found = check(|device| {
        let (address, bytes) = &mut device.tasks[0].stack;
        for (place, word) in bytes.chunks_exact_mut(4).enumerate() {
            let target = *address + 4 * u32::try_from(place % 8).unwrap();
            word.copy_from_slice(&target.to_le_bytes());
        }
    });
    assert!(found.crashed_task().unwrap().frames.len() <= 128 * 64);
}
