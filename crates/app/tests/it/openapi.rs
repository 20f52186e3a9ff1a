//! The `OpenAPI` document.

use std::collections::BTreeSet;

use coredock::http::openapi::document;
use coredock::http::routes::table;
use reqwest::Method;
use serde_json::Value;

use crate::support::TestServer;

/// Every documented route exists with its method; the document is stored in `docs/openapi.json`.
#[tokio::test(flavor = "multi_thread")]
async fn the_document_describes_existing_routes() {
    let server = TestServer::start().await;
    let answer = server.get("/api/docs/openapi.json").await.expect(200);
    let document = answer.json();
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 24, "{}", paths.len());
    for (path, operations) in paths {
        let path =
            path.replace("{id}", "1").replace("{code}", "demo").replace("{coredump_id}", "1");
        let path = path.replace("{version}", "1.2.3").replace("{artifact}", "sdkconfig");
        for method in operations.as_object().unwrap().keys() {
            let method = Method::from_bytes(method.to_uppercase().as_bytes()).unwrap();
            let answer = server.send(server.request(method.clone(), &path)).await;
            let code = serde_json::from_slice::<Value>(&answer.body).unwrap_or_default();
            let code = code["code"].as_str().unwrap_or_default().to_owned();
            let unknown = ["ROUTE_NOT_FOUND", "METHOD_NOT_ALLOWED"].contains(&code.as_str());
            assert!(!unknown, "{method} {path}: {code}");
        }
    }
    server.finish().await;
}

#[test]
fn the_document_lists_the_rows_of_the_route_table() {
    let document: Value = serde_json::from_str(&document().unwrap()).unwrap();
    let mut documented = BTreeSet::new();
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let answers = operation["responses"]["200"]["content"].as_object();
            let streams =
                answers.is_some_and(|types| types.contains_key("application/octet-stream"));
            documented.insert((path.clone(), method.to_uppercase(), streams));
        }
    }
    let rows = table().into_iter().map(|row| row.facts);
    let rows = rows.map(|row| (row.path.to_owned(), row.method.to_string(), row.streams));
    assert_eq!(documented, rows.collect());
}

#[test]
fn the_document_in_docs_is_the_served_document() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/openapi.json");
    let stored = std::fs::read_to_string(path).unwrap();
    let served = document().unwrap();
    assert_eq!(
        stored.trim_end(),
        served.trim_end(),
        "run `cargo run -p coredock -- openapi > docs/openapi.json`"
    );
}
