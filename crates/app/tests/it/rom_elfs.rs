//! ROM ELFs (contract §8.2).

use std::sync::Arc;
use std::time::Duration;

use coredock_domain::digest::Sha256Digest;
use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use coredock_testkit::gate::Gate;
use futures::future::join_all;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::failing_commits::CommitFault;
use crate::support::failing_roms::FailingRoms;
use crate::support::rom_verbs::{RISC_V, rom_elf};
use crate::support::{TestServer, raw, wait_until};

const XTENSA: u16 = 94;
const MAX_BYTES: usize = 16 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread")]
async fn a_rom_elf_is_uploaded_listed_and_deleted() {
    let server = TestServer::start().await;
    assert_eq!(
        server.get("/api/rom-elfs").await.expect(200).json(),
        json!({"count": 0, "rom_elfs": []})
    );
    let elf = rom_elf(RISC_V, "first");
    let uploaded = server.post_rom("ESP32C6", "%20rev%200%20", elf.clone()).await.expect(201);
    let rom = uploaded.json();
    let sha256 = Sha256Digest::of(&elf).to_string();
    let expected = json!({"id": 1, "chip": "esp32c6", "name": "rev 0", "size": elf.len(),
        "sha256": sha256, "uploaded_at": rom["uploaded_at"]});
    assert_eq!(rom, expected);
    assert_eq!(rom["uploaded_at"].as_str().unwrap().len(), 27);
    assert_eq!(server.roms().await, std::slice::from_ref(&rom));
    let key = format!("rom/{sha256}.elf");
    assert_eq!(server.stored_keys(), [key.as_str()]);
    assert_eq!(server.object(&key), elf);
    server.delete_rom(&rom).await;
    assert!(server.roms().await.is_empty());
    server.wait_for_empty_outbox().await;
    assert!(server.stored_keys().is_empty());
    let deleted = server.delete("/api/rom-elfs/1").await.expect_error(404, "RECORD_NOT_FOUND");
    assert!(deleted.contains("RomElf 1"), "{deleted}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_list_is_by_chip_and_name_and_survives_a_restart() {
    let server = TestServer::start().await;
    for (chip, name, machine) in [
        ("esp32s3", "a", XTENSA),
        ("esp32", "b", XTENSA),
        ("esp32", "B", XTENSA),
        ("esp32c61", "x", RISC_V),
        ("esp32c6", "x", RISC_V),
    ] {
        server.post_rom(chip, name, rom_elf(machine, &format!("{chip}{name}"))).await.expect(201);
    }
    let server = server.restart().await;
    let lines: Vec<_> =
        server.roms().await.iter().map(|rom| format!("{} {}", rom["chip"], rom["name"])).collect();
    let expected = ["esp32 B", "esp32 b", "esp32c6 x", "esp32c61 x", "esp32s3 a"];
    assert_eq!(lines.join("|").replace('"', ""), expected.join("|"));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn routes_have_their_methods_and_head_answers_like_get() {
    let server = TestServer::start().await;
    server.upload_rom("first").await;
    let get = server.get("/api/rom-elfs").await.expect(200);
    let head = server.head("/api/rom-elfs").await.expect(200);
    assert_eq!(get.header("content-length"), head.header("content-length"));
    let refused = server.put("/api/rom-elfs", "").await;
    assert_eq!(refused.header("allow"), "GET, HEAD, POST");
    refused.expect_error(405, "METHOD_NOT_ALLOWED");
    let refused = server.get("/api/rom-elfs/1").await;
    assert_eq!(refused.header("allow"), "DELETE");
    refused.expect_error(405, "METHOD_NOT_ALLOWED");
    server.delete("/api/rom-elfs/x").await.expect_error(404, "ROUTE_NOT_FOUND");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_faults_of_the_query_are_reported_together() {
    let server = TestServer::start().await;
    let long = "a".repeat(65);
    let cases = [
        ("", r#"["chip","name"]"#),
        ("?chip=&name=", r#"["chip","name"]"#),
        ("?chip=esp8266&name=a", r#"["chip"]"#),
        ("?chip=esp32%0A&name=a", r#"["chip"]"#),
        ("?chip=0xabcd&name=a", r#"["chip"]"#),
        ("?chip=esp32&name=%20", r#"["name"]"#),
        ("?chip=esp32&name=a%07b", r#"["name"]"#),
        ("?chip=esp32&name=%ff", r#"["name"]"#),
        (&format!("?chip=esp32&name={long}"), r#"["name"]"#),
    ];
    for (query, fields) in cases {
        let answer = server.post(&format!("/api/rom-elfs{query}"), rom_elf(XTENSA, "x")).await;
        let faults = answer.expect_error(400, "VALIDATION_FAILED");
        let faults: Vec<Value> = serde_json::from_str(&faults).unwrap();
        let named: Vec<_> = faults.iter().map(|fault| fault["field"].clone()).collect();
        assert_eq!(json!(named).to_string(), fields, "{query}");
    }
    assert!(server.roms().await.is_empty());
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_body_that_is_not_a_rom_elf_of_the_chip_is_refused_with_the_reason() {
    let server = TestServer::start().await;
    let changed = |place: usize, byte: u8| {
        let mut elf = rom_elf(RISC_V, "");
        elf[place] = byte;
        elf
    };
    let cases = [
        (Vec::new(), "empty"),
        (b"PK\x03\x04 is not an ELF".to_vec(), "does not begin with the header of an ELF"),
        (rom_elf(RISC_V, "")[..40].to_vec(), "does not begin with the header of an ELF"),
        (changed(4, 2), "32-bit"),
        (changed(5, 2), "little-endian"),
        (
            rom_elf(XTENSA, ""),
            "RISC-V (machine 243), the architecture of esp32c6, found machine 94",
        ),
        (changed(16, 4), "executable"),
        (rom_elf(RISC_V, "")[..131].to_vec(), "section table"),
    ];
    server.store.clear_calls();
    for (body, reason) in cases {
        let answer = server.post_rom("esp32c6", "x", body).await;
        let message = answer.expect_error(400, "VALIDATION_FAILED");
        assert!(message.contains(reason), "{message}");
    }
    assert_eq!(server.store.count(Operation::Put), 0);
    assert_eq!(server.rows().count("rom_elfs", "1=1"), 0);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_over_the_limit_is_refused_by_its_header_and_by_its_bytes() {
    let server = TestServer::start().await;
    let mut elf = rom_elf(RISC_V, "");
    elf.resize(MAX_BYTES, 0);
    server.post_rom("esp32c6", "largest", elf.clone()).await.expect(201);
    elf.push(0);
    let declared = server.post_rom("esp32c6", "x", elf.clone()).await;
    let message = declared.expect_error(413, "PAYLOAD_TOO_LARGE");
    assert!(message.contains("16777216"), "{message}");
    let pieces = futures::stream::iter(
        elf.chunks(1 << 20)
            .map(|piece| Ok::<_, std::io::Error>(piece.to_vec()))
            .collect::<Vec<_>>(),
    );
    let chunked = reqwest::Body::wrap_stream(pieces);
    let answer = server.post("/api/rom-elfs?chip=esp32c6&name=x", chunked).await;
    answer.expect_error(413, "PAYLOAD_TOO_LARGE");
    assert_eq!(server.roms().await.len(), 1);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_same_bytes_are_stored_once_under_any_name() {
    let server = TestServer::start().await;
    let rom = server.upload_rom("first").await;
    server.store.clear_calls();
    let again = server.post_rom("esp32p4", "other", rom_elf(RISC_V, "first")).await;
    let message = again.expect_error(409, "RECORD_EXISTS");
    assert!(message.contains("RomElf 1") && message.contains("first"), "{message}");
    assert_eq!(server.store.count(Operation::Put), 0);
    assert_eq!(server.roms().await, [rom]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_of_simultaneous_uploads_of_the_same_bytes_succeeds() {
    let server = TestServer::start().await;
    let uploads = (0..12).map(|n| {
        let server = &server;
        async move { server.post_rom("esp32c6", &n.to_string(), rom_elf(RISC_V, "same")).await }
    });
    let answers = join_all(uploads).await;
    let created = answers.iter().filter(|answer| answer.status == 201).count();
    let others = answers.into_iter().filter(|answer| answer.status != 201);
    others.for_each(|answer| drop(answer.expect_error(409, "RECORD_EXISTS")));
    assert_eq!((created, server.roms().await.len()), (1, 1));
    assert_eq!(server.rows().count("leases", "1=1"), 0);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_and_deletes_of_the_same_bytes_never_give_500() {
    let server = TestServer::start().await;
    let work = (0..60).map(|n| {
        let server = &server;
        async move {
            let (answer, allowed): (_, &[u16]) = if n % 2 == 0 {
                (server.post_rom("esp32c6", "x", rom_elf(RISC_V, "same")).await, &[201, 409])
            } else {
                let ids = server.roms().await;
                let id = ids.first().map_or_else(|| json!(1), |rom| rom["id"].clone());
                (server.delete(&format!("/api/rom-elfs/{id}")).await, &[204, 404])
            };
            assert!(allowed.contains(&answer.status), "{n}: {answer:?}");
        }
    });
    join_all(work).await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_upload_that_fails_at_the_store_leaves_nothing_visible() {
    let server = TestServer::start().await;
    for fault in [Fault::Fail, Fault::FailAfter] {
        server.store.inject(FaultRule::new(fault).on(Operation::Put).nth(1));
        let answer = server.post_rom("esp32c6", "x", rom_elf(RISC_V, "first")).await;
        answer.expect_error(503, "SERVICE_UNAVAILABLE");
        assert!(server.roms().await.is_empty());
        assert_eq!(server.rows().count("audit_records", "1=1"), 0);
        assert_eq!(server.rows().count("leases", "1=1"), 0);
        server.store.clear_faults();
    }
    server.store.set_down(true);
    let answer = server.post_rom("esp32c6", "x", rom_elf(RISC_V, "first")).await;
    answer.expect_error(503, "SERVICE_UNAVAILABLE");
    server.get("/api/rom-elfs").await.expect(200);
    server.store.set_down(false);
    server.upload_rom("first").await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_fails_is_a_503_and_repeating_is_safe() {
    for (fault, repeated) in [(CommitFault::Before, 201), (CommitFault::After, 409)] {
        let roms = Arc::new(FailingRoms::default());
        let server = TestServer::wrapped(|adapters| roms.wrap(adapters)).await;
        roms.fail_next(fault);
        let answer = server.post_rom("esp32c6", "x", rom_elf(RISC_V, "first")).await;
        answer.expect_error(503, "SERVICE_UNAVAILABLE");
        let again = server.post_rom("esp32c6", "x", rom_elf(RISC_V, "first")).await;
        again.expect(repeated);
        assert_eq!(server.roms().await.len(), 1);
        server.finish().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_cannot_be_audited_is_not_made() {
    let server = TestServer::start().await;
    let rom = server.upload_rom("first").await;
    server.rows().break_audit();
    let answer = server.post_rom("esp32c6", "x", rom_elf(RISC_V, "second")).await;
    answer.expect_error(503, "SERVICE_UNAVAILABLE");
    let path = format!("/api/rom-elfs/{}", rom["id"]);
    server.delete(&path).await.expect_error(503, "SERVICE_UNAVAILABLE");
    server.rows().restore_audit();
    assert_eq!(server.roms().await, std::slice::from_ref(&rom));
    server.upload_rom("second").await;
    server.delete_rom(&rom).await;
    let query = "SELECT action || ' ' || target_type || ' ' || actor_subject AS value \
                 FROM audit_records ORDER BY id";
    let expected = [
        "rom_elf.uploaded RomElf local-user",
        "rom_elf.uploaded RomElf local-user",
        "rom_elf.deleted RomElf local-user",
    ];
    assert_eq!(server.rows().texts(query), expected);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploading_again_cancels_a_queued_delete() {
    let server = TestServer::start().await;
    let rom = server.upload_rom("first").await;
    server.store.inject(FaultRule::new(Fault::Fail).on(Operation::Delete));
    server.delete_rom(&rom).await;
    let rows = server.rows();
    wait_until("the delete was given back", || rows.count("outbox", "attempts > 0") == 1).await;
    let again = server.upload_rom("first").await;
    assert_ne!(again["id"], rom["id"]);
    assert_eq!(rows.count("outbox", "1=1"), 0);
    server.store.clear_faults();
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploading_again_waits_for_a_delete_that_has_begun() {
    let server = TestServer::start().await;
    let rom = server.upload_rom("first").await;
    let gate = Gate::new();
    server.store.inject(FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Delete).nth(1));
    server.delete_rom(&rom).await;
    gate.arrived().await;
    server.store.clear_calls();
    let release = async {
        let running = server.running();
        wait_until("the upload has begun", || running.requests_in_flight() > 0).await;
        let (database, tries) = (&server.adapters.database, 100);
        let before = database.statement_count();
        wait_until("the upload asks again", || database.statement_count() > before + tries).await;
        assert_eq!(server.store.count(Operation::Put), 0, "nothing is written meanwhile");
        gate.open();
    };
    tokio::join!(server.upload_rom("first"), release);
    assert_eq!(server.roms().await.len(), 1);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_does_not_leave_an_upload_half_way() {
    let server = TestServer::start().await;
    let gate = Gate::new();
    server.store.inject(FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Put).nth(1));
    let request = server.request(Method::POST, "/api/rom-elfs?chip=esp32c6&name=x");
    let request = request.body(rom_elf(RISC_V, "first")).timeout(Duration::from_millis(500));
    assert!(request.send().await.is_err(), "the caller gave up");
    gate.open();
    let rows = server.rows();
    wait_until("the row is there", || rows.count("rom_elfs", "1=1") == 1).await;
    wait_until("the lease is given back", || rows.count("leases", "1=1") == 0).await;
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stalled_uploads_hold_no_connection() {
    let settings = [("DB_POOL_SIZE", "1"), ("DB_POOL_MAX_OVERFLOW", "0"), ("DB_POOL_TIMEOUT", "1")];
    let server = TestServer::with(&settings).await;
    let demo = server.demo().await;
    let mut stalled = tokio::net::TcpStream::connect(server.authority()).await.unwrap();
    let head = "POST /api/rom-elfs?chip=esp32c6&name=x HTTP/1.1\r\nHost: localhost\r\n\
                Content-Length: 1000000\r\n\r\n";
    tokio::io::AsyncWriteExt::write_all(&mut stalled, head.as_bytes()).await.unwrap();
    let half = rom_elf(RISC_V, "half");
    tokio::io::AsyncWriteExt::write_all(&mut stalled, &half).await.unwrap();
    let gate = Gate::new();
    server.store.inject(FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Put).nth(1));
    let meanwhile = async {
        gate.arrived().await;
        let path = format!("/api/iot/firmware-version?device_key={}", demo.device.key);
        for answer in join_all((0..20).map(|_| server.get(&path))).await {
            answer.expect(200);
        }
        server.create_device(demo.model_id, "{}").await;
        gate.open();
    };
    tokio::join!(server.upload_rom("first"), meanwhile);
    drop(stalled);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_by_its_header_reaches_a_caller_that_still_sends() {
    let server = TestServer::start().await;
    let request = format!(
        "POST /api/rom-elfs?chip=esp32c6&name=x HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
         Content-Length: {}\r\n\r\n{}",
        MAX_BYTES + 1,
        "x".repeat(100_000)
    );
    let answer = raw::exchange(&server.authority(), request.as_bytes()).await;
    assert!(answer.starts_with(b"HTTP/1.1 413 "), "{}", String::from_utf8_lossy(&answer));
    server.finish().await;
}
