use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::firmware::publication::PublicationRepository;
use coredock_domain::firmware::publication::PublishedObjects;
use coredock_domain::ids::{ReplicaId, UploadId};
use coredock_domain::upkeep::sweep_repository::StoreOwnership;
use coredock_domain::upkeep::sweep_repository::SweepRepository;

use crate::support::{
    Bench, Set, device_key, firmware_keys, paths, second, staging_keys, symbols_key, upload,
};

async fn unreferenced(bench: &Bench, keys: &[ArtifactKey], at: i64) -> Vec<String> {
    paths(&bench.db.unreferenced(keys, second(at)).await.unwrap())
}

#[tokio::test]
async fn garbage_is_recognised_among_keys_of_every_kind() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.model("other").await;
    let device = bench.device(model_id, "abcd2345").await;
    let id = bench.dump(device, "1.0.0", "PENDING");
    bench.publish(&Set { model_id, ..Set::default() }).await;
    let objects = PublishedObjects::Staged;
    let staged = Set { upload: "bb", seed: "second", at: 110, model_id, objects, ..Set::default() };
    bench.publish(&staged).await;

    let dump = |key: &str, id| ArtifactKey::Coredump { device: device_key(key), id };
    let mut in_use = firmware_keys("demo", "1.0.0");
    in_use.extend(staging_keys("bb"));
    in_use.extend([symbols_key("first"), symbols_key("second"), dump("abcd2345", id)]);
    in_use.extend([
        ArtifactKey::Owner,
        ArtifactKey::Health { replica: ReplicaId::parse("cc").unwrap() },
    ]);
    assert_eq!(unreferenced(&bench, &in_use, 200).await, Vec::<String>::new());

    let mut garbage = firmware_keys("other", "1.0.0");
    garbage.extend(firmware_keys("demo", "2.0.0"));
    garbage.extend(staging_keys("aa"));
    garbage.extend([symbols_key("third"), dump("abcd2345", id + 1), dump("abcd2346", id)]);
    garbage.push(ArtifactKey::RomElf { sha256: Sha256Digest::of(b"rom") });
    let mixed: Vec<_> = in_use.into_iter().chain(garbage.clone()).collect();
    assert_eq!(unreferenced(&bench, &mixed, 200).await, paths(&garbage));
    let queued = bench.db.queue_garbage(&mixed, second(200)).await.unwrap();
    assert_eq!(queued, garbage.len() as u64);
    assert_eq!(bench.queued(), paths(&garbage));
    assert_eq!(unreferenced(&bench, &mixed, 200).await, Vec::<String>::new(), "queued already");
}

#[tokio::test]
async fn an_object_under_publication_is_not_garbage() {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.begin(&Set { model_id, ..Set::default() }).await;
    let mut keys = firmware_keys("demo", "1.0.0");
    keys.extend(staging_keys("aa"));
    keys.push(symbols_key("first"));
    assert_eq!(unreferenced(&bench, &keys, 159).await, Vec::<String>::new());
    assert_eq!(unreferenced(&bench, &keys, 160).await, paths(&keys), "the lease ended");
    bench.db.end(&upload("aa")).await.unwrap();
    assert_eq!(unreferenced(&bench, &keys, 120).await, paths(&keys));
}

#[tokio::test]
async fn a_thousand_keys_cost_a_constant_number_of_statements() {
    let bench = Bench::new().await;
    let count = async |keys: u32| {
        let keys: Vec<_> = (0..keys)
            .map(|n| match n % 5 {
                0 => firmware_keys("demo", &format!("1.{n}"))[0].clone(),
                1 => symbols_key(&n.to_string()),
                2 => ArtifactKey::RomElf { sha256: Sha256Digest::of(&n.to_le_bytes()) },
                3 => staging_keys(UploadId::parse(&format!("{n:x}")).unwrap().as_str())[0].clone(),
                _ => ArtifactKey::Coredump { device: device_key("abcd2345"), id: n.into() },
            })
            .collect();
        let before = bench.db.statement_count();
        assert_eq!(bench.db.unreferenced(&keys, second(1)).await.unwrap().len(), keys.len());
        bench.db.statement_count() - before
    };
    let few = count(40).await;
    assert!(few <= 10 && count(1_000).await <= few + 1);
}

#[tokio::test]
async fn the_installation_is_created_once_and_the_sweep_is_armed_for_it() {
    let bench = Bench::new().await;
    let installation_id = "0".repeat(32);
    let ownership = |epoch| StoreOwnership { installation_id: installation_id.clone(), epoch };
    assert_eq!(bench.db.ownership().await.unwrap(), ownership(0));
    bench.db.arm(7, second(1)).await.unwrap();
    bench.db.arm(8, second(2)).await.unwrap();
    assert_eq!(bench.db.ownership().await.unwrap(), ownership(8));
    let again = bench.db.ensure_installation(&Ones, second(3)).await.unwrap();
    assert_eq!(again, installation_id);
}

struct Ones;

impl coredock_domain::Entropy for Ones {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0x11);
    }
}
