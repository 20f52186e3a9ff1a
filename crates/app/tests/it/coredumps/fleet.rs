//! The list of all dumps (contract §8.5, §1.9).

use serde_json::Value;

use crate::support::TestServer;

fn ids(page: &Value) -> Vec<i64> {
    let dumps = page["coredumps"].as_array().unwrap();
    assert_eq!(page["count"], dumps.len());
    dumps.iter().map(|dump| dump["id"].as_i64().unwrap()).collect()
}

/// Creates two models, three devices and nine dumps; returns the ids of the dumps, newest first.
async fn fleet(server: &TestServer) -> Vec<i64> {
    let demo = server.demo().await;
    let other = server.create_model("other").await;
    let named = server.create_device(other, r#"{"deviceName":"Lamp"}"#).await;
    let third = server.create_device(demo.model_id, "{}").await;
    let mut ids = Vec::new();
    for version in ["1.0", "2.0", "3.0"] {
        for device in [&demo.device, &named, &third] {
            ids.push(server.deliver(&device.key, version, version).await);
        }
    }
    ids.reverse();
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_without_gaps() {
    let server = TestServer::start().await;
    let all = fleet(&server).await;
    let whole = server.get("/api/coredumps").await.expect(200).json();
    assert_eq!(ids(&whole), all);
    assert_eq!(whole["next_cursor"], Value::Null);
    let mut walked = Vec::new();
    let mut query = "limit=2".to_owned();
    loop {
        let page = server.get(&format!("/api/coredumps?{query}")).await.expect(200).json();
        walked.extend(ids(&page));
        // Dumps that are added or deleted meanwhile do not move the others.
        let first = &whole["coredumps"][0];
        server
            .deliver(first["device_key"].as_str().unwrap(), "new", walked.len().to_string())
            .await;
        match page["next_cursor"].as_str() {
            Some(cursor) => query = format!("limit=2&cursor={cursor}"),
            None => break,
        }
    }
    let of_first = server.dump_ids(whole["coredumps"][0]["device_id"].as_i64().unwrap()).await;
    let of_others = |id: &&i64| !of_first.contains(id);
    assert!(
        walked
            .iter()
            .filter(of_others)
            .eq(all.iter().filter(|id| walked.contains(id)).filter(of_others))
    );
    let others = whole["coredumps"].as_array().unwrap().iter();
    let others = others.filter(|dump| dump["device_id"] != whole["coredumps"][0]["device_id"]);
    assert!(others.map(|dump| dump["id"].as_i64().unwrap()).all(|id| walked.contains(&id)));
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn entries_name_device_and_model() {
    let server = TestServer::start().await;
    fleet(&server).await;
    let page = server.get("/api/coredumps?model=other&limit=1").await.expect(200).json();
    let entry = &page["coredumps"][0];
    assert_eq!((&entry["model_code"], &entry["device_name"]), (&"other".into(), &"Lamp".into()));
    assert_eq!(entry["device_key"].as_str().unwrap().len(), 8);
    assert!(entry.get("parsed_output").is_none());
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_are_exact_and_combined() {
    let server = TestServer::start().await;
    let all = fleet(&server).await;
    let get = |query: &str| {
        let (server, path) = (&server, format!("/api/coredumps?{query}"));
        async move { ids(&server.get(&path).await.expect(200).json()) }
    };
    assert_eq!(get("model=demo").await.len(), 6);
    assert_eq!(get("model=nope").await, [0; 0]);
    assert_eq!(get("model=demo&firmware_version=2.0").await.len(), 2);
    assert_eq!(get("firmware_version=2").await, [0; 0]);
    assert_eq!(get("status=PENDING").await, all);
    assert_eq!(get("status=PARSED").await, [0; 0]);
    let fourth = server.get("/api/coredumps?limit=4").await.expect(200).json();
    let since = fourth["coredumps"][3]["uploaded_at"].as_str().unwrap().to_owned();
    assert_eq!(get(&format!("since={since}")).await, all[..4]);
    server.rows().execute(&format!("UPDATE coredumps SET signature = 'abc' WHERE id = {}", all[5]));
    assert_eq!(get("signature=abc").await, [all[5]]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_pages_are_refused_with_their_field() {
    let server = TestServer::start().await;
    fleet(&server).await;
    let page = server.get("/api/coredumps?limit=2&model=demo").await.expect(200).json();
    let cursor = page["next_cursor"].as_str().unwrap();
    let edited = format!("{}0", &cursor[..cursor.len() - 1]);
    let edited =
        if edited == cursor { format!("{}1", &cursor[..cursor.len() - 1]) } else { edited };
    for (field, query) in [
        ("limit", "limit=0".to_owned()),
        ("limit", "limit=201".to_owned()),
        ("limit", "limit=x".to_owned()),
        ("limit", "limit=+5".to_owned()),
        ("limit", "limit=".to_owned()),
        ("cursor", "cursor=".to_owned()),
        ("status", "status=".to_owned()),
        ("since", "since=".to_owned()),
        ("cursor", "cursor=x".to_owned()),
        ("cursor", format!("cursor={cursor}")),
        ("cursor", format!("model=other&cursor={cursor}")),
        ("cursor", format!("model=demo&cursor={edited}")),
        ("status", "status=DONE".to_owned()),
        ("since", "since=yesterday".to_owned()),
    ] {
        let message = server.get(&format!("/api/coredumps?{query}")).await;
        let message = message.expect_error(400, "VALIDATION_FAILED");
        assert!(message.contains(&format!("\"{field}\"")), "{query}: {message}");
    }
    server.get(&format!("/api/coredumps?model=demo&cursor={cursor}")).await.expect(200);
    server.finish().await;
}
