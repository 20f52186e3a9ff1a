//! Dumps become reports (contract §6.5, §6.8, §6.11), by a scripted sidecar over real HTTP.

mod elf_choice;
mod indexes;
mod native_reports;
mod storms;

use std::sync::atomic::Ordering;

use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use coredock_testkit::gate::Gate;
use coredock_testkit::sidecar::Reply;
use serde_json::{Value, json};

use crate::support::parsing::{Parsing, build_of};
use crate::support::wait_until;

#[tokio::test(flavor = "multi_thread")]
async fn v46_a_sidecar_that_fails_twice_is_asked_three_times() {
    let bench = Parsing::start().await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    bench.sidecar.script([Reply::status(500), Reply::status(500), Reply::output("bt")]);
    let id = bench.deliver("1.2.3", "a dump").await;
    let dump = bench.wait(id, "PARSED").await;
    assert_eq!(dump["parsed_output"], "bt");
    assert!(dump["parsed_at"].is_string());
    let calls = bench.sidecar.calls();
    assert_eq!(calls.len(), 3);
    for call in calls {
        let query = format!("core=coredump_{id}.dmp&elf=demo-{id}.elf&chip=esp32s3");
        assert_eq!(call.raw_query, query);
        assert_eq!(call.core_bytes.as_deref(), Some(&b"a dump"[..]));
        assert!(call.elf_bytes.is_some());
    }
    let report = bench.report(id).await;
    assert_eq!(report["attempts"], 3);
    assert_eq!(
        (&report["error"], &report["report"], &report["next_attempt_at"]),
        (&Value::Null, &Value::Null, &Value::Null)
    );
    let parsed = "iot_config_operations_total";
    assert_eq!(bench.server.metric_where(parsed, "coredump_parse").await, 1);
    let retried = bench.server.metric_where("coredock_symbolication_total", "retried").await;
    assert_eq!(retried, 2);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn v47_two_parses_of_a_model_see_their_own_builds() {
    let bench = Parsing::start().await;
    for (version, elf) in [("1.0.0", "\u{7f}ELF one"), ("2.0.0", "\u{7f}ELF two")] {
        bench.server.upload("demo", build_of(version, elf.as_bytes())).await.expect(200);
    }
    bench.sidecar.script([Reply::hang(), Reply::hang()]);
    let first = bench.deliver("1.0.0", "first").await;
    let second = bench.deliver("2.0.0", "second").await;
    let calls = bench.sidecar.wait_for_calls(2).await;
    bench.sidecar.release();
    for (id, body, elf) in [(first, "first", "\u{7f}ELF one"), (second, "second", "\u{7f}ELF two")]
    {
        let call = calls.iter().find(|call| call.core == format!("coredump_{id}.dmp")).unwrap();
        assert_eq!(call.elf, format!("demo-{id}.elf"));
        assert_eq!(call.core_bytes.as_deref(), Some(body.as_bytes()));
        assert_eq!(call.elf_bytes.as_deref(), Some(elf.as_bytes()));
        bench.wait(id, "PARSED").await;
    }
    assert_eq!(bench.sidecar.max_running(), 2);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_more_parses_run_at_once_than_there_are_workers() {
    let bench = Parsing::with(&[("MAX_COREDUMPS", "50")]).await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    bench.sidecar.script([Reply::hang(), Reply::hang()]);
    let mut ids = Vec::new();
    for n in 0..20 {
        ids.push(bench.deliver("1.2.3", n.to_string()).await);
    }
    bench.sidecar.wait_for_calls(2).await;
    bench.sidecar.release();
    for id in ids {
        bench.wait(id, "PARSED").await;
    }
    assert_eq!((bench.sidecar.max_running(), bench.sidecar.calls().len()), (2, 20));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_is_final() {
    let bench = Parsing::start().await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    bench.sidecar.script([Reply::status(422)]);
    let id = bench.deliver("1.2.3", "dump").await;
    let message = bench.wait_for_error(id, "ENGINE_REFUSED").await;
    assert!(message.contains("422"), "{message}");
    assert_eq!((bench.sidecar.calls().len(), &bench.report(id).await["attempts"]), (1, &json!(1)));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn failures_end_after_the_last_attempt() {
    let bench = Parsing::with(&[("PARSE_TIMEOUT_SECONDS", "1")]).await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    bench.sidecar.script([Reply::body(200, "no JSON"), Reply::redirect(), Reply::hang()]);
    let id = bench.deliver("1.2.3", "dump").await;
    bench.wait_for_error(id, "ENGINE_FAILED").await;
    assert_eq!((bench.sidecar.calls().len(), &bench.report(id).await["attempts"]), (3, &json!(3)));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_does_not_count_as_an_attempt() {
    let bench = Parsing::start().await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    bench.server.store.inject(FaultRule::new(Fault::Fail).on(Operation::Open).nth(1));
    let id = bench.deliver("1.2.3", "dump").await;
    let rows = bench.server.rows();
    wait_until("the job is postponed", || {
        rows.count("coredumps", "attempts = 0 AND next_attempt_at > uploaded_at") == 1
    })
    .await;
    assert_eq!(bench.sidecar.calls().len(), 0);
    assert_eq!(bench.report(id).await["attempts"], 0);
    let (due, uploaded) = (rows.seconds_of("next_attempt_at"), rows.seconds_of("uploaded_at"));
    let delayed = format!("{due} - {uploaded} BETWEEN 29 AND 32");
    assert_eq!(rows.count("coredumps", &delayed), 1, "30 s");
    rows.execute("UPDATE coredumps SET next_attempt_at = uploaded_at");
    bench.wait(id, "PARSED").await;
    assert_eq!(bench.report(id).await["attempts"], 1);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_shared_directory_does_not_count_as_an_attempt() {
    let bench = Parsing::start().await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    let aside = tempfile::tempdir().unwrap();
    let moved = aside.path().join("moved");
    std::fs::rename(bench.directory.path(), &moved).unwrap();
    let id = bench.deliver("1.2.3", "dump").await;
    let rows = bench.server.rows();
    wait_until("the job is postponed", || {
        rows.count("coredumps", "attempts = 0 AND next_attempt_at > uploaded_at") == 1
    })
    .await;
    let ready = bench.server.get("/health/readyz").await.expect(200).json();
    assert_eq!(ready["degraded"], json!(["symbolizer"]));
    std::fs::rename(&moved, bench.directory.path()).unwrap();
    rows.execute("UPDATE coredumps SET next_attempt_at = uploaded_at");
    bench.wait(id, "PARSED").await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_waits_for_an_unreachable_database() {
    let bench = Parsing::with(&[("PARSE_MAX_ATTEMPTS", "1")]).await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    bench.sidecar.script([Reply::hang()]);
    let id = bench.deliver("1.2.3", "dump").await;
    bench.sidecar.wait_for_calls(1).await;
    let locked = bench.server.rows();
    locked.block_dumps();
    bench.sidecar.release();
    let errors = || bench.server.adapters.database.failures().unavailable.load(Ordering::Relaxed);
    let before = errors();
    wait_until("the database refuses the report", || errors() > before).await;
    locked.unblock_dumps();
    bench.wait(id, "PARSED").await;
    assert_eq!(bench.sidecar.calls().len(), 1, "the report was made once");
    assert_eq!(bench.report(id).await["attempts"], 1);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postponed_parse_makes_room_for_newer_dumps() {
    let bench = Parsing::with(&[("MAX_COREDUMPS", "1"), ("PARSE_RETRY_DELAYS", "600")]).await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    bench.sidecar.script([Reply::hang(), Reply::hang()]);
    bench.deliver("1.2.3", "one").await;
    bench.deliver("1.2.3", "two").await;
    bench.sidecar.wait_for_calls(2).await;
    let newest = bench.deliver("1.2.3", "three").await;
    assert_eq!(bench.server.rows().count("coredumps", "1=1"), 3, "both parses run");
    bench.sidecar.script([Reply::status(500)]);
    bench.sidecar.release();
    let rows = bench.server.rows();
    wait_until("the surplus was deleted", || rows.count("coredumps", "1=1") == 1).await;
    assert_eq!(bench.server.dump_ids(bench.demo.device.id).await, [newest]);
    let pruned = "coredock_retention_removed_total";
    assert_eq!(bench.server.metric_where(pruned, "coredumps").await, 2);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn jobs_wait_while_there_is_no_symbolizer() {
    let bench = Parsing::with(&[("SYMBOLIZER", "off")]).await;
    let id = bench.deliver("1.2.3", "dump").await;
    let report = bench.report(id).await;
    assert_eq!((&report["parse_status"], &report["attempts"]), (&json!("PENDING"), &json!(0)));
    assert!(report["next_attempt_at"].is_string(), "due, and no worker claims it");
    assert_eq!(bench.sidecar.calls().len(), 0);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_object_is_reported_and_not_retried() {
    let bench = Parsing::start().await;
    bench.sidecar.script([Reply::status(500), Reply::hang()]);
    bench.server.upload_demo("1.2.3").await.expect(200);
    let id = bench.deliver("1.2.3", "dump").await;
    bench.sidecar.wait_for_calls(2).await;
    let object = format!("coredumps/{}/{id}.dmp", bench.demo.device.key);
    std::fs::remove_file(bench.server.artifact_dir().join(&object)).unwrap();
    bench.sidecar.release();
    bench.wait(id, "PARSED").await;
    bench.server.post(&format!("{}/reparse", bench.path(id)), "").await.expect(202);
    bench.wait_for_error(id, "DUMP_MISSING").await;
    let violations = "coredock_invariant_violations_total";
    assert_eq!(bench.server.metric_where(violations, "object_missing").await, 1);
    bench.server.finish_broken().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_parsed_again_on_request() {
    let bench = Parsing::start().await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    let id = bench.deliver("1.2.3", "dump").await;
    bench.wait(id, "PARSED").await;
    bench.sidecar.script([Reply::hang(), Reply::output("again")]);
    let reparse = format!("{}/reparse", bench.path(id));
    let pending = bench.server.post(&reparse, "").await.expect(202).json();
    assert_eq!(pending["parse_status"], "PENDING");
    assert_eq!((&pending["parsed_at"], &pending["parsed_output"]), (&Value::Null, &Value::Null));
    bench.sidecar.wait_for_calls(2).await;
    bench.server.post(&reparse, "").await.expect(202);
    assert_eq!(bench.server.rows().count("coredumps", "lease_owner IS NOT NULL"), 1, "unchanged");
    bench.sidecar.release();
    bench.wait(id, "PARSED").await;
    assert_eq!(bench.report(id).await["attempts"], 1);
    let audited = "action = 'coredump.updated'";
    assert_eq!(bench.server.rows().count("audit_records", audited), 1);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_deleted_during_its_parse_stays_deleted() {
    let bench = Parsing::start().await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    bench.sidecar.script([Reply::hang()]);
    let id = bench.deliver("1.2.3", "dump").await;
    bench.sidecar.wait_for_calls(1).await;
    bench.server.delete(&bench.path(id)).await.expect(204);
    bench.sidecar.release();
    let next = bench.deliver("1.2.3", "next").await;
    bench.wait(next, "PARSED").await;
    assert_eq!(bench.server.dump_ids(bench.demo.device.id).await, [next]);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_deleted_before_its_parse_read_it_breaks_no_invariant() {
    let bench = Parsing::start().await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    let gate = Gate::new();
    let hold = FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Open).key("coredumps/");
    bench.server.store.inject(hold.nth(1));
    let id = bench.deliver("1.2.3", "dump").await;
    gate.arrived().await;
    bench.server.delete(&bench.path(id)).await.expect(204);
    bench.server.wait_for_empty_outbox().await;
    gate.open();
    let next = bench.deliver("1.2.3", "next").await;
    bench.wait(next, "PARSED").await;
    bench.server.wait_for_metric("coredock_symbolication_total", "dropped", 1).await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_parse_is_spared_by_retention_until_it_ends() {
    let bench = Parsing::with(&[("MAX_COREDUMPS", "1")]).await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    bench.sidecar.script([Reply::hang()]);
    let running = bench.deliver("1.2.3", "running").await;
    bench.sidecar.wait_for_calls(1).await;
    let next = bench.deliver("1.2.3", "next").await;
    assert_eq!(bench.server.dump_ids(bench.demo.device.id).await, [next, running]);
    bench.sidecar.release();
    let rows = bench.server.rows();
    wait_until("the surplus dump was deleted", || rows.count("coredumps", "1=1") == 1).await;
    assert_eq!(bench.server.dump_ids(bench.demo.device.id).await, [next]);
    bench.wait(next, "PARSED").await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parse_is_given_back_when_the_server_stops() {
    let bench = Parsing::start().await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    bench.sidecar.script([Reply::hang()]);
    bench.deliver("1.2.3", "dump").await;
    bench.sidecar.wait_for_calls(1).await;
    let (rows, _place) = (bench.server.rows(), bench.server.place());
    assert_eq!(rows.count("coredumps", "attempts = 1 AND lease_owner IS NOT NULL"), 1);
    bench.finish().await;
    let given_back = "attempts = 0 AND lease_owner IS NULL AND parse_status = 'PENDING'";
    assert_eq!(rows.count("coredumps", given_back), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn reports_contain_no_nul_and_are_cut_at_a_mebibyte() {
    let bench = Parsing::start().await;
    bench.server.upload_demo("1.2.3").await.expect(200);
    let long = json!({"output": "x".repeat(3 << 20)}).to_string();
    let replies = [Reply::body(200, r#"{"output":"a\u0000b"}"#), Reply::body(200, "{}")];
    bench.sidecar.script(replies.into_iter().chain([Reply::body(200, long)]));
    for (body, expected) in [("one", Some("ab")), ("two", Some("")), ("three", None)] {
        let id = bench.deliver("1.2.3", body).await;
        let dump = bench.wait(id, "PARSED").await;
        let output = dump["parsed_output"].as_str().unwrap();
        match expected {
            Some(expected) => assert_eq!(output, expected),
            None => assert!(output.len() <= 1 << 20 && output.ends_with("1 MiB]"), "cut"),
        }
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_show_the_queue() {
    let bench = Parsing::start().await;
    let ready = bench.server.get("/health/readyz").await.expect(200).json();
    assert_eq!(ready["symbolizer"], json!({"ok": true, "engine": "sidecar"}));
    bench.server.upload_demo("1.2.3").await.expect(200);
    let id = bench.deliver("1.2.3", "dump").await;
    bench.wait(id, "PARSED").await;
    let matches = bench.server.metric_where("coredock_symbolication_match_total", "version").await;
    assert_eq!(matches, 1);
    let series = String::from_utf8(bench.server.get("/metrics").await.body.to_vec()).unwrap();
    for name in [
        "coredock_coredumps{status=\"PENDING\"}",
        "coredock_parse_jobs{state=\"ready\"}",
        "coredock_parse_oldest_ready_seconds",
        "coredock_coredump_ingest_bytes_total 4",
        "coredock_coredump_ingest_duration_seconds_count 1",
        "coredock_symbolication_duration_seconds_count{engine=\"sidecar\"} 1",
    ] {
        assert!(series.contains(name), "{name}");
    }
    bench.finish().await;
}
