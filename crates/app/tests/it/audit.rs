//! Changes are audited (contract §3.8).

use crate::support::TestServer;

#[tokio::test(flavor = "multi_thread")]
async fn every_change_is_audited_with_its_origin() {
    let server = TestServer::start().await;
    let demo = server.demo().await;
    server.upload_demo("1.0.0").await.expect(200);
    server.upload_demo("2.0.0").await.expect(200);
    let versions = format!("/api/device-models/{}/firmware-versions", demo.model_id);
    server.post(&format!("{versions}/1.0.0/activate"), "").await.expect(200);
    server.post(&format!("{versions}/1.0.0/activate"), "").await.expect(200);
    server.delete(&format!("{versions}/2.0.0")).await.expect(204);
    let device = format!("/api/devices/{}", demo.device.id);
    server.put(&device, r#"{"config":"{}","active":true}"#).await.expect(200);
    server.delete(&device).await.expect(204);
    let model = format!("/api/device-models/{}", demo.model_id);
    server.put(&model, r#"{"name":"x"}"#).await.expect(200);
    let delete = server.request(reqwest::Method::DELETE, &model).header("x-request-id", "the-last");
    server.send(delete.header("x-forwarded-for", "10.0.0.1, 192.0.2.7")).await.expect(204);
    let query = "SELECT action || ' ' || target_type || ' ' || target_id AS value \
                 FROM audit_records ORDER BY id";
    let expected = [
        "model.created DeviceModel 1",
        "device.created Device 1",
        "firmware.uploaded FirmwareVersion demo/1.0.0",
        "firmware.uploaded FirmwareVersion demo/2.0.0",
        "firmware.activated FirmwareVersion demo/1.0.0",
        "firmware.deleted FirmwareVersion demo/2.0.0",
        "device.updated Device 1",
        "device.deleted Device 1",
        "model.updated DeviceModel 1",
        "model.deleted DeviceModel 1",
    ];
    assert_eq!(server.rows().texts(query), expected);
    let query = "SELECT actor_subject || ' ' || actor_kind || ' ' || correlation_id || ' ' \
                 || remote_address || ' ' || outcome AS value FROM audit_records ORDER BY id DESC";
    let last = &server.rows().texts(query)[0];
    assert_eq!(last, "local-user user the-last 192.0.2.7 success");
    server.finish().await;
}
