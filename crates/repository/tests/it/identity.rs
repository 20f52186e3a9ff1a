use std::time::Duration;

use coredock_domain::digest::Sha256Digest;
use coredock_domain::identity::refreshes::{
    BeginRefresh, FinishRefresh, RefreshRepository, RefreshStart,
};
use coredock_domain::identity::saved_keys::SavedKeys;

use crate::support::{Bench, owner, second};

const ISSUER: &str = "https://id.example/realms/a";

#[tokio::test]
async fn the_keys_saved_last_are_loaded_and_each_issuer_has_its_own() {
    let bench = Bench::new().await;
    assert_eq!(bench.db.load(ISSUER).await.unwrap(), None);
    bench.db.save(ISSUER, "first", second(100)).await.unwrap();
    bench.db.save(ISSUER, "second", second(101)).await.unwrap();
    bench.db.save("https://id.example/realms/A", "other", second(102)).await.unwrap();
    assert_eq!(bench.db.load(ISSUER).await.unwrap().as_deref(), Some("second"));
    let other = bench.db.load("https://id.example/realms/A").await.unwrap();
    assert_eq!(other.as_deref(), Some("other"));
    let rows = bench.lines("SELECT issuer AS line FROM identity_keys ORDER BY issuer");
    assert_eq!(rows.len(), 2);
}

/// A call that begins at a second and holds its lease for ten.
async fn begin(bench: &Bench, name: &str, at: i64) -> RefreshStart {
    let request = BeginRefresh {
        token: token(),
        owner: owner(name),
        now: second(at),
        until: second(at).after(Duration::from_secs(10)),
    };
    RefreshRepository::begin(&bench.db, request).await.unwrap()
}

async fn finish(bench: &Bench, name: &str, expires_at: i64) -> bool {
    let refresh = FinishRefresh {
        token: token(),
        owner: owner(name),
        sealed: b"sealed\0".to_vec(),
        expires_at: second(expires_at),
    };
    RefreshRepository::finish(&bench.db, refresh).await.unwrap()
}

fn token() -> Sha256Digest {
    Sha256Digest::of(b"refresh token")
}

#[tokio::test]
async fn one_call_refreshes_and_the_others_get_its_result() {
    let bench = Bench::new().await;
    assert_eq!(begin(&bench, "aa", 100).await, RefreshStart::Granted);
    assert_eq!(begin(&bench, "bb", 101).await, RefreshStart::InProgress);
    assert!(!finish(&bench, "bb", 160).await, "it has no lease");
    assert!(finish(&bench, "aa", 160).await);
    let done = RefreshStart::Done(b"sealed\0".to_vec());
    assert_eq!(begin(&bench, "bb", 102).await, done);
    assert_eq!(begin(&bench, "bb", 159).await, done, "until the result expires");
    assert!(!finish(&bench, "aa", 300).await, "a result is written once");
    assert_eq!(begin(&bench, "bb", 160).await, RefreshStart::Granted);
}

#[tokio::test]
async fn a_lease_ends_by_itself_or_when_it_is_abandoned() {
    let bench = Bench::new().await;
    assert_eq!(begin(&bench, "aa", 100).await, RefreshStart::Granted);
    assert_eq!(begin(&bench, "bb", 110).await, RefreshStart::Granted);
    assert!(!finish(&bench, "aa", 160).await, "its lease is lost");
    bench.db.abandon(&token(), &owner("aa")).await.unwrap();
    assert_eq!(begin(&bench, "cc", 111).await, RefreshStart::InProgress);
    bench.db.abandon(&token(), &owner("bb")).await.unwrap();
    assert_eq!(begin(&bench, "cc", 111).await, RefreshStart::Granted);
    assert!(finish(&bench, "cc", 160).await);
    bench.db.abandon(&token(), &owner("cc")).await.unwrap();
    assert!(matches!(begin(&bench, "dd", 112).await, RefreshStart::Done(_)));
}

#[tokio::test]
async fn of_simultaneous_calls_one_refreshes() {
    let bench = Bench::new().await;
    let calls = ["a", "b", "c", "d", "e", "f"];
    let starts = calls.map(|name| begin(&bench, name, 100));
    let starts = futures::future::join_all(starts).await;
    let granted = starts.iter().filter(|start| **start == RefreshStart::Granted).count();
    assert_eq!(granted, 1, "{starts:?}");
    assert!(starts.iter().all(|start| !matches!(start, RefreshStart::Done(_))), "{starts:?}");
}

#[tokio::test]
async fn expired_rows_are_deleted_a_few_at_a_time() {
    let bench = Bench::new().await;
    for n in 0..3_u8 {
        let request = BeginRefresh {
            token: Sha256Digest::of(&[n]),
            owner: owner("aa"),
            now: second(100),
            until: second(110 + i64::from(n)),
        };
        RefreshRepository::begin(&bench.db, request).await.unwrap();
    }
    assert_eq!(bench.db.delete_expired(second(109), 5).await.unwrap(), 0);
    assert_eq!(bench.db.delete_expired(second(111), 1).await.unwrap(), 1);
    assert_eq!(bench.db.delete_expired(second(111), 5).await.unwrap(), 1);
    assert_eq!(bench.db.delete_expired(second(112), 5).await.unwrap(), 1);
}
