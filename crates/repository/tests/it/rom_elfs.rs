use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::artifacts::store::ArtifactFacts;
use coredock_domain::chip::KnownChip;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::error::RepositoryError;
use coredock_domain::firmware::publication::PublicationRepository;
use coredock_domain::rom_elfs::repository::{
    BeginRomElf, RecordRomElf, RomElfRepository, RomElfStart,
};
use coredock_domain::rom_elfs::rom_elf::{RomElf, RomElfName};
use coredock_domain::upkeep::outbox::OutboxRepository;
use coredock_domain::upkeep::sweep_repository::SweepRepository;

use crate::support::{Bench, MINUTE, change, owner, paths, second, upload};

/// A ROM ELF that is uploaded at a second.
#[derive(Clone, Copy)]
struct Rom<'a> {
    upload: &'a str,
    chip: &'a str,
    name: &'a str,
    /// Determines the hash.
    seed: &'a str,
    at: i64,
}

impl Default for Rom<'_> {
    fn default() -> Self {
        Self { upload: "aa", chip: "esp32c6", name: "rev 0", seed: "first", at: 100 }
    }
}

impl Rom<'_> {
    fn facts(&self) -> ArtifactFacts {
        ArtifactFacts { size: 489_768, sha256: Sha256Digest::of(self.seed.as_bytes()) }
    }

    fn key(&self) -> ArtifactKey {
        ArtifactKey::RomElf { sha256: self.facts().sha256 }
    }

    async fn begin(&self, bench: &Bench) -> RomElfStart {
        let (now, until) = (second(self.at), second(self.at).after(MINUTE));
        let (upload, sha256) = (upload(self.upload), self.facts().sha256);
        let request = BeginRomElf { upload, sha256, now, until };
        RomElfRepository::begin(&bench.db, request).await.unwrap()
    }

    async fn try_record(&self, bench: &Bench) -> Result<Option<RomElf>, RepositoryError> {
        let row = RecordRomElf {
            upload: upload(self.upload),
            chip: chip(self.chip),
            name: RomElfName::parse(self.name).unwrap(),
            facts: self.facts(),
        };
        RomElfRepository::record(&bench.db, row, &change(self.at)).await
    }

    /// Takes the lease and commits.
    async fn store(&self, bench: &Bench) -> RomElf {
        assert_eq!(self.begin(bench).await, RomElfStart::Granted);
        self.try_record(bench).await.unwrap().unwrap()
    }
}

fn chip(name: &str) -> KnownChip {
    KnownChip::named(name).unwrap()
}

async fn list(bench: &Bench) -> Vec<RomElf> {
    RomElfRepository::list(&bench.db).await.unwrap()
}

async fn delete(bench: &Bench, id: i64, at: i64) -> bool {
    RomElfRepository::delete(&bench.db, id, &change(at)).await.unwrap()
}

#[tokio::test]
async fn a_rom_elf_reads_back_as_it_was_recorded_and_its_lease_is_released() {
    let bench = Bench::new().await;
    let rom = Rom { name: "Größe 5", ..Rom::default() };
    let recorded = rom.store(&bench).await;
    assert_eq!(recorded.chip, chip("esp32c6"));
    assert_eq!(recorded.name.as_str(), "Größe 5");
    assert_eq!((recorded.facts, recorded.uploaded_at), (rom.facts(), second(100)));
    assert_eq!(list(&bench).await, std::slice::from_ref(&recorded));
    assert_eq!(bench.audited(), [format!("rom_elf.uploaded {}", recorded.id)]);
    assert_eq!(bench.lines("SELECT name AS line FROM leases"), Vec::<String>::new());
}

#[tokio::test]
async fn lists_are_one_statement_by_chip_name_and_id() {
    let bench = Bench::new().await;
    let stored = [("esp32s3", "a"), ("esp32", "b"), ("esp32", "_"), ("esp32", "B"), ("esp32", "b")];
    for (n, (chip, name)) in stored.iter().enumerate() {
        Rom { chip, name, seed: &n.to_string(), ..Rom::default() }.store(&bench).await;
    }
    let before = bench.db.statement_count();
    let all = list(&bench).await;
    let of_chip = bench.db.list_of_chip(chip("esp32")).await.unwrap();
    assert_eq!(bench.db.statement_count() - before, 2);
    let names: Vec<_> = all.iter().map(|rom| (rom.chip.name(), rom.name.as_str())).collect();
    let expected =
        [("esp32", "B"), ("esp32", "_"), ("esp32", "b"), ("esp32", "b"), ("esp32s3", "a")];
    assert_eq!(names, expected);
    assert!(all[2].id < all[3].id);
    assert_eq!(of_chip, all[..4]);
    assert_eq!(bench.db.list_of_chip(chip("esp32h2")).await.unwrap(), []);
}

#[tokio::test]
async fn a_stored_digest_is_found_whatever_its_upload_is_named() {
    let bench = Bench::new().await;
    let stored = Rom::default().store(&bench).await;
    let again = Rom { upload: "bb", chip: "esp32p4", name: "other", ..Rom::default() };
    assert_eq!(again.begin(&bench).await, RomElfStart::Exists(Box::new(stored)));
    assert!(again.try_record(&bench).await.unwrap().is_none(), "this upload has no lease");
    assert_eq!(list(&bench).await.len(), 1);
}

#[tokio::test]
async fn one_upload_of_a_digest_at_a_time_until_its_lease_ends() {
    let bench = Bench::new().await;
    let first = Rom::default();
    let rival = |at| Rom { upload: "bb", at, ..Rom::default() };
    assert_eq!(first.begin(&bench).await, RomElfStart::Granted);
    assert_eq!(first.begin(&bench).await, RomElfStart::Granted, "the owner may ask again");
    assert_eq!(rival(101).begin(&bench).await, RomElfStart::Busy);
    let other = Rom { seed: "second", ..rival(101) };
    assert_eq!(other.begin(&bench).await, RomElfStart::Granted, "another ELF is free");
    assert!(bench.db.renew(&upload("aa"), second(150), second(210)).await.unwrap());
    assert_eq!(rival(209).begin(&bench).await, RomElfStart::Busy);
    assert_eq!(rival(210).begin(&bench).await, RomElfStart::Granted, "the lease ended by itself");
    assert_eq!(Rom { at: 211, ..first }.try_record(&bench).await.unwrap(), None);
    bench.db.end(&upload("bb")).await.unwrap();
    assert_eq!(Rom { at: 212, ..first }.begin(&bench).await, RomElfStart::Granted);
    assert_eq!(list(&bench).await, []);
    assert_eq!(bench.audited(), Vec::<String>::new());
}

#[tokio::test]
async fn simultaneous_uploads_of_one_digest_leave_one_row() {
    let bench = Bench::new().await;
    let uploads = (0..8).map(|n| {
        let (bench, name) = (&bench, format!("{n:x}"));
        async move {
            let rom = Rom { upload: &name, ..Rom::default() };
            match rom.begin(bench).await {
                RomElfStart::Granted => rom.try_record(bench).await.unwrap().map(|_| "stored"),
                RomElfStart::Exists(_) => Some("held"),
                RomElfStart::Busy => Some("busy"),
            }
        }
    });
    let outcomes = futures::future::join_all(uploads).await;
    let stored = outcomes.iter().filter(|outcome| **outcome == Some("stored"));
    assert_eq!((stored.count(), list(&bench).await.len()), (1, 1), "{outcomes:?}");
    assert!(!outcomes.contains(&None), "{outcomes:?}");
}

#[tokio::test]
async fn a_digest_is_unique_in_the_database_too() {
    let bench = Bench::new().await;
    Rom::default().store(&bench).await;
    bench.sql("UPDATE rom_elfs SET sha256 = 'elsewhere'");
    assert_eq!(Rom::default().begin(&bench).await, RomElfStart::Granted);
    let sha256 = Rom::default().facts().sha256;
    bench.sql(&format!("UPDATE rom_elfs SET sha256 = '{sha256}'"));
    let conflict = Rom::default().try_record(&bench).await;
    assert!(matches!(conflict, Err(RepositoryError::Conflict)), "{conflict:?}");
}

#[tokio::test]
async fn deleting_removes_the_row_and_queues_its_object() {
    let bench = Bench::new().await;
    let stored = Rom::default().store(&bench).await;
    let other = Rom { seed: "second", ..Rom::default() }.store(&bench).await;
    assert!(delete(&bench, stored.id, 110).await);
    assert!(!delete(&bench, stored.id, 111).await);
    assert_eq!(list(&bench).await, [other]);
    assert_eq!(bench.queued(), paths(&[stored.key()]));
    let last = bench.audited().pop();
    assert_eq!(last, Some(format!("rom_elf.deleted {}", stored.id)));
    assert_eq!(bench.audited().len(), 3);
    let claimed = bench.claim("cc", 120).await;
    assert_eq!(claimed.iter().map(|entry| &entry.key).collect::<Vec<_>>(), [&stored.key()]);
}

#[tokio::test]
async fn uploading_again_cancels_a_queued_delete_and_waits_for_one_that_has_begun() {
    let bench = Bench::new().await;
    let stored = Rom::default().store(&bench).await;
    delete(&bench, stored.id, 110).await;
    let again = |at| Rom { upload: "bb", at, ..Rom::default() };
    assert_eq!(bench.claim("cc", 120).await.len(), 1, "leased until 180");
    assert_eq!(again(179).begin(&bench).await, RomElfStart::Busy);
    assert_eq!(bench.queued().len(), 1);
    assert_eq!(again(180).begin(&bench).await, RomElfStart::Granted);
    assert_eq!(bench.queued(), Vec::<String>::new());
    let recorded = again(180).try_record(&bench).await.unwrap().unwrap();
    assert!(recorded.id > stored.id, "an id is never reused");
    bench.db.finish(&owner("cc"), &[1]).await.unwrap();
    assert_eq!(list(&bench).await, [recorded]);
}

#[tokio::test]
async fn the_object_of_an_upload_under_way_is_neither_garbage_nor_deleted() {
    let bench = Bench::new().await;
    let rom = Rom::default();
    let garbage = async |at| paths(&bench.db.unreferenced(&[rom.key()], second(at)).await.unwrap());
    assert_eq!(garbage(100).await, paths(&[rom.key()]));
    assert_eq!(bench.db.queue_garbage(&[rom.key()], second(100)).await.unwrap(), 1);
    assert_eq!(rom.begin(&bench).await, RomElfStart::Granted);
    assert_eq!(bench.queued(), Vec::<String>::new());
    assert_eq!(garbage(159).await, Vec::<String>::new());
    assert_eq!(garbage(160).await, paths(&[rom.key()]), "the lease ended");
    rom.try_record(&bench).await.unwrap().unwrap();
    assert_eq!(garbage(200).await, Vec::<String>::new());
    assert_eq!(bench.db.queue_garbage(&[rom.key()], second(200)).await.unwrap(), 0);
}

#[tokio::test]
async fn a_queued_delete_of_an_object_in_use_is_cancelled_instead_of_claimed() {
    let bench = Bench::new().await;
    let stored = Rom::default().store(&bench).await;
    bench.sql(&format!(
        "INSERT INTO outbox (object_key, queued_at, next_attempt_at) VALUES ('{}', '{at}', '{at}')",
        stored.key(),
        at = second(0)
    ));
    assert_eq!(bench.claim("cc", 200).await, []);
    assert_eq!(bench.queued(), Vec::<String>::new());
}

#[tokio::test]
async fn a_change_that_cannot_be_audited_changes_nothing() {
    let bench = Bench::new().await;
    let stored = Rom::default().store(&bench).await;
    let other = Rom { seed: "second", ..Rom::default() };
    assert_eq!(other.begin(&bench).await, RomElfStart::Granted);
    bench.break_inserts("audit_records");
    assert!(other.try_record(&bench).await.is_err());
    assert!(RomElfRepository::delete(&bench.db, stored.id, &change(120)).await.is_err());
    bench.mend_inserts("audit_records");
    assert_eq!(list(&bench).await, [stored]);
    assert_eq!(bench.queued(), Vec::<String>::new());
    assert!(other.try_record(&bench).await.unwrap().is_some(), "the lease is still held");
}

#[tokio::test]
async fn an_impossible_value_names_its_column() {
    let bench = Bench::new().await;
    Rom::default().store(&bench).await;
    bench.sql("UPDATE rom_elfs SET chip = 'esp8266'");
    let error = RomElfRepository::list(&bench.db).await.unwrap_err();
    assert_eq!(error.to_string(), "column chip of table rom_elfs holds an impossible value");
}
