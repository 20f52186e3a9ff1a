//! Reports of the native symbolizer (contract §6.5, §6.7, §6.9), by the real indexer.

use std::path::Path;

use coredock_domain::digest::Sha256Digest;
use coredock_domain::upkeep::sweep::SweepMode;
use coredock_testkit::coredumps::base64_console;
use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use serde_json::{Value, json};

use crate::support::native::{ESP32C6, ESP32S3, Native, RISCV, XTENSA, elf, fixture};
use crate::support::rom_verbs::{RISC_V, rom_elf};
use crate::support::wait_until;

/// Replaces the build id in a dump, as if the firmware with the ELF `after` had written it.
fn made_by(mut dump: Vec<u8>, before: &[u8], after: &[u8]) -> Vec<u8> {
    let [before, after] = [before, after].map(|elf| Sha256Digest::of(elf).to_string());
    let (before, after) = (&before.as_bytes()[..9], &after.as_bytes()[..9]);
    let place = dump.windows(9).position(|digits| digits == before).unwrap();
    dump[place..place + 9].copy_from_slice(after);
    dump
}

fn functions_of_crashed_task(report: &Value) -> Vec<&str> {
    let frames = report["tasks"][0]["frames"].as_array().unwrap();
    frames.iter().filter_map(|frame| frame["function"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_becomes_a_report() {
    let bench = Native::start().await;
    let elf = elf(RISCV);
    bench.publish("1.0.0", ESP32C6, &elf).await;
    let (dump, report) = bench.parsed("1.0.0", fixture(RISCV, "0.dmp")).await;
    let text = dump["parsed_output"].as_str().unwrap();
    for part in ["exception/IllegalInstruction", "total_area", "app_main", "main/app.c"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let sha256 = Sha256Digest::of(&elf).to_string();
    let build = json!({"id": sha256[..9], "match": "exact", "elf_sha256": sha256,
        "model_code": "demo", "firmware_version": "1.0.0"});
    assert_eq!(report["build"], build);
    assert_eq!((&report["format"], &report["engine"]), (&json!(1), &json!("native")));
    assert_eq!(report["chip"], "esp32c6");
    assert_eq!(report["crashed_task"]["name"], "main");
    assert_eq!(report["signature"]["hash"], dump["signature"]);
    assert_eq!(dump["signature"].as_str().unwrap().len(), 16);
    let functions = functions_of_crashed_task(&report);
    assert!(functions.starts_with(&["clamped", "side", "area"]), "{functions:?}");

    let (other, _) = bench.parsed("1.0.0", fixture(RISCV, "1.dmp")).await;
    assert!(other["parsed_output"].as_str().unwrap().contains("app_main"));
    assert_eq!((bench.indexes("built").await, bench.indexes("kept").await), (1, 2));
    let ready = bench.server.get("/health/readyz").await.expect(200).json();
    assert_eq!(ready["symbolizer"], json!({"ok": true, "engine": "native"}));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dumps_of_xtensa_become_reports_too() {
    let bench = Native::start().await;
    bench.publish("1.0.0", ESP32S3, &elf(XTENSA)).await;
    let (dump, report) = bench.parsed("1.0.0", fixture(XTENSA, "0.dmp")).await;
    assert!(dump["parsed_output"].as_str().unwrap().contains("with_large_frame"));
    assert_eq!(report["chip"], "esp32s3");
    assert_eq!(functions_of_crashed_task(&report)[0], "with_large_frame");
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_dump_gets_the_lines_of_its_build_if_a_version_has_two() {
    let bench = Native::start().await;
    let builds = [RISCV, "riscv/O2"].map(|build| (build, elf(build)));
    for (_, elf) in &builds {
        bench.publish("1.0.0", ESP32C6, elf).await;
    }
    for dump in ["0.dmp", "1.dmp"] {
        for (build, elf) in &builds {
            let (_, report) = bench.parsed("1.0.0", fixture(build, dump)).await;
            assert_eq!(report["build"]["elf_sha256"], Sha256Digest::of(elf).to_string());
            assert!(functions_of_crashed_task(&report).contains(&"app_main"), "{report}");
        }
        // The first build is the newest one again.
        bench.publish("1.0.0", ESP32C6, &builds[0].1).await;
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_elf_that_was_deleted_is_not_found_until_it_is_uploaded_again() {
    let bench = Native::wrapped(&[("SYMBOLS_KEEP_DAYS", "0")], |adapters| adapters).await;
    let (old, new) = (elf(RISCV), elf("riscv/O2"));
    bench.publish("1.0.0", ESP32C6, &old).await;
    bench.parsed("1.0.0", fixture(RISCV, "0.dmp")).await;
    bench.publish("2.0.0", ESP32C6, &new).await;
    let version = format!("/api/device-models/{}/firmware-versions/1.0.0", bench.demo.model_id);
    bench.server.delete(&version).await.expect(204);
    // Symbols outlive their version until the next sweep.
    bench.parsed("1.0.0", fixture(RISCV, "1.dmp")).await;
    bench.server.running().features().upkeep.sweep(SweepMode::Confirmed).await.unwrap();
    bench.server.wait_for_empty_outbox().await;
    let id = bench.deliver("1.0.0", fixture(RISCV, "2.dmp")).await;
    bench.wait(id, "ERROR").await;
    assert_eq!(bench.state(id).await["error"]["code"], "ELF_NOT_FOUND");
    bench.publish("1.0.0", ESP32C6, &old).await;
    bench.wait(id, "PARSED").await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_of_one_build_wait_for_one_index() {
    let bench = Native::wrapped(&[("SYMBOLIZER_WORKERS", "4")], |adapters| adapters).await;
    let mut ids = Vec::new();
    for name in ["0.dmp", "1.dmp", "2.dmp", "3.dmp", "4.dmp", "5.dmp"] {
        let id = bench.deliver("1.0.0", fixture(RISCV, name)).await;
        bench.wait(id, "ERROR").await;
        ids.push(id);
    }
    // All of them are due at once.
    bench.publish("1.0.0", ESP32C6, &elf(RISCV)).await;
    for id in ids {
        bench.wait(id, "PARSED").await;
    }
    assert_eq!((bench.indexes("built").await, bench.indexes("kept").await), (1, 6));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v50_the_report_says_what_the_stored_body_was() {
    let bench = Native::start().await;
    bench.publish("1.0.0", ESP32C6, &elf(RISCV)).await;
    let core = fixture(RISCV, "2.dmp");
    let stripped = [&core[12..], &[0xA5; 28]].concat();
    let (_, whole) = bench.parsed("1.0.0", core.clone()).await;
    assert_eq!((&whole["container"], &whole["salvaged"]), (&json!("elf"), &json!(false)));
    let (_, report) = bench.parsed("1.0.0", stripped).await;
    assert_eq!((&report["container"], &report["salvaged"]), (&json!("stripped-elf"), &json!(true)));
    assert_eq!(report["tasks"], whole["tasks"]);
    let (_, report) = bench.parsed("1.0.0", base64_console(&core, 48)).await;
    assert_eq!(report["container"], "elf");
    assert_eq!(report["tasks"], whole["tasks"]);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v49_a_partial_report_is_made_without_the_elf() {
    let bench = Native::start().await;
    let (message, report) = bench.refused("1.0.0", fixture(RISCV, "3.dmp"), "ELF_NOT_FOUND").await;
    let elf = elf(RISCV);
    assert!(message.contains(&Sha256Digest::of(&elf).to_string()[..9]), "{message}");
    assert_eq!(report["build"]["match"], "none");
    assert_eq!(report["build"]["elf_sha256"], Value::Null);
    assert_eq!(report["chip"], "esp32c6");
    assert_eq!(functions_of_crashed_task(&report), [""; 0]);
    assert_eq!(report["signature"], Value::Null);
    bench.publish("1.0.0", ESP32C6, &elf).await;
    let id = bench.server.dump_ids(bench.demo.device.id).await[0];
    bench.wait(id, "PARSED").await;
    assert_eq!(bench.state(id).await["report"]["build"]["match"], "exact");
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_is_not_a_dump_is_reported_with_and_without_an_elf() {
    let bench = Native::start().await;
    for _ in 0..2 {
        for body in ["nothing at all", "\x7fELF but no more of it"] {
            let (_, report) = bench.refused("1.0.0", body.into(), "DUMP_UNREADABLE").await;
            assert_eq!(report, Value::Null);
        }
        bench.publish("1.0.0", ESP32C6, &elf(RISCV)).await;
        bench.server.delete(&format!("/api/devices/{}/coredumps", bench.demo.device.id)).await;
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_elf_that_cannot_be_indexed_ends_its_dumps_and_nothing_else() {
    let bench = Native::start().await;
    let good = elf(RISCV);
    bench.publish("1.0.0", ESP32C6, &good).await;
    let (mut cut, mut rest) = (good.clone(), fixture(RISCV, "0.dmp"));
    cut.truncate(60);
    bench.publish("2.0.0", ESP32C6, &cut).await;
    rest = made_by(rest, &good, &cut);
    let (message, report) = bench.refused("2.0.0", rest, "ELF_UNREADABLE").await;
    assert!(message.starts_with("expected a 32-bit little-endian ELF"), "{message}");
    assert_eq!(report["chip"], "esp32c6");
    let again = made_by(fixture(RISCV, "1.dmp"), &good, &cut);
    bench.refused("2.0.0", again, "ELF_UNREADABLE").await;
    assert_eq!((bench.indexes("unreadable").await, bench.indexes("kept").await), (1, 2));

    let other = elf(XTENSA);
    bench.publish("3.0.0", ESP32S3, &other).await;
    let dump = made_by(fixture(RISCV, "0.dmp"), &good, &other);
    let (message, _) = bench.refused("3.0.0", dump, "ELF_UNREADABLE").await;
    assert!(message.contains("expected an ELF for RISC-V"), "{message}");
    bench.parsed("1.0.0", fixture(RISCV, "0.dmp")).await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indexer_that_crashes_is_a_failed_attempt() {
    let (bench, _directory) = Native::with_indexer("kill -SEGV $$", &[]).await;
    bench.publish("1.0.0", ESP32C6, &elf(RISCV)).await;
    let id = bench.deliver("1.0.0", fixture(RISCV, "0.dmp")).await;
    bench.wait(id, "ERROR").await;
    let state = bench.state(id).await;
    assert_eq!(state["error"]["code"], "ENGINE_FAILED", "{state}");
    assert_eq!(state["error"]["message"], "the indexer of ELFs crashed");
    assert_eq!(state["attempts"], 3);
    assert_eq!(state["report"]["chip"], "esp32c6");
    assert_eq!(bench.indexes("failed").await, 6, "three for the version, three for the dump");
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indexer_that_meets_its_limits_reports_the_elf() {
    for (script, reason) in [
        ("kill -XCPU $$", "the ELF takes too long to be indexed"),
        ("kill -XFSZ $$", "the index of the ELF is too large"),
    ] {
        let (bench, _directory) = Native::with_indexer(script, &[]).await;
        bench.publish("1.0.0", ESP32C6, &elf(RISCV)).await;
        let dump = fixture(RISCV, "0.dmp");
        let (message, _) = bench.refused("1.0.0", dump, "ELF_UNREADABLE").await;
        assert_eq!(message, reason);
        bench.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_elf_for_which_the_indexer_lacks_memory_is_reported() {
    // Enough memory to start the program, but not to read an ELF with this many numbers.
    const MEMORY_KIB: u32 = 96 << 10;
    const NUMBERS: u32 = 12 << 20;
    let indexer = env!("CARGO_BIN_EXE_coredock");
    let script = format!("ulimit -v {MEMORY_KIB}; exec {indexer} build-index");
    let (bench, _directory) = Native::with_indexer(&script, &[]).await;
    let (small, reason) = (elf(RISCV), "the ELF takes too much memory to be indexed");
    bench.publish("0.9.0", ESP32C6, &small).await;
    bench.parsed("0.9.0", fixture(RISCV, "0.dmp")).await;
    let mut large = small.clone();
    large.extend((0..NUMBERS).flat_map(u32::to_le_bytes));
    let line = bench.publish("1.0.0", ESP32C6, &large).await;
    assert_eq!((&line["index_status"], &line["index_error"]), (&json!("failed"), &json!(reason)));
    let dump = made_by(fixture(RISCV, "0.dmp"), &small, &large);
    let (message, _) = bench.refused("1.0.0", dump, "ELF_UNREADABLE").await;
    assert_eq!(message, reason);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_output_of_an_indexer_is_checked() {
    let (bench, _directory) = Native::with_indexer("echo no index", &[]).await;
    bench.publish("1.0.0", ESP32C6, &elf(RISCV)).await;
    bench.refused("1.0.0", fixture(RISCV, "0.dmp"), "ENGINE_FAILED").await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indexer_that_hangs_is_killed_with_its_attempt() {
    let notes = tempfile::tempdir().unwrap();
    let note = notes.path().join("pids");
    let script = format!("echo $$ >> {}; exec sleep 600", note.display());
    let settings =
        [("PARSE_TIMEOUT_SECONDS", "1"), ("PARSE_LEASE_SECONDS", "2"), ("PARSE_MAX_ATTEMPTS", "2")];
    let (bench, _directory) = Native::with_indexer(&script, &settings).await;
    bench.publish("1.0.0", ESP32C6, &elf(RISCV)).await;
    let dump = fixture(RISCV, "0.dmp");
    let (message, _) = bench.refused("1.0.0", dump, "ENGINE_FAILED").await;
    assert_eq!(message, "the engine did not answer within 1 s");
    let pids = std::fs::read_to_string(&note).unwrap();
    assert_eq!(pids.lines().count(), 4, "two for the version, two for the dump");
    for pid in pids.lines() {
        let of_process = Path::new("/proc").join(pid);
        wait_until("the indexer has ended", || !of_process.exists()).await;
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_waits_for_rom_elfs_that_cannot_be_read_now_and_not_for_damaged_ones() {
    let bench = Native::start().await;
    bench.publish("1.0.0", ESP32C6, &elf(RISCV)).await;
    let rom = bench.server.post_rom("esp32c6", "rev0", rom_elf(RISC_V, "rev0")).await;
    rom.expect(201);
    let fault = FaultRule::new(Fault::Fail).on(Operation::Open).key("rom/");
    bench.server.store.inject(fault);
    let id = bench.deliver("1.0.0", fixture(RISCV, "0.dmp")).await;
    bench.server.wait_for_metric("coredock_symbolication_total", "put_back", 1).await;
    let state = bench.state(id).await;
    assert_eq!((&state["parse_status"], &state["attempts"]), (&json!("PENDING"), &json!(0)));
    bench.server.store.clear_faults();
    bench.parsed("1.0.0", fixture(RISCV, "1.dmp")).await;
    bench.finish().await;
}
