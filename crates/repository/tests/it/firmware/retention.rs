use std::time::Duration;

use coredock_domain::digest::Sha256Digest;
use coredock_domain::firmware::repository::FirmwareRepository;
use coredock_domain::timestamp::Timestamp;
use coredock_domain::upkeep::sweep_repository::SweepRepository;
use coredock_domain::upkeep::sweep_repository::{RetentionRules, Retired};

use crate::support::{
    Bench, Set, change, code, facts, firmware_keys, paths, second, symbols_key, version,
};

const DAY: Duration = Duration::from_hours(24);

fn rules(now: Timestamp) -> RetentionRules {
    RetentionRules { now, max_versions: 2, symbol_retention: DAY * 30 }
}

#[tokio::test]
async fn v22_a_pending_dump_protects_its_version_beyond_the_quota() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    let device = bench.device(model_id, "abcd2345").await;
    bench.publish_all(model_id, &["2.0.0"]).await;
    bench.dump(device, "2.0.0", "PENDING");
    bench.publish_all(model_id, &["2.0.1", "2.0.2"]).await;
    let last = Set { model_id, version: "2.0.3", seed: "2.0.3", at: 110, ..Set::default() };
    let published = bench.publish(&last).await;
    assert_eq!(published.pruned, [version("2.0.1")]);
    assert_eq!(published.protected, [version("2.0.0")]);
    let mut versions = bench.versions(model_id).await;
    versions.sort_unstable();
    assert_eq!(versions, ["2.0.0", "2.0.2", "2.0.3"]);
    assert_eq!(bench.queued(), paths(&firmware_keys("demo", "2.0.1")));
    assert!(bench.audited().contains(&"firmware.deleted demo/2.0.1".to_owned()));

    bench.sql("UPDATE coredumps SET parse_status = 'PARSED'");
    let retired = bench.db.apply_retention(rules(second(120))).await.unwrap();
    let expected = Retired { versions: vec![(code("demo"), version("2.0.0"))], symbols: vec![] };
    assert_eq!(retired, expected);
    assert_eq!(bench.db.apply_retention(rules(second(130))).await.unwrap(), Retired::default());
}

#[tokio::test]
async fn v22b_nothing_is_pruned_when_every_surplus_version_is_needed() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    let device = bench.device(model_id, "abcd2345").await;
    let texts = ["2.0.0", "2.0.1", "2.0.2", "2.0.3"];
    bench.dump(device, "2.0.0", "PENDING");
    bench.dump(device, "2.0.1", "PENDING");
    bench.publish_all(model_id, &texts).await;
    assert_eq!(bench.versions(model_id).await, texts);
    assert_eq!(bench.queued(), Vec::<String>::new());
}

#[tokio::test]
async fn v22c_nothing_is_pruned_up_to_the_limit() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish_all(model_id, &["2.0.0", "2.0.1"]).await;
    assert_eq!(bench.versions(model_id).await, ["2.0.0", "2.0.1"]);
    assert_eq!(bench.queued(), Vec::<String>::new());
}

#[tokio::test]
async fn v23_a_dump_of_another_model_protects_nothing() {
    let bench = Bench::new().await;
    let (model_id, other) = (bench.model("demo").await, bench.model("other").await);
    let device = bench.device(other, "abcd2345").await;
    bench.dump(device, "2.0.0", "PENDING");
    bench.publish_all(model_id, &["2.0.0", "2.0.1", "2.0.2", "2.0.3"]).await;
    assert_eq!(bench.versions(model_id).await, ["2.0.2", "2.0.3"]);
}

#[tokio::test]
async fn the_current_version_is_never_pruned() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish_all(model_id, &["2.0.0", "2.0.1"]).await;
    bench.db.activate(model_id, &version("2.0.0"), &change(110)).await.unwrap();
    bench.sql(
        "INSERT INTO firmware_versions SELECT id + 10, device_model_id, '2.0.2', bin_size, \
         bin_sha256, elf_size, elf_sha256, map_size, map_sha256, sdkconfig_size, sdkconfig_sha256, \
         version_json_size, version_json_sha256, chip, project_name, idf_version, secure_version, \
         git_commit, NULL, uploaded_at, created_at FROM firmware_versions WHERE version = '2.0.1'",
    );
    let retired = bench.db.apply_retention(rules(second(120))).await.unwrap();
    assert_eq!(retired, Retired::default());
    assert_eq!(bench.versions(model_id).await, ["2.0.0", "2.0.1", "2.0.2"]);
}

/// The builds which a run of retention retires after `days`.
async fn retired_after(bench: &Bench, days: u32) -> Vec<Sha256Digest> {
    let later = second(111).after(DAY * days);
    bench.db.apply_retention(rules(later)).await.unwrap().symbols
}

/// A bench with a version whose build was replaced at second 110.
async fn with_a_replaced_build() -> Bench {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish(&Set { model_id, seed: "old", ..Set::default() }).await;
    bench.publish(&Set { model_id, seed: "new", at: 110, ..Set::default() }).await;
    bench
}

#[tokio::test]
async fn symbols_of_a_replaced_build_are_deleted_after_the_retention_time() {
    let bench = with_a_replaced_build().await;
    assert_eq!(retired_after(&bench, 29).await, []);
    assert_eq!(retired_after(&bench, 30).await, [facts("old").build_id()]);
    assert_eq!(bench.queued(), paths(&[symbols_key("old")]));
    assert_eq!(retired_after(&bench, 300).await, [], "the build of a version row stays");
}

#[tokio::test]
async fn symbols_stay_while_a_dump_without_a_report_names_their_build() {
    let bench = with_a_replaced_build().await;
    let device = bench.device(1, "abcd2345").await;
    let dump = bench.dump(device, "1.0.0", "ERROR");
    let build = facts("old").build_id().to_string();
    let name = |text: &str| {
        bench.sql(&format!("UPDATE coredumps SET build_id = '{text}' WHERE id = {dump}"));
    };
    name(&build[..16]);
    assert_eq!(retired_after(&bench, 60).await, []);
    name(&build[..7]);
    assert_eq!(retired_after(&bench, 60).await, [facts("old").build_id()]);
}

#[tokio::test]
async fn symbols_shared_by_two_versions_stay_until_neither_needs_them() {
    let bench = Bench::new().await;
    let (one, two) = (bench.model("one").await, bench.model("two").await);
    bench.publish(&Set { model_id: one, model: "one", seed: "shared", ..Set::default() }).await;
    bench.publish(&Set { model_id: one, model: "one", seed: "x", at: 105, ..Set::default() }).await;
    bench.publish(&Set { model_id: two, model: "two", seed: "shared", ..Set::default() }).await;
    bench.publish(&Set { model_id: two, model: "two", seed: "y", at: 112, ..Set::default() }).await;
    assert_eq!(retired_after(&bench, 30).await, []);
    assert_eq!(retired_after(&bench, 31).await, [facts("shared").build_id()]);
}
