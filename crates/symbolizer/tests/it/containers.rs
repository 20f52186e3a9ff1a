//! One crash in every container (contract §6.6): always the same frames.

use bytes::Bytes;
use coredock_symbolizer::{BuildMatch, DecodeError, Firmware, Frame, Report, decode};
use coredock_testkit::coredumps::{base64_console, gzip, strip};
use coredock_testkit::snapshot::{ExtraNote, NotePadding, Snapshot};

use crate::fixtures::{VERSIONS, core, dump, elf, report, snapshot};

const LEVEL: &str = "O2";
const CASE: usize = 1;

fn device() -> Snapshot {
    snapshot(&dump(LEVEL, CASE))
}

fn stacks(report: &Report) -> Vec<(u32, bool, &[Frame])> {
    report.tasks.iter().map(|task| (task.tcb, task.crashed, &task.frames[..])).collect()
}

fn check(body: impl Into<Bytes>, container: &str) -> Report {
    let found = report(&body.into(), &elf(LEVEL));
    assert_eq!(found.container, container);
    assert_eq!(stacks(&found), stacks(&report(&dump(LEVEL, CASE), &elf(LEVEL))));
    found
}

#[test]
fn raw_images_of_all_versions() {
    for version in VERSIONS {
        let report = check(device().raw(version), "raw");
        assert_eq!(report.chip, Some("esp32c6"));
        let revision = matches!(version, 0x0003 | 0x0102..).then_some(2);
        assert_eq!(report.chip_revision, revision, "{version:#x}");
        assert!(!report.salvaged && report.registers.iter().any(|(name, _)| name == "mcause"));
    }
}

#[test]
fn a_wrong_checksum_or_a_missing_end_is_reported_and_read() {
    for version in VERSIONS {
        let mut image = device().raw(version);
        *image.last_mut().unwrap() ^= 1;
        assert!(check(image.clone(), "raw").salvaged, "{version:#x}");
        image.truncate(image.len() - 40);
        let cut = report(&image.into(), &elf(LEVEL));
        assert!(cut.salvaged && cut.text().contains("damaged or cut"), "{version:#x}");
    }
}

#[test]
fn wrapped_and_badly_cut_dumps() {
    let core = core(&device());
    let raw = device().raw(0x0104);
    check(gzip(&raw), "raw");
    check(base64_console(&raw, 48), "raw");
    check(gzip(&base64_console(&core, 48)), "elf");
    // V50
    let report = check(strip(&core, 12, &[0xFF; 28]), "stripped-elf");
    assert!(report.salvaged);
    check(strip(&core, 4, &[]), "stripped-elf");
}

#[test]
fn padding_of_names_counts_or_not() {
    check(device().elf_core(NotePadding::Counted), "elf");
    check(device().elf_core(NotePadding::NotCounted), "elf");
}

#[test]
fn the_elf_of_another_build_is_never_used() {
    let with_build =
        |digits: &str| core(&Snapshot { build_id: Some(digits.to_owned()), ..device() });
    let bytes = elf(LEVEL);
    let firmware = Firmware::of_elf(&bytes).unwrap();
    let sha256 = firmware.elf_sha256().to_string();
    for digits in [&sha256[..9], &sha256[..16], &sha256] {
        let exact = decode(&with_build(digits), Some(&firmware)).unwrap();
        assert_eq!(exact.build.matched, BuildMatch::Exact);
    }
    let refused = decode(&with_build("0123456789"), Some(&firmware));
    assert!(matches!(refused, Err(DecodeError::OtherBuild { .. })), "{refused:?}");
    let without_build = core(&Snapshot { build_id: None, ..device() });
    let by_version = decode(&without_build, Some(&firmware)).unwrap();
    assert_eq!(by_version.build.matched, BuildMatch::Version);
}

#[test]
fn the_crashed_task_is_the_task_that_the_dump_names() {
    let second = device().tasks[1].tcb.0;
    let extra = ExtraNote::Crashed { tcb: second, in_isr: Some(true) };
    let found = report(&core(&Snapshot { extra, ..device() }), &elf(LEVEL));
    assert_eq!(found.crashed_task().unwrap().tcb, second);
    assert_eq!(found.in_interrupt, Some(true));

    let unusable = Snapshot { extra: ExtraNote::Unusable, ..device() };
    let found = report(&core(&unusable), &elf(LEVEL));
    assert!(found.crashed_task().is_none() && found.signature().is_none());
    assert!(found.text().contains("could not be read"));
    assert_eq!(found.tasks.len(), 3);

    let found = report(&core(&Snapshot { extra: ExtraNote::None, ..device() }), &elf(LEVEL));
    assert_eq!(found.crashed_task().unwrap().tcb, device().tasks[0].tcb.0);
}

#[test]
fn the_text_of_the_panic_decides_the_cause() {
    for (text, cause) in [
        ("abort() was called at PC 0x80000f00 on core 0", "abort"),
        ("assert failed: app_main app.c:12 (x > 0)", "assert"),
        ("Task watchdog got triggered. The following tasks did not reset", "task_wdt"),
    ] {
        let device = Snapshot { panic_details: Some(text.to_owned()), ..device() };
        let found = report(&core(&device), &elf(LEVEL));
        assert_eq!(
            (found.panic.cause.as_str(), found.panic.reason.as_deref()),
            (cause, Some(text))
        );
        assert!(found.signature().unwrap().title.starts_with(cause));
    }
}

#[test]
fn a_corrupted_task_is_named_and_not_unwound() {
    let mut device = device();
    device.tasks[1].registers[2] = 0x2000_0010;
    let found = report(&core(&device), &elf(LEVEL));
    let task = found.tasks.iter().find(|task| task.tcb == device.tasks[1].tcb.0).unwrap();
    assert!(task.corrupted && task.frames.is_empty() && task.name.is_some());
    assert!(found.text().contains("(corrupted)"));
}

#[test]
fn without_an_elf_the_report_contains_what_needs_no_elf() {
    let found = decode(&device().raw(0x0104).into(), None).unwrap();
    assert_eq!(found.build.matched, BuildMatch::None);
    assert_eq!(found.tasks.len(), 3);
    assert!(found.tasks.iter().all(|task| task.frames.len() == 1));
    assert_eq!(found.crashed_task().unwrap().name.as_deref().map(str::is_empty), Some(false));
    assert!(found.signature().is_none());
}
