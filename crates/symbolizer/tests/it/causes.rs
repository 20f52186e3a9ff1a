//! The cause of a crash, and the guilty tasks.

use coredock_symbolizer::{Before, Frame, FrameClass, Report, decode};
use coredock_testkit::snapshot::Snapshot;
use proptest::prelude::*;

use crate::call_stack::Crash;
use crate::fixtures::{core, dump, elf, report, snapshot};

/// Every abort ends with these functions.
const ABORT: [&str; 3] = ["panic_abort", "esp_system_abort", "abort"];
/// Functions of the project, down to the first one of the task.
const APPLICATION: [&str; 3] = ["_ZN3app7Station7connectEPKc", "app_main", "main_task"];

/// A task that ends with the functions of an abort, called by these.
fn abort_by(functions: &[&'static str]) -> Crash<'static> {
    Crash::of(&[&ABORT, functions, &APPLICATION].concat())
}

fn title(report: &Report) -> String {
    report.signature().unwrap().title
}

fn hash(report: &Report) -> String {
    report.signature().unwrap().hash
}

/// The number of functions of the crashed task that ended the program. The next one must belong to
/// the project.
fn machinery(report: &Report) -> usize {
    let frames = &report.crashed_task().unwrap().frames;
    let count = frames.iter().take_while(|frame| frame.class() == FrameClass::Machinery).count();
    assert_eq!(frames[count].class(), FrameClass::Application, "{:?}", frames[count].source);
    assert_eq!(frames[count].source.file.as_deref(), Some("main/app.c"));
    count
}

const CPP: [&str; 5] = [
    "_ZN9__gnu_cxx27__verbose_terminate_handlerEv",
    "_ZN10__cxxabiv111__terminateEPFvvE",
    "_ZSt9terminatev",
    "__cxa_throw",
    "_ZSt24__throw_out_of_range_fmtPKcz",
];
/// Mangled with the v0 scheme, as compilers since 1.87 do.
const RUST: [&str; 9] = [
    "_RNvCsfLfy6EI15iL_7___rustc18___rust_start_panic",
    "_RNvCsfLfy6EI15iL_7___rustc10rust_panic",
    "_RNvNtCsjrHSEGnQ3l9_3std9panicking15panic_with_hook",
    "_RNCNvNtCsjrHSEGnQ3l9_3std9panicking13panic_handler0B5_",
    "_RINvNtNtCsjrHSEGnQ3l9_3std3sys9backtrace26___rust_end_short_backtraceNCNvNtB6_9panicking13panic_handler0zEB6_",
    "_RNvCsfLfy6EI15iL_7___rustc17rust_begin_unwind",
    "_ZN4core9panicking9panic_fmt17h0123456789abcdefE",
    "_ZN4core9panicking18panic_bounds_check17h0123456789abcdefE",
    "_RNvNtCsgEmfK2I1SDS_4core6result13unwrap_failed",
];
const OLD_RUST: [&str; 8] = [
    "_ZN11panic_abort18__rust_start_panic5abort17h0123456789abcdefE",
    "__rust_start_panic",
    "rust_panic",
    "_ZN3std9panicking20rust_panic_with_hook17h0123456789abcdefE",
    "_ZN3std9panicking19begin_panic_handler28_$u7b$$u7b$closure$u7d$$u7d$17h0123456789abcdefE",
    "_ZN3std10sys_common9backtrace26__rust_end_short_backtrace17h0123456789abcdefE",
    "rust_begin_unwind",
    "_ZN4core6option13unwrap_failed17h0123456789abcdefE",
];

#[test]
fn functions_show_the_cause_where_no_text_does() {
    let cases: [(&[&str], &str, &str); 11] = [
        (&[], "abort", "abort was called"),
        (&["_esp_error_check_failed"], "abort", "_esp_error_check_failed was called"),
        (&["__assert_func"], "assert", "__assert_func was called"),
        (&["multi_heap_assert"], "assert", "multi_heap_assert was called"),
        (&["__stack_chk_fail"], "stack_smashing", "__stack_chk_fail was called"),
        (
            &["vApplicationStackOverflowHook"],
            "stack_overflow",
            "vApplicationStackOverflowHook was called",
        ),
        (&CPP, "abort", "std::__throw_out_of_range_fmt(char const*, ...) was called"),
        (&["__cxa_pure_virtual"], "abort", "__cxa_pure_virtual was called"),
        (&["__wrap___cxa_throw"], "abort", "__wrap___cxa_throw was called"),
        (&RUST, "abort", "core::result::unwrap_failed was called"),
        (&OLD_RUST, "abort", "core::option::unwrap_failed was called"),
    ];
    for (functions, cause, reason) in cases {
        let found = abort_by(functions).report();
        assert_eq!(found.panic.cause, cause, "{functions:?}");
        assert_eq!(found.panic.reason.as_deref(), Some(reason));
        assert_eq!(machinery(&found), ABORT.len() + functions.len());
    }
}

#[test]
fn a_crash_is_grouped_by_what_failed_and_not_by_how_it_ended() {
    let expected = "abort in app::Station::connect(char const*)";
    let plain = abort_by(&[]).report();
    assert_eq!(title(&plain), expected);
    for machinery in [&["_esp_error_check_failed"][..], &CPP, &RUST, &OLD_RUST, &["_Unwind_Resume"]]
    {
        let found = abort_by(machinery).report();
        assert_eq!((title(&found), hash(&found)), (expected.to_owned(), hash(&plain)));
        let elsewhere = [&ABORT, machinery, &["_ZN3app5Clock3setEv"], &APPLICATION[1..]].concat();
        let elsewhere = Crash::of(&elsewhere).report();
        assert_ne!(hash(&elsewhere), hash(&plain), "{machinery:?}");
    }
}

#[test]
fn texts_decide_the_cause_and_are_the_reason() {
    for (text, cause) in [
        ("assert failed: multi_heap_free multi_heap_poisoning.c:276 (head != NULL)", "assert"),
        ("CORRUPT HEAP: Bad tail at 0x3ffb8a14. Expected 0xbaad5678 got 0x0", "assert"),
        ("assertion \"n > 0\" failed: file \"main/app.c\", line 3, function: f", "assert"),
        ("ESP_ERROR_CHECK failed: esp_err_t 0x101 (ESP_ERR_NO_MEM) at 0x4200c3d5", "abort"),
        ("ESP_ERROR_CHECK_WITHOUT_ABORT failed: esp_err_t 0x103 at 0x4200c3d5", "abort"),
        ("Stack smashing protect failure!", "stack_smashing"),
        ("Guru Meditation Error: Core  0 panic'ed (Stack protection fault).", "stack_overflow"),
        ("Guru Meditation Error: Core  0 panic'ed (Cache error).", "cache_error"),
        (
            "Guru Meditation Error: Core  0 panic'ed (Load access fault).",
            "exception/LoadAccessFault",
        ),
        (
            "Guru Meditation Error: Core  0 panic'ed (Double exception).",
            "exception/DoubleException",
        ),
        (
            "terminate called after throwing an instance of 'std::out_of_range'\n  what():  at",
            "abort",
        ),
        ("terminate called without an active exception", "abort"),
        ("panicked at src/main.rs:10:5:\nCache error", "abort"),
        ("Brownout detector was triggered", "unknown"),
    ] {
        let found = Crash { text: Some(text), ..abort_by(&[]) }.report();
        assert_eq!(found.panic.cause, cause, "{text}");
        assert_eq!(found.panic.reason.as_deref(), Some(text));
        assert_eq!(title(&found), format!("{cause} in app::Station::connect(char const*)"));
        // The text needs no ELF.
        let dump = Crash { text: Some(text), ..abort_by(&[]) }.dump();
        assert_eq!(decode(&dump, None).unwrap().panic.cause, cause);
    }
}

#[test]
fn a_text_that_only_names_an_abort_leaves_the_cause_to_functions() {
    let text = "abort() was called at PC 0x4200c3d5 on core 0";
    for (function, cause) in [("__assert_func", "assert"), ("_esp_error_check_failed", "abort")] {
        let found = Crash { text: Some(text), ..abort_by(&[function]) }.report();
        assert_eq!((found.panic.cause.as_str(), found.panic.core), (cause, Some(0)));
        assert_eq!(found.panic.reason.as_deref(), Some(text));
    }
}

#[test]
fn the_text_of_an_abort_is_found_on_the_stack() {
    let text = "assert failed: app_main app.c:12 (x > 0)\r\n";
    let found = Crash { argument: Some(text), ..abort_by(&["__assert_func"]) }.report();
    assert_eq!(found.panic.reason.as_deref(), Some(text.trim_end()));
    assert_eq!(found.panic.cause, "assert");
}

#[test]
fn functions_that_catch_a_panic_are_not_machinery() {
    let functions = [
        "app_run",
        "_ZN3std9panicking12catch_unwind7do_call17h0123456789abcdefE",
        "_ZN3std9panicking3try17h0123456789abcdefE",
        "_ZN3app6threadEv",
    ];
    let found = Crash { mcause: Some(5), ..Crash::of(&functions) }.report();
    assert_eq!(found.panic.cause, "exception/LoadAccessFault");
    assert_eq!(title(&found), "exception/LoadAccessFault in app_run");
    let classes = found.crashed_task().unwrap().frames.iter().map(Frame::class);
    assert!(classes.into_iter().all(|class| class != FrameClass::Machinery));
    // An exception in the code that looks for a handler is a machinery frame without being an
    // abort.
    let functions = [&["_Unwind_RaiseException", "__cxa_throw"], &APPLICATION[..]].concat();
    let found = Crash { mcause: Some(5), ..Crash::of(&functions) }.report();
    assert_eq!(found.panic.cause, "exception/LoadAccessFault");
}

#[test]
fn the_interrupted_task_has_no_part_in_a_crash_of_its_handler() {
    let crash = Crash {
        tasks: vec![("main", [&ABORT[..], &["__assert_func"], &APPLICATION].concat())],
        handler: vec!["app_isr", "app_dispatch"],
        mcause: Some(7),
        argument: Some("assert failed: app_main app.c:12 (x > 0)"),
        ..Crash::default()
    };
    let found = crash.report();
    let before = found.crashed_task().unwrap().frames.iter().filter_map(|frame| frame.before);
    assert_eq!(before.map(Before::as_str).collect::<Vec<_>>(), ["interrupt"]);
    assert_eq!(found.panic.cause, "exception/StoreAccessFault");
    assert_eq!(title(&found), "exception/StoreAccessFault in app_isr");
    assert!(found.panic.reason.unwrap().starts_with("Store access fault"));
    // There are only machinery frames between the crash and the interrupted task.
    let handler = ABORT.to_vec();
    let tasks = vec![("main", [&["__assert_func"], &APPLICATION[..]].concat())];
    let found = Crash { tasks, handler, ..Crash::default() }.report();
    assert_eq!(found.panic.cause, "abort");
    assert_eq!(found.signature(), None);
}

/// As ESP-IDF 5 prints it, without and with the decoration of log lines.
const NOTE: &str = "Task watchdog got triggered. The following tasks/users did not reset the watchdog in time:\n - IDLE0 (CPU 0)\nTasks currently running:\nCPU 0: busy\nCPU 1: IDLE1\n";
const LOG: &str = "\x1b[0;31mE (10303) task_wdt: Task watchdog got triggered. The following tasks did not reset the watchdog in time:\x1b[0m\r\n\x1b[0;31mE (10303) task_wdt:  - IDLE0 (CPU 0)\x1b[0m\r\n\x1b[0;31mE (10303) task_wdt: Tasks currently running:\x1b[0m\r\n\x1b[0;31mE (10303) task_wdt: CPU 0: busy\x1b[0m\r\n\x1b[0;31mE (10303) task_wdt: CPU 1: IDLE1\x1b[0m\r\n";

/// The watchdog fires while `crashed` runs.
fn watchdog(crashed: &'static str, text: &'static str) -> Crash<'static> {
    let mut tasks = vec![
        ("busy", vec!["app_spin", "app_work", "app_busy"]),
        ("other", vec!["app_other"]),
        ("IDLE0", vec!["esp_vApplicationIdleHook", "prvIdleTask"]),
        ("IDLE1", vec!["esp_vApplicationIdleHook", "prvIdleTask"]),
    ];
    tasks.sort_by_key(|(name, _)| *name != crashed);
    let handler = vec!["panic_abort", "esp_system_abort", "task_wdt_isr", "app_dispatch"];
    Crash { tasks, handler, text: Some(text), ..Crash::default() }
}

fn marked(report: &Report) -> Vec<&str> {
    let guilty = report.tasks.iter().filter(|task| task.guilty);
    guilty.filter_map(|task| task.name.as_deref()).collect()
}

#[test]
fn the_task_that_starves_an_idle_task_is_guilty() {
    for text in [NOTE, LOG] {
        let found = watchdog("busy", text).report();
        assert_eq!(found.panic.cause, "task_wdt");
        assert_eq!(found.panic.guilty, ["busy", "IDLE0"], "{text}");
        assert_eq!(marked(&found), ["busy", "IDLE0"]);
        assert_eq!(title(&found), "task_wdt in app_spin");
        assert!(found.text().contains("\nGuilty:   'busy', 'IDLE0'\n"), "{}", found.text());
        assert!(found.text().contains("\n! * 0x40800000 busy "));
        let structured = serde_json::to_value(found.structured()).unwrap();
        let names = &structured["panic"]["guilty_tasks"];
        assert_eq!(names, &serde_json::json!(["busy", "IDLE0"]));
    }
}

#[test]
fn the_task_that_the_watchdog_interrupted_is_not_part_of_the_signature() {
    let expected = hash(&watchdog("busy", NOTE).report());
    for crashed in ["other", "IDLE1"] {
        let found = watchdog(crashed, NOTE).report();
        assert_eq!(found.crashed_task().unwrap().name.as_deref(), Some(crashed));
        assert_eq!(hash(&found), expected);
    }
    let other = "Task watchdog got triggered. The following tasks/users did not reset the watchdog in time:\n - other (CPU 0/1)";
    let found = watchdog("busy", other).report();
    assert_eq!(found.panic.guilty, ["other"]);
    assert_eq!(title(&found), "task_wdt in app_other");
}

#[test]
fn without_a_list_of_running_tasks_the_crashed_one_starved_the_idle_one_of_its_core() {
    let text = |named: &str| {
        format!("Task watchdog got triggered. The following tasks/users did not reset the watchdog in time:{named}").leak()
    };
    let guilty = |named: &str| watchdog("busy", text(named)).report().panic.guilty;
    assert_eq!(guilty("\n - IDLE0 (CPU 0)"), ["busy", "IDLE0"]);
    assert_eq!(guilty("\n - IDLE1 (CPU 1)"), ["IDLE1"]);
    // A user that is not a task, and a truncated name.
    assert_eq!(guilty("\n - my_user\n - other (CPU 1)\n - oth"), ["other"]);
    assert_eq!(guilty(""), [""; 0]);
    let many: Vec<String> = (0..200).map(|number| format!("\n - t{number} (CPU 0)")).collect();
    assert_eq!(guilty(&many.concat()).len(), 32);
    // If none of the tasks in the text is in the dump, the handler counts.
    assert_eq!(
        title(&watchdog("busy", text("\n - absent (CPU 0)")).report()),
        "task_wdt in task_wdt_isr"
    );
}

#[test]
fn where_there_is_one_idle_task_there_is_one_core() {
    let text = "Task watchdog got triggered. The following tasks/users did not reset the watchdog in time:\n - IDLE (CPU 0)\n - on core 0 (CPU 0)";
    let tasks = vec![("busy", vec!["app_spin", "app_busy"]), ("IDLE", vec!["prvIdleTask"])];
    let found = Crash { tasks, text: Some(text), core: 1, ..Crash::default() }.report();
    assert_eq!(found.panic.guilty, ["busy", "IDLE", "on core 0"]);
    assert_eq!(found.panic.core, Some(1), "the name of a task is not the core of the crash");
}

#[test]
fn the_watchdog_is_recognised_by_its_handler() {
    let crash = Crash { text: None, ..watchdog("busy", "") };
    let found = crash.report();
    assert_eq!(found.panic.cause, "task_wdt");
    assert_eq!(found.panic.guilty, [""; 0], "neither text nor dump names a task");
}

#[test]
fn the_task_on_the_core_of_an_interrupt_watchdog_is_guilty() {
    let text = "Guru Meditation Error: Core  1 panic'ed (Interrupt wdt timeout on CPU1).";
    let crash = Crash { text: Some(text), ..Crash::of(&["app_spin", "app_main"]) };
    let found = crash.report();
    assert_eq!((found.panic.cause.as_str(), found.panic.core), ("int_wdt", Some(1)));
    assert_eq!(found.panic.guilty, ["main"]);
    let found = Crash { text: None, mcause: Some(24), ..crash }.report();
    assert_eq!(found.panic.cause, "int_wdt");
    assert_eq!(marked(&found), ["main"]);
}

#[test]
fn the_task_whose_stack_was_too_small_is_guilty() {
    for text in [
        "***ERROR*** A stack overflow in task worker has been detected.",
        "Debug exception reason: Stack canary watchpoint triggered (worker)",
        "Stack protection fault\nDetected in task \"worker\" at 0x4200c3d5",
    ] {
        let device = Snapshot { panic_details: Some(text.to_owned()), ..snapshot(&dump("Og", 0)) };
        let found = report(&core(&device), &elf("Og"));
        assert_eq!(found.panic.cause, "stack_overflow");
        assert_eq!(
            (marked(&found), found.panic.guilty.clone()),
            (vec!["worker"], vec!["worker".to_owned()])
        );
    }
    let found = Crash { mcause: Some(27), ..Crash::of(&APPLICATION) }.report();
    assert_eq!((found.panic.cause.as_str(), marked(&found)), ("stack_overflow", vec!["main"]));
}

#[test]
fn names_of_copies_are_those_of_their_functions() {
    let copy = abort_by(&["_ZN9__gnu_cxx27__verbose_terminate_handlerEv.cold", "__cxa_throw"]);
    assert_eq!(title(&copy.report()), "abort in app::Station::connect(char const*)");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn any_text_is_survived_and_names_few_tasks(parts in prop::collection::vec(fragment(), 0..200)) {
        let text = format!("{}{}", &NOTE[..NOTE.find('\n').unwrap()], parts.concat());
        let device = Snapshot { panic_details: Some(text), ..snapshot(&dump("Og", 0)) };
        let found = decode(&core(&device), None).unwrap();
        prop_assert_eq!(&found.panic.cause, "task_wdt");
        prop_assert!(found.panic.guilty.len() <= 32);
        prop_assert!(found.text().len() <= 1 << 20);
    }
}

/// Fragments of watchdog texts, and random text.
fn fragment() -> impl Strategy<Value = String> {
    let known = [
        "\n - ",
        "IDLE",
        "0",
        "main",
        "worker",
        " (CPU ",
        "/1",
        ")",
        "\nTasks currently running:",
        "\nCPU 0: ",
        "\nE (1) task_wdt: ",
        "\u{1b}[0m",
        "99999999999",
        "\r",
        " ",
    ];
    prop_oneof![8 => prop::sample::select(known.to_vec()).prop_map(str::to_owned), 1 => ".{0,5}"]
}
