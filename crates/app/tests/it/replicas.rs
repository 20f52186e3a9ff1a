//! Two replicas on one database and one bucket, with simultaneous work (I11, contract §5, §6).

use coredock_domain::upkeep::sweep::{SweepMode, SweepVerdict};
use coredock_testkit::firmware::bundle;
use futures::StreamExt;
use futures::future::join_all;
use serde_json::json;

use crate::support::replicas::Replicas;
use crate::support::{Answer, TestServer};

fn dump_path(key: &str) -> String {
    format!("/api/iot/coredump?device_key={key}&chip=esp32s3&firmware_version=1.0.0")
}

fn statuses(answers: &[Answer]) -> Vec<u16> {
    let mut statuses: Vec<_> = answers.iter().map(|answer| answer.status).collect();
    statuses.sort_unstable();
    statuses.dedup();
    statuses
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_at_one_replica_is_visible_at_the_other() {
    let replicas = Replicas::start(&[]).await;
    let demo = replicas.one.demo().await;
    replicas.one.upload_demo("1.0.0").await.expect(200);
    let key = &demo.device.key;
    let poll = format!("/api/iot/firmware-version?device_key={key}");
    assert_eq!(replicas.two.get(&poll).await.expect(200).json()["firmware_version"], "1.0.0");
    replicas.two.upload_demo("1.1.0").await.expect(200);
    assert_eq!(replicas.one.get(&poll).await.expect(200).json()["firmware_version"], "1.1.0");
    let id = replicas.one.deliver(key, "1.1.0", "dump").await;
    assert_eq!(replicas.two.deliver(key, "1.1.0", "dump").await, id, "the same dump");
    assert_eq!(replicas.two.dump(demo.device.id, id).await["occurrences"], 2);
    replicas.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_uploads_of_one_version_all_succeed() {
    let replicas = Replicas::start(&[]).await;
    let demo = replicas.one.demo().await;
    let path = "/api/pipeline/models/demo/firmware";
    let answers = join_all((0..16).map(|_| replicas.post(path, bundle("1.2.3")))).await;
    assert_eq!(statuses(&answers), [200]);
    let created = answers.iter().filter(|answer| answer.json()["result"] == "created").count();
    assert_eq!(created, 1, "the other uploads found it");
    assert_eq!(replicas.two.versions(demo.model_id).await, ["1.2.3"]);
    replicas.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_uploads_of_different_versions_keep_the_newest() {
    let replicas = Replicas::start(&[("MAX_FIRMWARES", "3")]).await;
    let demo = replicas.one.demo().await;
    let path = "/api/pipeline/models/demo/firmware";
    let uploads = (0..16).map(|n| replicas.post(path, bundle(&format!("1.0.{n}"))));
    assert_eq!(statuses(&join_all(uploads).await), [200]);
    let versions = replicas.one.versions(demo.model_id).await;
    assert_eq!(versions.len(), 3);
    assert_eq!(replicas.two.current_version().await, json!(versions[0]), "the last commit");
    replicas.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn simultaneous_posts_of_one_body_are_one_dump() {
    let replicas = Replicas::start(&[]).await;
    let demo = replicas.one.demo().await;
    let path = dump_path(&demo.device.key);
    let answers = join_all((0..40).map(|_| replicas.post(&path, "the same"))).await;
    assert_eq!(statuses(&answers), [201]);
    let ids = replicas.one.dump_ids(demo.device.id).await;
    assert_eq!(ids.len(), 1);
    assert!(answers.iter().all(|answer| answer.json()["coredump_id"] == ids[0]));
    assert_eq!(replicas.two.dump(demo.device.id, ids[0]).await["occurrences"], 40);
    replicas.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dumps_of_one_device_race_for_its_places() {
    // Retention spares a dump while it is parsed.
    let settings = [("MAX_COREDUMPS", "5"), ("SYMBOLIZER", "off")];
    let replicas = Replicas::start(&settings).await;
    let demo = replicas.one.demo().await;
    let path = dump_path(&demo.device.key);
    let posts = (0..60).map(|n| replicas.post(&path, format!("dump {n}")));
    let answers: Vec<_> = futures::stream::iter(posts).buffer_unordered(16).collect().await;
    assert_eq!(statuses(&answers), [201]);
    assert_eq!(replicas.one.dump_ids(demo.device.id).await.len(), 5);
    replicas.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uploads_activations_and_deletes_race_without_a_500() {
    let replicas = Replicas::start(&[("MAX_FIRMWARES", "2")]).await;
    let demo = replicas.one.demo().await;
    let versions = format!("/api/device-models/{}/firmware-versions", demo.model_id);
    let work = (0..80).map(|n: u32| {
        let (replicas, versions) = (&replicas, &versions);
        async move {
            let version = format!("1.0.{}", n % 3);
            let (answer, allowed): (_, &[u16]) = match n % 4 {
                0 => {
                    let path = "/api/pipeline/models/demo/firmware";
                    (replicas.post(path, bundle(&version)).await, &[200])
                }
                1 => (replicas.delete(&format!("{versions}/{version}")).await, &[204, 404, 409]),
                2 => {
                    let path = format!("{versions}/{version}/activate");
                    (replicas.post(&path, "").await, &[200, 404])
                }
                _ => {
                    let path = dump_path(&demo_key(replicas).await);
                    (replicas.post(&path, format!("dump {n}")).await, &[201])
                }
            };
            assert!(allowed.contains(&answer.status), "{n}: {answer:?}");
        }
    });
    futures::stream::iter(work).buffer_unordered(12).collect::<Vec<()>>().await;
    replicas.finish().await;
}

async fn demo_key(replicas: &Replicas) -> String {
    let listed = replicas.two.get("/api/devices").await.expect(200).json();
    listed["devices"][0]["key"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_model_is_deleted_or_gets_a_device_never_both() {
    let replicas = Replicas::start(&[]).await;
    for round in 0..10 {
        let model_id = replicas.one.create_model(&format!("m{round}")).await;
        let body = json!({"device_model_id": model_id, "config": "{}"}).to_string();
        let path = format!("/api/device-models/{model_id}");
        let (created, deleted) =
            tokio::join!(replicas.post("/api/devices", body), replicas.delete(&path));
        let both = (created.status, deleted.status);
        assert!([(201, 409), (404, 204), (400, 204)].contains(&both), "{created:?} {deleted:?}");
    }
    replicas.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_replica_sweeps_at_a_time() {
    let replicas = Replicas::start(&[("SWEEP_GRACE_SECONDS", "60")]).await;
    let sweep = async |server: &TestServer| {
        server.running().features().upkeep.sweep(SweepMode::Run).await.unwrap().verdict
    };
    for _ in 0..5 {
        let verdicts = tokio::join!(sweep(&replicas.one), sweep(&replicas.two));
        let foreign = |verdict: &_| matches!(verdict, SweepVerdict::Foreign { .. });
        assert!(![&verdicts.0, &verdicts.1].into_iter().any(foreign), "{verdicts:?}");
    }
    let rows = replicas.one.rows();
    assert_eq!(rows.count("leases", "name = 'sweep'"), 0, "the lease is given back");
    replicas.finish().await;
}
