//! Uploads of bundles (contract §5.1, §5.3), those of the vendor's tool among them
//! (crates/testkit/fixtures/firmware).

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::{TestServer, fixture};

const BIN_1_4_2: &str = "d04a03b1b485a9c082f88ff16fe0f58c8c167490f8b64b137773cda9159da4a6";
const ELF_1_4_2: &str = "a0d6eb237757d594c58de3cf7661d563404fc2347e226e4023370f942e3f0162";

#[tokio::test(flavor = "multi_thread")]
async fn real_bundles_pass_the_full_gate_and_their_facts_are_read() {
    let server = TestServer::with(&[("FIRMWARE_IMAGE_GATE", "full")]).await;
    let model_id = server.create_model("thermostat").await;
    let device = server.create_device(model_id, "{}").await;
    let uploaded = server.upload("thermostat", fixture("thermostat-1.4.2.zip")).await.expect(200);
    assert_eq!(
        uploaded.json(),
        json!({"code": "thermostat", "firmware_version": "1.4.2", "id": model_id,
            "result": "created", "size": 9392, "sha256": BIN_1_4_2, "elf_sha256": ELF_1_4_2})
    );
    let listed = server.get(&format!("/api/device-models/{model_id}/firmware-versions")).await;
    let version = listed.expect(200).json()["firmware_versions"][0].clone();
    assert_eq!(version["chip"], "esp32c3");
    assert_eq!(version["project_name"], "thermostat");
    assert_eq!(version["idf_version"], "v5.3.2");
    assert_eq!(version["secure_version"], 3);
    assert_eq!(version["git_commit"], "1420c0de".repeat(5));
    assert_eq!(version["current"], true);
    let image = server.get(&format!("/api/iot/firmware?device_key={}", device.key)).await;
    let digest = coredock_domain::digest::Sha256Digest::of(&image.expect(200).body).to_string();
    assert_eq!(digest, BIN_1_4_2);
    server.upload("thermostat", fixture("thermostat-1.5.0.zip")).await.expect(200);
    assert_eq!(server.versions(model_id).await, ["1.5.0", "1.4.2"]);
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_real_bundle_of_another_model_is_refused_by_its_names() {
    let server = TestServer::start().await;
    server.create_model("demo").await;
    let refused = server.upload("demo", fixture("thermostat-1.4.2.zip")).await;
    let message = refused.expect_error(400, "VALIDATION_FAILED");
    assert!(message.contains("demo.bin, demo.elf, demo.map"), "{message}");
    server.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_content_type_is_a_raw_bundle() {
    let server = TestServer::start().await;
    server.demo().await;
    for content_type in ["application/x-www-form-urlencoded", "text/plain", "nonsense"] {
        let request = server.request(Method::POST, "/api/pipeline/models/demo/firmware");
        let request = request.header("content-type", content_type);
        let answer = server.send(request.body(coredock_testkit::firmware::bundle("1"))).await;
        assert_ne!(answer.expect(200).json()["result"], Value::Null);
    }
    server.finish().await;
}
