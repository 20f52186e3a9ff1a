//! Dumps of a device, for admins (contract §8.4).

mod crash_groups;
mod fleet;

use coredock_testkit::faulty_store::{Fault, FaultRule, Operation};
use serde_json::json;

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn dumps_are_listed_newest_first() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let path = format!("/api/devices/{}/coredumps", demo.device.id);
    assert_eq!(server.get(&path).await.expect(200).json(), json!({"count": 0, "coredumps": []}));
    let first = server.deliver(&demo.device.key, "1", "one").await;
    let second = server.deliver(&demo.device.key, "2", "two").await;
    assert_eq!(server.dump_ids(demo.device.id).await, [second, first]);
    let listed = server.get(&path).await.expect(200).json();
    let mut detail = server.dump(demo.device.id, second).await;
    for only_in_detail in ["parsed_output", "updated_at"] {
        assert!(detail.as_object_mut().unwrap().remove(only_in_detail).is_some());
    }
    assert_eq!(listed["coredumps"][0], detail);
    server.get("/api/devices/99/coredumps").await.expect_error(404, "RECORD_NOT_FOUND");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_costs_the_same_statements_however_long_it_is() {
    let settings = [("MAX_COREDUMPS", "100"), ("SYMBOLIZER", "off")];
    let server = TestServer::with(&settings).await;
    let demo = server.demo().await;
    let mut costs = Vec::new();
    for dumps in [1_u32, 60] {
        for n in 0..dumps {
            server.deliver(&demo.device.key, "1", format!("{dumps} {n}")).await;
        }
        let before = server.adapters.database.statement_count();
        server.dump_ids(demo.device.id).await;
        server.get("/api/coredumps?limit=200").await.expect(200);
        costs.push(server.adapters.database.statement_count() - before);
    }
    // The worker of the outbox polls once a second.
    assert!(costs[1] <= costs[0] + 3, "{costs:?}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_another_device_is_not_found() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let other = server.create_device(demo.model_id, "{}").await;
    let id = server.deliver(&demo.device.key, "1", "dump").await;
    for rest in ["", "/download", "/report"] {
        let path = format!("/api/devices/{}/coredumps/{id}{rest}", other.id);
        server.get(&path).await.expect_error(404, "RECORD_NOT_FOUND");
        let path = format!("/api/devices/{}/coredumps/{}{rest}", demo.device.id, id + 1000);
        server.get(&path).await.expect_error(404, "RECORD_NOT_FOUND");
    }
    let path = format!("/api/devices/{}/coredumps/{id}", other.id);
    server.delete(&path).await.expect_error(404, "RECORD_NOT_FOUND");
    server.post(&format!("{path}/reparse"), "").await.expect_error(404, "RECORD_NOT_FOUND");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_follows_the_transfer_rules() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let body: Vec<u8> = (0..200_000_u32).map(|n| (n % 253) as u8).collect();
    let id = server.deliver(&demo.device.key, "1", body.clone()).await;
    let path = format!("/api/devices/{}/coredumps/{id}/download", demo.device.id);
    let whole = server.get(&path).await.expect(200);
    assert!(whole.body == body);
    assert_eq!(whole.header("content-length"), "200000");
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    let name = format!("attachment; filename=coredump_{id}.dmp");
    assert_eq!(whole.header("content-disposition"), name);
    assert_eq!(whole.header("accept-ranges"), "bytes");
    let etag = whole.header("etag").to_owned();
    let head = server.head(&path).await.expect(200);
    assert_eq!((head.header("content-length"), head.header("etag")), ("200000", etag.as_str()));
    let part = server.get_with(&path, &[("range", "bytes=100-199")]).await.expect(206);
    assert_eq!(part.body, body[100..200]);
    assert_eq!(part.header("content-range"), "bytes 100-199/200000");
    server.get_with(&path, &[("if-none-match", &etag)]).await.expect(304);
    server.get_with(&path, &[("range", "bytes=200000-")]).await.expect(416);
    server.get_with(&path, &[("if-match", "\"x\"")]).await.expect(412);
    let complete = server.metric_where("coredock_downloads_total", "kind=\"coredump\"").await;
    assert_eq!(complete, 3, "one whole, one part, one not modified");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_download_is_a_503_while_the_store_is_down_and_resumes_where_it_broke() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let body: Vec<u8> = (0..900_000_u32).map(|n| (n % 253) as u8).collect();
    let id = server.deliver(&demo.device.key, "1", body.clone()).await;
    let path = format!("/api/devices/{}/coredumps/{id}/download", demo.device.id);
    server.get(&path).await.expect(200);
    server.store.set_down(true);
    server.get(&path).await.expect_error(503, "SERVICE_UNAVAILABLE");
    server.store.set_down(false);
    let cut = Fault::CutStream { after_bytes: 300_000 };
    server.store.inject(FaultRule::new(cut).on(Operation::Open).nth(1));
    assert!(server.get(&path).await.expect(200).body == body);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_object_is_a_404_and_a_counted_violation() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let id = server.deliver(&demo.device.key, "1", "dump").await;
    let object = server.artifact_dir().join(format!("coredumps/{}/{id}.dmp", demo.device.key));
    let path = format!("/api/devices/{}/coredumps/{id}/download", demo.device.id);
    std::fs::write(&object, "another").unwrap();
    server.get(&path).await.expect_error(503, "SERVICE_UNAVAILABLE");
    std::fs::remove_file(&object).unwrap();
    server.get(&path).await.expect_error(404, "RECORD_NOT_FOUND");
    let violations = "coredock_invariant_violations_total";
    assert_eq!(server.metric_where(violations, "object_missing").await, 1);
    assert_eq!(server.metric_where(violations, "object_differs").await, 1);
    server.finish_broken().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_deleted_with_its_object() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let remaining = server.deliver(&demo.device.key, "1", "remaining").await;
    let id = server.deliver(&demo.device.key, "1", "dump").await;
    let path = format!("/api/devices/{}/coredumps/{id}", demo.device.id);
    assert!(server.delete(&path).await.expect(204).body.is_empty());
    server.delete(&path).await.expect_error(404, "RECORD_NOT_FOUND");
    assert_eq!(server.dump_ids(demo.device.id).await, [remaining]);
    server.wait_for_empty_outbox().await;
    assert_eq!(server.stored_keys(), [format!("coredumps/{}/{remaining}.dmp", demo.device.key)]);
    let again = server.deliver(&demo.device.key, "1", "dump").await;
    assert!(again > id, "ids are never reused");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn all_dumps_of_a_device_are_deleted_at_once() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let other = server.create_device(demo.model_id, "{}").await;
    let remaining = server.deliver(&other.key, "1", "remaining").await;
    for body in ["one", "two"] {
        server.deliver(&demo.device.key, "1", body).await;
    }
    let path = format!("/api/devices/{}/coredumps", demo.device.id);
    server.delete(&path).await.expect(204);
    server.delete(&path).await.expect(204);
    server.delete("/api/devices/99/coredumps").await.expect_error(404, "RECORD_NOT_FOUND");
    assert_eq!(server.dump_ids(demo.device.id).await, [0; 0]);
    server.wait_for_empty_outbox().await;
    assert_eq!(server.stored_keys(), [format!("coredumps/{}/{remaining}.dmp", other.key)]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_dumps_are_audited() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    let id = server.deliver(&demo.device.key, "1", "dump").await;
    server.deliver(&demo.device.key, "1", "dump").await;
    for body in ["one", "two", "three"] {
        server.deliver(&demo.device.key, "1", body).await;
    }
    let path = format!("/api/devices/{}/coredumps", demo.device.id);
    server.delete(&path).await.expect(204);
    let records = server.rows().texts(&format!(
        "SELECT action || ' ' || actor_kind || ' ' || actor_subject AS value FROM audit_records \
         WHERE target_type = 'Coredump' AND target_id = '{id}' ORDER BY id"
    ));
    let by_device = format!("device {}", demo.device.key);
    let expected = [
        format!("coredump.created {by_device}"),
        format!("coredump.updated {by_device}"),
        "coredump.deleted system coredock".to_owned(),
    ];
    assert_eq!(records, expected);
    let deleted = "action = 'coredump.deleted' AND actor_subject = 'local-user'";
    assert_eq!(server.rows().count("audit_records", deleted), 3);
    server.finish().await;
}
