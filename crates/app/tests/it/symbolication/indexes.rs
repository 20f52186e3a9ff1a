//! Indexes of ELFs: built after the publication, stored beside the ELF; no dump waits for one
//! (contract §5.6, §5.10, §8.2).

use coredock_domain::digest::Sha256Digest;
use coredock_domain::upkeep::sweep::SweepMode;
use coredock_symbolizer::INDEX_FORMAT;
use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use coredock_testkit::gate::Gate;
use serde_json::{Value, json};

use crate::support::native::{ESP32C6, Native, RISCV, bundle, elf, fixture};
use crate::support::wait_until;

fn index_key(elf: &[u8], format: u32) -> String {
    format!("symbols/{}/index-{format}", Sha256Digest::of(elf))
}

/// Waits for the worker, which polls every few seconds.
async fn wait_for_index(bench: &Native, key: &str) {
    wait_until("the index is stored", || bench.server.stored_keys().iter().any(|k| k == key)).await;
    bench.indexed("1.0.0").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_server_reads_the_index_and_not_the_elf() {
    let bench = Native::start().await;
    let elf = elf(RISCV);
    let line = bench.publish("1.0.0", ESP32C6, &elf).await;
    assert_eq!((&line["index_status"], &line["index_error"]), (&json!("ready"), &Value::Null));
    assert!(bench.server.stored_keys().contains(&index_key(&elf, INDEX_FORMAT)));
    let (first, _) = bench.parsed("1.0.0", fixture(RISCV, "0.dmp")).await;

    let bench = Native { server: bench.server.restart().await, ..bench };
    bench.server.store.inject(FaultRule::new(Fault::Fail).key("firmware.elf"));
    let (again, report) = bench.parsed("1.0.0", fixture(RISCV, "1.dmp")).await;
    assert_ne!(first["parsed_output"], again["parsed_output"]);
    assert_eq!(report["build"]["match"], "exact");
    assert_eq!((bench.indexes("loaded").await, bench.indexes("built").await), (1, 0));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_publication_is_answered_before_its_elf_is_indexed() {
    let bench = Native::start().await;
    let (elf, gate) = (elf(RISCV), Gate::new());
    let hold = FaultRule::new(Fault::Hold(gate.clone())).on(Operation::Put).key("/index-");
    bench.server.store.inject(hold);
    bench.server.upload("demo", bundle("1.0.0", ESP32C6, &elf)).await.expect(200);
    gate.arrived().await;
    let path = format!("/api/device-models/{}/firmware-versions", bench.demo.model_id);
    let list = bench.server.get(&path).await.expect(200).json();
    assert_eq!(list["firmware_versions"][0]["index_status"], "building");
    bench.parsed("1.0.0", fixture(RISCV, "0.dmp")).await;
    gate.open();
    assert_eq!(bench.indexed("1.0.0").await["index_status"], "ready");
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_elf_that_cannot_be_indexed_is_published_with_the_reason() {
    let bench = Native::start().await;
    let mut cut = elf(RISCV);
    cut.truncate(60);
    let line = bench.publish("1.0.0", ESP32C6, &cut).await;
    assert_eq!(line["index_status"], "failed");
    let reason = line["index_error"].as_str().unwrap();
    assert!(reason.starts_with("expected a 32-bit little-endian ELF"), "{reason}");
    assert_eq!(bench.server.current_version().await, "1.0.0");
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_indexer_that_crashes_is_retried_and_then_reported() {
    let (bench, _directory) = Native::with_indexer("kill -SEGV $$", &[]).await;
    let line = bench.publish("1.0.0", ESP32C6, &elf(RISCV)).await;
    let found = (&line["index_status"], &line["index_error"]);
    assert_eq!(found, (&json!("failed"), &json!("the indexer of ELFs crashed")));
    assert_eq!(bench.indexes("failed").await, 3);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_or_damaged_index_is_rebuilt_and_no_dump_waits_for_it() {
    let bench = Native::start().await;
    let elf = elf(RISCV);
    bench.publish("1.0.0", ESP32C6, &elf).await;
    let key = index_key(&elf, INDEX_FORMAT);
    let path = bench.server.artifact_dir().join(&key);
    let whole = std::fs::read(&path).unwrap();
    let mut damaged = whole.clone();
    *damaged.last_mut().unwrap() ^= 1;
    let mut bench = bench;
    for damage in [None, Some(damaged)] {
        std::fs::remove_file(&path).unwrap();
        if let Some(damaged) = damage {
            std::fs::write(&path, damaged).unwrap();
        }
        bench = Native { server: bench.server.restart().await, ..bench };
        let (_, report) = bench.parsed("1.0.0", fixture(RISCV, "0.dmp")).await;
        assert_eq!(report["build"]["match"], "exact");
        assert_eq!(bench.indexes("built").await, 1);
        wait_until("the index is whole again", || {
            std::fs::read(&path).is_ok_and(|bytes| bytes == whole)
        })
        .await;
        bench.indexed("1.0.0").await;
        bench.server.delete(&format!("/api/devices/{}/coredumps", bench.demo.device.id)).await;
        bench.server.wait_for_empty_outbox().await;
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_of_an_older_format_is_replaced_at_the_next_start() {
    let bench = Native::start().await;
    let elf = elf(RISCV);
    bench.publish("1.0.0", ESP32C6, &elf).await;
    let (now, older) = (index_key(&elf, INDEX_FORMAT), index_key(&elf, INDEX_FORMAT - 1));
    let directory = bench.server.artifact_dir();
    std::fs::rename(directory.join(&now), directory.join(&older)).unwrap();
    bench.server.rows().execute("UPDATE symbol_indexes SET format = format - 1");
    let bench = Native { server: bench.server.restart().await, ..bench };
    wait_for_index(&bench, &now).await;
    bench.server.wait_for_empty_outbox().await;
    assert!(!bench.server.stored_keys().contains(&older));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_of_the_store_postpones_an_index() {
    let bench = Native::start().await;
    let elf = elf(RISCV);
    bench.server.store.inject(FaultRule::new(Fault::Fail).on(Operation::Put).key("/index-"));
    bench.server.upload("demo", bundle("1.0.0", ESP32C6, &elf)).await.expect(200);
    let rows = bench.server.rows();
    let waits = "attempts = 0 AND lease_owner IS NULL AND format = 0";
    wait_until("a put failed", || bench.server.store.faulty_calls() > 0).await;
    wait_until("the job was given back", || rows.count("symbol_indexes", waits) == 1).await;
    bench.parsed("1.0.0", fixture(RISCV, "0.dmp")).await;
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_index_is_deleted_and_rebuilt_with_its_symbols() {
    let settings = [("MAX_FIRMWARES", "1"), ("SYMBOLS_KEEP_DAYS", "0")];
    let bench = Native::wrapped(&settings, |adapters| adapters).await;
    let (old, new) = (elf(RISCV), elf("riscv/O2"));
    bench.publish("1.0.0", ESP32C6, &old).await;
    bench.publish("2.0.0", ESP32C6, &new).await;
    let key = index_key(&old, INDEX_FORMAT);
    assert!(bench.server.stored_keys().contains(&key));
    bench.server.running().features().upkeep.sweep(SweepMode::Confirmed).await.unwrap();
    bench.server.wait_for_empty_outbox().await;
    let keys = bench.server.stored_keys();
    assert!(!keys.contains(&key) && keys.contains(&index_key(&new, INDEX_FORMAT)), "{keys:?}");
    bench.publish("1.0.0", ESP32C6, &old).await;
    assert!(bench.server.stored_keys().contains(&key));
    bench.parsed("1.0.0", fixture(RISCV, "0.dmp")).await;
    bench.finish().await;
}
