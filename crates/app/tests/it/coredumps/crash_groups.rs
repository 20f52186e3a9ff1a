//! Groups of dumps (contract §8.5, §1.9).

use serde_json::{Value, json};

use crate::support::{Demo, TestServer};

/// Records dumps of a device with these signatures, oldest first; returns their ids.
async fn crashes(server: &TestServer, demo: &Demo, signatures: &[&str]) -> Vec<i64> {
    let mut ids = Vec::new();
    for (n, signature) in signatures.iter().enumerate() {
        let id = server.deliver(&demo.device.key, &format!("{n}.0"), n.to_string()).await;
        let report = format!(r#"{{"signature":{{"title":"abort in {signature}"}}}}"#);
        server.rows().execute(&format!(
            "UPDATE coredumps SET parse_status = 'PARSED', next_attempt_at = NULL, \
             signature = '{signature}', report = '{report}' WHERE id = {id}"
        ));
        ids.push(id);
    }
    ids
}

async fn signatures(server: &TestServer, query: &str) -> Vec<String> {
    let page = server.get(&format!("/api/crash-groups?{query}")).await.expect(200).json();
    let groups = page["crash_groups"].as_array().unwrap();
    assert_eq!(page["count"], groups.len());
    groups.iter().map(|group| group["signature"].as_str().unwrap().to_owned()).collect()
}

async fn start() -> (TestServer, Demo) {
    let server = TestServer::with(&[("MAX_COREDUMPS", "20"), ("SYMBOLIZER", "off")]).await;
    let demo = server.demo().await;
    (server, demo)
}

#[tokio::test(flavor = "multi_thread")]
async fn dumps_of_one_signature_are_one_group() {
    let (server, demo) = start().await;
    let none = json!({"count": 0, "crash_groups": [], "next_cursor": null});
    assert_eq!(server.get("/api/crash-groups").await.expect(200).json(), none);
    let ids = crashes(&server, &demo, &["aa", "bb", "aa"]).await;
    server.deliver(&demo.device.key, "9.0", "without a signature").await;
    let repeated = server.deliver(&demo.device.key, "0.0", "0").await;
    assert_eq!(repeated, ids[0]);
    let page = server.get("/api/crash-groups").await.expect(200).json();
    let (first, last) =
        (server.dump(demo.device.id, ids[0]).await, server.dump(demo.device.id, ids[2]).await);
    let expected = json!({
        "signature": "aa", "title": "abort in aa", "count": 3, "devices": 1,
        "first_seen_at": first["uploaded_at"], "last_seen_at": first["last_seen_at"],
        "firmware_versions": [{"version": "0.0", "count": 2}, {"version": "2.0", "count": 1}],
        "sample_coredump_id": ids[2],
    });
    assert_eq!(page["crash_groups"][0], expected);
    assert!(last["uploaded_at"].as_str() < first["last_seen_at"].as_str());
    assert_eq!((&page["count"], &page["next_cursor"]), (&json!(2), &Value::Null));
    let of_group = server.get("/api/coredumps?signature=aa").await.expect(200).json();
    assert_eq!(of_group["count"], 2);
    assert_eq!(of_group["coredumps"][0]["id"], ids[2]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_those_of_the_list_of_dumps() {
    let (server, demo) = start().await;
    let ids = crashes(&server, &demo, &["aa", "bb", "cc"]).await;
    assert_eq!(signatures(&server, "").await, ["cc", "bb", "aa"]);
    assert_eq!(signatures(&server, "model=demo&firmware_version=1.0").await, ["bb"]);
    assert!(signatures(&server, "model=nope").await.is_empty());
    let second = server.dump(demo.device.id, ids[1]).await;
    let since = format!("since={}", second["uploaded_at"].as_str().unwrap());
    assert_eq!(signatures(&server, &since).await, ["cc", "bb"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_and_no_group_moves_meanwhile() {
    let (server, demo) = start().await;
    let all = ["aa", "bb", "cc", "dd", "ee"];
    crashes(&server, &demo, &all).await;
    let (mut walked, mut query) = (Vec::new(), "limit=2".to_owned());
    loop {
        walked.extend(signatures(&server, &query).await);
        let page = server.get(&format!("/api/crash-groups?{query}")).await.expect(200).json();
        let Some(cursor) = page["next_cursor"].as_str() else { break };
        query = format!("limit=2&cursor={cursor}");
        let body = format!("again {}", walked.len());
        let id = server.deliver(&demo.device.key, "new", body).await;
        let signed = format!("UPDATE coredumps SET signature = 'aa' WHERE id = {id}");
        server.rows().execute(&signed);
    }
    assert_eq!(walked, ["ee", "dd", "cc", "bb", "aa"]);
    assert_eq!(signatures(&server, "limit=1").await, ["aa"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_pages_are_refused_with_their_field() {
    let (server, demo) = start().await;
    crashes(&server, &demo, &["aa", "bb"]).await;
    let page = server.get("/api/crash-groups?limit=1&model=demo").await.expect(200).json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let dumps = server.get("/api/coredumps?limit=1").await.expect(200).json();
    let of_dumps = dumps["next_cursor"].as_str().unwrap();
    for (field, query) in [
        ("limit", "limit=0".to_owned()),
        ("limit", "limit=201".to_owned()),
        ("since", "since=yesterday".to_owned()),
        ("model", "model=a%00".to_owned()),
        ("firmware_version", "firmware_version=%00".to_owned()),
        ("cursor", "cursor=x".to_owned()),
        ("cursor", format!("cursor={of_dumps}")),
        ("cursor", format!("cursor={cursor}")),
        ("cursor", format!("model=demo&cursor={cursor}0")),
    ] {
        let message = server.get(&format!("/api/crash-groups?{query}")).await;
        let message = message.expect_error(400, "VALIDATION_FAILED");
        assert!(message.contains(&format!("\"{field}\"")), "{query}: {message}");
    }
    for field in ["model", "firmware_version", "signature"] {
        let message = server.get(&format!("/api/coredumps?{field}=%00")).await;
        message.expect_error(400, "VALIDATION_FAILED");
    }
    assert_eq!(signatures(&server, &format!("model=demo&cursor={cursor}")).await, ["aa"]);
    server.finish().await;
}
