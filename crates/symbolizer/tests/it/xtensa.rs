//! Dumps of code with register windows from an emulator, and its recorded calls (`cargo xtask
//! fixtures xtensa`).

use coredock_symbolizer::{ArgumentValue, Before, End, Report, TaskReport};
use coredock_testkit::coredumps::gzip;
use coredock_testkit::snapshot::{ExtraNote, Registers, Snapshot, TaskSnapshot};
use serde::Deserialize;

use crate::fixtures::{
    CASES, LEVELS, ReferenceFrame, VERSIONS, XTENSA, check_frames, core, report, snapshot,
};

/// A task that did not crash, as recorded.
#[derive(Debug, Deserialize)]
struct Other {
    tcb: u32,
    frames: Vec<ReferenceFrame>,
}

fn each(check: impl Fn(&str, usize, &Report)) {
    for level in LEVELS {
        let elf = XTENSA.elf(level);
        for case in 0..CASES {
            check(level, case, &report(&XTENSA.dump(level, case), &elf));
        }
    }
}

fn device(case: usize) -> Snapshot {
    snapshot(&XTENSA.dump("Og", case))
}

fn decoded(device: &Snapshot) -> Report {
    report(&core(device), &XTENSA.elf("Og"))
}

fn task<'a>(report: &'a Report, name: &str) -> &'a TaskReport {
    report.tasks.iter().find(|task| task.name.as_deref() == Some(name)).unwrap()
}

#[test]
fn stacks_of_all_tasks_are_those_of_the_calls() {
    each(|level, case, report| {
        let what = format!("{level} {case}");
        let crashed = report.crashed_task().unwrap();
        check_frames(&crashed.frames, &XTENSA.reference(level, case), &what);
        let others = XTENSA.read(level, &format!("{case}.others.json"));
        let others: Vec<Other> = serde_json::from_slice(&others).unwrap();
        assert_eq!(others.len() + 1, report.tasks.len());
        for other in others {
            let found = report.tasks.iter().find(|task| task.tcb == other.tcb).unwrap();
            check_frames(&found.frames, &other.frames, &format!("{what} {:?}", found.name));
            assert_eq!(found.end, End::Bottom, "{what} {:?}", found.name);
        }
        assert_eq!(report.remarks, [""; 0], "{what}");
    });
}

#[test]
fn a_task_that_yielded_says_which_frame_it_lacks() {
    // Every second device has the memory below the frame in its dump.
    for (case, lacks) in [(0, true), (1, false)] {
        let found = decoded(&device(case));
        let worker = task(&found, "worker");
        let lost = worker.frames.iter().filter(|frame| frame.before == Some(Before::LostFrame));
        assert_eq!(lost.count(), usize::from(lacks), "{case}");
        assert_eq!(found.text().contains("(one frame is not in the dump)"), lacks, "{case}");
    }
}

#[test]
fn all_containers_have_the_same_stacks() {
    let whole = decoded(&device(0));
    for version in VERSIONS {
        let raw = device(0).raw(version);
        for body in [raw.clone(), gzip(&raw)] {
            let found = report(&body.into(), &XTENSA.elf("Og"));
            let stacks = |report: &Report| {
                report.tasks.iter().map(|task| (task.tcb, task.frames.clone())).collect::<Vec<_>>()
            };
            assert_eq!(stacks(&found), stacks(&whole), "{version:#x}");
            assert!(found.registers.iter().any(|(name, _)| name == "exccause"), "{version:#x}");
        }
    }
}

/// The frame of an exception (ESP-IDF `xtensa_context.h`), followed by the stack.
fn interrupted_stack(task: &TaskSnapshot) -> (u32, Vec<u8>) {
    let Registers::Xtensa(registers) = &task.registers else { panic!("{task:?}") };
    let [pc, window @ ..] = registers.general;
    let words = [registers.exit, pc, registers.ps].into_iter().chain(window);
    let mut bytes: Vec<u8> = words.flat_map(u32::to_le_bytes).collect();
    bytes.resize(144, 0);
    bytes.extend(&task.stack.1);
    (task.stack.0 - 144, bytes)
}

#[test]
fn an_interrupt_handler_shows_its_stack_and_that_of_the_task() {
    let mut device = device(0);
    let whole = decoded(&device);
    let sampler = task(&whole, "sampler").tcb;
    let handler_frames = task(&whole, "sampler").frames.clone();
    let task_frames = whole.crashed_task().unwrap().frames.clone();
    // The handler gets registers and stack of another task; the interrupted task has its own saved
    // on its stack.
    let interrupted = interrupted_stack(&device.tasks[0]);
    let handler = device.tasks.iter().position(|task| task.tcb.0 == sampler).unwrap();
    let handler = device.tasks.remove(handler);
    device.tasks[0].tcb.1[..4].copy_from_slice(&interrupted.0.to_le_bytes());
    device.tasks[0].registers = handler.registers;
    device.tasks[0].stack = handler.stack;
    device.memory.push(interrupted);
    device.extra = ExtraNote::Crashed { tcb: device.tasks[0].tcb.0, in_isr: Some(true) };
    let found = decoded(&device);
    let frames = &found.crashed_task().unwrap().frames;
    let mut expected = [handler_frames.clone(), task_frames].concat();
    expected[handler_frames.len()].before = Some(Before::Interrupt);
    assert_eq!(frames, &expected);
    assert_eq!(found.in_interrupt, Some(true));
    assert!(found.text().contains("(an interrupt; the task was here:)"));
    let alone =
        |title: &str| title.ends_with(handler_frames[0].source.function.as_deref().unwrap());
    assert!(alone(&found.signature().unwrap().title));
}

#[test]
fn arguments_of_callers_come_out_of_their_windows() {
    let found = decoded(&device(0));
    let worker = &task(&found, "worker").frames;
    let depths = worker.iter().filter_map(|frame| {
        let depth = frame.arguments.iter().find(|argument| argument.name == "depth")?;
        match &depth.value {
            ArgumentValue::Known(value) => Some(value.as_str()),
            ArgumentValue::OptimizedOut | ArgumentValue::Unreadable => None,
        }
    });
    assert_eq!(depths.collect::<Vec<_>>(), ["1", "2", "3", "4", "5"], "0 is in the lost frame");
    let first = worker.last().unwrap().arguments.iter().find(|argument| argument.name == "code");
    let ArgumentValue::Known(code) = &first.unwrap().value else { panic!("{first:?}") };
    assert!(code.ends_with(" <worker_task>"), "{code}");
}
