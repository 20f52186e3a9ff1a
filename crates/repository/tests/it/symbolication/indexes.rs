use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::artifacts::store::ArtifactFacts;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::firmware::repository::FirmwareRepository;
use coredock_domain::symbolication::index_jobs::{
    ClaimIndex, FinishIndex, IndexStatus, LeasedIndexJob, StoredIndex, SymbolIndexRepository,
};
use coredock_domain::upkeep::sweep_repository::RetentionRules;
use coredock_domain::upkeep::sweep_repository::SweepRepository;

use crate::support::{Bench, MINUTE, Set, facts, owner, paths, second, symbols_key};

/// A worker that builds indexes of a format.
#[derive(Clone, Copy)]
struct Worker<'a> {
    bench: &'a Bench,
    owner: &'a str,
    format: u32,
}

impl Worker<'_> {
    /// The build that was leased for a minute, by the seed of its set, and its attempts.
    async fn claim(self, at: i64) -> Option<(Sha256Digest, u32)> {
        let (now, until) = (second(at), second(at).after(MINUTE));
        let claim = ClaimIndex { owner: owner(self.owner), format: self.format, now, until };
        let job = SymbolIndexRepository::claim(&self.bench.db, claim).await.unwrap();
        job.map(|job| (job.elf_sha256, job.attempts))
    }

    fn job(self, seed: &str) -> LeasedIndexJob {
        LeasedIndexJob { elf_sha256: build(seed), owner: owner(self.owner) }
    }

    async fn finish(self, seed: &str, outcome: Result<ArtifactFacts, &str>) -> bool {
        let outcome = outcome.map_err(str::to_owned);
        let job = self.job(seed);
        let result = FinishIndex { job, format: self.format, outcome, now: second(500) };
        SymbolIndexRepository::finish(&self.bench.db, result).await.unwrap()
    }

    async fn postpone(self, seed: &str, due: i64, counts: bool) {
        let (job, due) = (self.job(seed), second(due));
        SymbolIndexRepository::postpone(&self.bench.db, job, due, counts).await.unwrap();
    }
}

fn build(seed: &str) -> Sha256Digest {
    facts(seed).build_id()
}

fn index(content: &str) -> ArtifactFacts {
    ArtifactFacts { size: 7, sha256: Sha256Digest::of(content.as_bytes()) }
}

fn index_key(seed: &str, format: u32) -> ArtifactKey {
    ArtifactKey::SymbolIndex { elf_sha256: build(seed), format }
}

async fn stored(bench: &Bench, seed: &str) -> Option<StoredIndex> {
    SymbolIndexRepository::find(&bench.db, build(seed)).await.unwrap()
}

async fn status(bench: &Bench, at: i64) -> IndexStatus {
    let list = FirmwareRepository::list(&bench.db, 1, second(at)).await.unwrap().unwrap();
    list[0].index.clone()
}

/// A bench with one version, whose index is missing.
async fn with_a_version() -> Bench {
    let bench = Bench::new().await;
    let model_id = bench.model("demo").await;
    bench.publish(&Set { model_id, seed: "old", ..Set::default() }).await;
    bench
}

const fn worker(bench: &Bench) -> Worker<'_> {
    Worker { bench, owner: "aa", format: 3 }
}

#[tokio::test]
async fn a_publication_makes_an_index_due_once() {
    let bench = with_a_version().await;
    let worker = worker(&bench);
    assert_eq!(status(&bench, 100).await, IndexStatus::None);
    assert_eq!(worker.claim(99).await, None, "not yet");
    assert_eq!(worker.claim(100).await, Some((build("old"), 1)));
    assert_eq!(status(&bench, 100).await, IndexStatus::Building);
    assert_eq!(Worker { owner: "bb", ..worker }.claim(100).await, None, "one at a time");
    assert_eq!(stored(&bench, "old").await, None);
    assert!(worker.finish("old", Ok(index("x"))).await);
    assert_eq!(stored(&bench, "old").await, Some(StoredIndex { format: 3, facts: index("x") }));
    assert_eq!(status(&bench, 500).await, IndexStatus::Ready);
    bench.publish(&Set { seed: "old", at: 510, ..Set::default() }).await;
    assert_eq!(worker.claim(600).await, None, "the build has an index");
    assert_eq!(bench.queued(), Vec::<String>::new());
}

#[tokio::test]
async fn a_worker_that_dies_costs_an_attempt() {
    let bench = with_a_version().await;
    let (one, two) = (worker(&bench), Worker { owner: "bb", ..worker(&bench) });
    one.claim(100).await.unwrap();
    assert_eq!(two.claim(159).await, None);
    assert_eq!(status(&bench, 160).await, IndexStatus::None, "the lease expired");
    assert_eq!(two.claim(160).await, Some((build("old"), 2)));
    assert!(!one.finish("old", Ok(index("late"))).await);
    assert_eq!(
        bench.queued(),
        paths(&[index_key("old", 3)]),
        "until the other worker stores the same key"
    );
    assert_eq!(stored(&bench, "old").await, None);
    assert!(two.finish("old", Ok(index("x"))).await);
    assert_eq!(bench.queued(), Vec::<String>::new());
    assert!(stored(&bench, "old").await.is_some());
}

#[tokio::test]
async fn a_postponed_job_is_due_again_and_its_attempt_counts_if_asked() {
    let bench = with_a_version().await;
    let worker = worker(&bench);
    worker.claim(100).await.unwrap();
    worker.postpone("old", 130, false).await;
    assert_eq!(worker.claim(129).await, None);
    assert_eq!(worker.claim(130).await, Some((build("old"), 1)));
    worker.postpone("old", 140, true).await;
    assert_eq!(worker.claim(140).await, Some((build("old"), 2)));
}

#[tokio::test]
async fn a_failure_shows_its_reason_and_is_tried_again_for_a_new_upload_or_format() {
    let bench = with_a_version().await;
    let worker = worker(&bench);
    worker.claim(100).await.unwrap();
    assert!(worker.finish("old", Err("no ELF")).await);
    assert_eq!(status(&bench, 500).await, IndexStatus::Failed("no ELF".into()));
    assert_eq!(worker.claim(600).await, None);
    let newer = Worker { format: 4, ..worker };
    assert_eq!(newer.claim(600).await, Some((build("old"), 1)));
    newer.finish("old", Err("still none")).await;
    bench.publish(&Set { seed: "old", at: 610, ..Set::default() }).await;
    assert_eq!(status(&bench, 610).await, IndexStatus::None);
    assert_eq!(worker.claim(610).await, Some((build("old"), 1)));
}

#[tokio::test]
async fn an_index_of_an_older_format_is_replaced_and_never_the_other_way_round() {
    let bench = with_a_version().await;
    let (older, newer) = (worker(&bench), Worker { format: 4, ..worker(&bench) });
    older.claim(100).await.unwrap();
    older.finish("old", Ok(index("x"))).await;
    assert_eq!(newer.claim(600).await, Some((build("old"), 1)));
    let both = [index_key("old", 3), index_key("old", 4), index_key("old", 5)];
    let garbage = async |at| paths(&bench.db.unreferenced(&both, second(at)).await.unwrap());
    assert_eq!(garbage(601).await, Vec::<String>::new(), "an index is being built");
    assert_eq!(stored(&bench, "old").await.unwrap().format, 3, "until the new index is stored");
    assert!(newer.finish("old", Ok(index("y"))).await);
    assert_eq!(stored(&bench, "old").await, Some(StoredIndex { format: 4, facts: index("y") }));
    assert_eq!(bench.queued(), paths(&both[..1]));
    assert_eq!(garbage(700).await, paths(&both[2..]));
    assert_eq!(older.claim(700).await, None);
}

#[tokio::test]
async fn an_index_whose_object_is_lost_is_built_again() {
    let bench = with_a_version().await;
    let worker = worker(&bench);
    worker.claim(100).await.unwrap();
    worker.finish("old", Ok(index("x"))).await;
    let forget = async |content| {
        let index = StoredIndex { format: 3, facts: index(content) };
        bench.db.forget(build("old"), index, second(550)).await.unwrap();
    };
    forget("another one").await;
    assert!(stored(&bench, "old").await.is_some(), "the stored index is another");
    forget("x").await;
    assert_eq!(stored(&bench, "old").await, None);
    assert_eq!(worker.claim(550).await, Some((build("old"), 1)));
}

#[tokio::test]
async fn an_index_is_deleted_with_the_symbol_file_of_its_build() {
    let bench = with_a_version().await;
    let worker = worker(&bench);
    worker.claim(100).await.unwrap();
    worker.finish("old", Ok(index("x"))).await;
    bench.publish(&Set { seed: "new", at: 600, ..Set::default() }).await;
    assert_eq!(worker.claim(600).await, Some((build("new"), 1)));
    let symbol_retention = MINUTE * 60;
    let now = second(601).after(symbol_retention);
    let rules = RetentionRules { max_versions: 2, symbol_retention, now };
    let retired = bench.db.apply_retention(rules).await.unwrap();
    assert_eq!(retired.symbols, [build("old")]);
    assert_eq!(bench.queued(), paths(&[index_key("old", 3), symbols_key("old")]));
    assert_eq!(stored(&bench, "old").await, None);
    assert_eq!(
        status(&bench, 600).await,
        IndexStatus::Building,
        "the index of the version row stays"
    );
}

#[tokio::test]
async fn an_index_built_while_its_key_is_deleted_is_built_again() {
    let bench = with_a_version().await;
    let worker = worker(&bench);
    worker.claim(100).await.unwrap();
    bench.sql(&format!(
        "INSERT INTO outbox (object_key, queued_at, next_attempt_at, lease_owner, lease_until) \
         VALUES ('{}', '{at}', '{at}', 'cc', '{until}')",
        index_key("old", 3),
        at = second(0),
        until = second(900)
    ));
    assert!(!worker.finish("old", Ok(index("x"))).await);
    assert_eq!(stored(&bench, "old").await, None);
    assert_eq!(worker.claim(500).await, Some((build("old"), 1)));
}
