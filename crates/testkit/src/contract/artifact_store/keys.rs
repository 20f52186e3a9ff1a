use std::collections::BTreeSet;

use bytes::Bytes;
use coredock_domain::ArtifactStore;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactName, ArtifactPrefix};
use coredock_domain::artifacts::store::ByteRange;
use coredock_domain::ids::ModelCode;
use coredock_domain::ids::VersionText;
use futures::stream::{self, StreamExt};

use super::{content, is_absent, key, list, put};

/// The path of an object which is not an artifact, below the prefix of artifacts.
pub const FOREIGN_PATH: &str = "firmware/contract/notes.txt";

/// Checks that the object of `size` bytes which the caller placed at [`FOREIGN_PATH`] is listed.
pub async fn lists_foreign_objects(store: &dyn ArtifactStore, size: u64) {
    let listed = list(store, ArtifactPrefix::Firmware).await;
    let foreign = listed.iter().find(|object| object.path == FOREIGN_PATH);
    assert_eq!(foreign.expect("foreign objects are listed").size, size);
    assert!(FOREIGN_PATH.parse::<ArtifactKey>().is_err());
}

pub(super) async fn absent_objects_are_none(store: &dyn ArtifactStore) {
    let present = key("coredumps/contract/10.dmp");
    put(store, &present, Bytes::from_static(b"abc")).await;
    for path in ["coredumps/contract/11.dmp", "coredumps/contrac2/10.dmp", "coredock/owner"] {
        let absent = key(path);
        assert!(is_absent(store, &absent).await, "{path}");
        let range = ByteRange::Part { start: 5, end: 9 };
        let part = store.open(&absent, range).await.expect("absence is not an error");
        assert!(part.is_none(), "a part of {path}");
    }
}

pub(super) async fn absent_keys_can_be_deleted(store: &dyn ArtifactStore) {
    let [first, absent, second, other] = [
        "coredumps/contract/20.dmp",
        "coredumps/contract/21.dmp",
        "health/c0.probe",
        "coredumps/contract/22.dmp",
    ]
    .map(key);
    for present in [&first, &second, &other] {
        put(store, present, Bytes::from_static(b"abc")).await;
    }
    store.delete(&[]).await.expect("nothing to delete");
    store.delete(std::slice::from_ref(&absent)).await.expect("an absent object is deleted");
    let keys = [first, absent, second];
    for _ in 0..2 {
        store.delete(&keys).await.expect("present and absent objects are deleted");
        for key in &keys {
            assert!(is_absent(store, key).await, "{key}");
        }
    }
    assert_eq!(content(store, &other).await, "abc");
}

pub(super) async fn prefixes_are_listed_apart(store: &dyn ArtifactStore) {
    let paths = [
        "firmware/contract/8.0/firmware.bin",
        "symbols/e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855/firmware.elf",
        "coredumps/contract/30.dmp",
        "staging/c2/firmware.map",
        "coredock/owner",
        "health/c1.probe",
    ];
    for path in paths {
        put(store, &key(path), Bytes::from_static(b"seven b")).await;
    }
    for prefix in ArtifactPrefix::ALL {
        let listed = list(store, prefix).await;
        let below = |path: &str| path.starts_with(&format!("{}/", prefix.as_str()));
        assert!(listed.iter().all(|object| below(&object.path)), "{listed:?}");
        for path in paths.into_iter().filter(|path| below(path)) {
            let found: Vec<_> = listed.iter().filter(|object| object.path == path).collect();
            assert_eq!(found.len(), 1, "{path}");
            assert_eq!(found[0].size, 7);
        }
    }
    store.delete(&[key("coredock/owner")]).await.expect("the owner mark is deleted");
}

/// More than two pages of a listing, and more than two batches of a deletion, where the store has
/// them; every fifth key must be encoded in requests.
pub(super) async fn thousands_of_objects_are_listed_and_deleted(store: &dyn ArtifactStore) {
    let version = |number: u32| match number % 5 {
        0 => format!("3.{number}+a%2B b&ü"),
        _ => format!("3.{number}"),
    };
    let keys: Vec<_> = (1..=2500).map(|number| map_of("contrac3", &version(number))).collect();
    let body = Bytes::from_static(b"x").into();
    let puts = keys.iter().map(|key| store.put(key, &body));
    let stored: Vec<_> = stream::iter(puts).buffer_unordered(16).collect().await;
    assert!(stored.iter().all(Result::is_ok));
    let expected: BTreeSet<_> = keys.iter().map(ToString::to_string).collect();
    let paths = || async {
        let objects = list(store, ArtifactPrefix::Firmware).await.into_iter();
        let paths = objects.map(|object| object.path);
        paths.filter(|path| path.starts_with("firmware/contrac3/")).collect::<Vec<_>>()
    };
    let listed = paths().await;
    assert_eq!(listed.len(), keys.len(), "each is listed once");
    assert!(listed.into_iter().collect::<BTreeSet<_>>() == expected, "each as it is");
    store.delete(&keys).await.expect("many are deleted at once");
    assert!(paths().await.is_empty());
}

fn map_of(model: &str, version: &str) -> ArtifactKey {
    ArtifactKey::Firmware {
        model: ModelCode::parse(model).expect("a model code"),
        version: VersionText::parse(version).expect("a version text"),
        artifact: ArtifactName::Map,
    }
}

pub(super) async fn every_version_text_is_a_key(store: &dyn ArtifactStore) {
    // Version texts of uploads and of older deployments.
    let texts =
        ["1.0.0+5.gabc-dirty", "1.0.0%2B5", "v 1", "1.0#2", "1?x=y&z", "1.0.0 5", "ü~:;=@!"];
    let keyed = |text: &str| map_of("contract", text);
    for text in texts {
        put(store, &keyed(text), Bytes::copy_from_slice(text.as_bytes())).await;
    }
    let listed = list(store, ArtifactPrefix::Firmware).await;
    for text in texts {
        assert_eq!(content(store, &keyed(text)).await, text);
        let path = keyed(text).to_string();
        assert!(listed.iter().any(|object| object.path == path), "{path} is listed as it is");
    }
    let keys: Vec<_> = texts.iter().map(|text| keyed(text)).collect();
    store.delete(&keys).await.expect("they are deleted");
    for key in &keys {
        assert!(is_absent(store, key).await, "{key}");
    }
}
