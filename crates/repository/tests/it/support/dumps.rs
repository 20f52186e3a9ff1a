//! Verbs for dumps and their jobs.

use coredock_domain::audit::Change;
use coredock_domain::coredumps::coredump::{BuildId, Chip, Coredump, ReportedVersion};
use coredock_domain::coredumps::repository::CoredumpRepository;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::error::RepositoryError;
use coredock_domain::intake::repository::{
    InitialState, IntakeRepository, RecordCoredump, Recorded,
};
use coredock_domain::symbolication::jobs::ParseJobRepository;
use coredock_domain::symbolication::jobs::{
    ClaimJobs, Claimed, FinishJob, Finished, ParseJob, PostponeJob,
};

use super::{Bench, MINUTE, change, device_key, owner as owner_of, second};

pub(crate) const KEY: &str = "abcd2345";

/// A dump that is to be recorded.
#[derive(Clone)]
pub(crate) struct Dump<'a> {
    pub(crate) device_id: i64,
    pub(crate) key: &'a str,
    pub(crate) body: &'a str,
    pub(crate) version: &'a str,
    pub(crate) build: Option<&'a str>,
    pub(crate) state: InitialState,
    /// The second since which the same body counts as the same dump.
    pub(crate) same_since: Option<i64>,
    pub(crate) max_dumps: u32,
    /// Second of the commit.
    pub(crate) at: i64,
}

impl Default for Dump<'_> {
    fn default() -> Self {
        Self {
            device_id: 1,
            key: KEY,
            body: "body",
            version: "1.0.0",
            build: None,
            state: InitialState::Due { position: second(100) },
            same_since: None,
            max_dumps: 3,
            at: 100,
        }
    }
}

impl Dump<'_> {
    pub(crate) fn with_id(&self, id: i64) -> RecordCoredump {
        RecordCoredump {
            id,
            device_id: self.device_id,
            device: device_key(self.key),
            chip: Chip::parse("esp32s3").unwrap(),
            firmware_version: ReportedVersion::parse(self.version).unwrap(),
            size: self.body.len() as u64,
            sha256: digest(self.body),
            build_id: self.build.map(|text| BuildId::parse(text).unwrap()),
            state: self.state.clone(),
            same_body_since: self.same_since.map(second),
            max_coredumps: self.max_dumps,
            is_retried: false,
        }
    }

    fn change(&self) -> Change {
        change(self.at)
    }
}

pub(crate) fn digest(body: &str) -> Sha256Digest {
    Sha256Digest::of(body.as_bytes())
}

pub(crate) fn object(key: &str, id: i64) -> String {
    format!("coredumps/{key}/{id}.dmp")
}

/// Runs `count` futures at the same time; returns their results in order.
pub(crate) async fn together<T>(count: i64, each: impl AsyncFn(i64) -> T) -> Vec<T> {
    futures::future::join_all((0..count).map(|index| each(index))).await
}

/// The result of a job with a report.
pub(crate) fn parsed(job: &ParseJob, owner: &str, at: i64) -> FinishJob {
    FinishJob {
        id: job.id,
        device_id: job.device_id,
        device: job.device.clone(),
        owner: owner_of(owner),
        now: second(at),
        fault: None,
        parsed_output: "a report".into(),
        report: Some("{}".into()),
        signature: Some("9f86d081884c7d65".into()),
        missing_elf: None,
        build_id: None,
        max_coredumps: 3,
    }
}

impl Bench {
    /// A database with one model and one device of it.
    pub(crate) async fn with_device() -> (Self, i64) {
        Self::new().await.add_device().await
    }

    /// The same on `SQLite`, for behaviour which only that database has.
    pub(crate) async fn sqlite_with_device() -> (Self, i64) {
        Self::sqlite().await.add_device().await
    }

    async fn add_device(self) -> (Self, i64) {
        let bench = self;
        let model_id = bench.model("demo").await;
        let device_id = bench.device(model_id, KEY).await;
        (bench, device_id)
    }

    /// Records a dump under a fresh id.
    pub(crate) async fn record(&self, dump: &Dump<'_>) -> (i64, Recorded) {
        let id = self.db.reserve_id().await.unwrap();
        (id, self.record_as(id, dump).await.unwrap())
    }

    pub(crate) async fn record_as(
        &self,
        id: i64,
        dump: &Dump<'_>,
    ) -> Result<Recorded, RepositoryError> {
        IntakeRepository::record(&self.db, dump.with_id(id), &dump.change()).await
    }

    /// Records a dump which must be new and evict no other; returns its id.
    pub(crate) async fn store(&self, dump: &Dump<'_>) -> i64 {
        let (id, recorded) = self.record(dump).await;
        assert_eq!(recorded, Recorded::Stored { pruned: vec![] });
        id
    }

    /// Ids of the dumps of a device, newest first.
    pub(crate) async fn dumps(&self, device_id: i64) -> Vec<i64> {
        let list = CoredumpRepository::list(&self.db, device_id).await.unwrap().unwrap();
        list.iter().map(|dump| dump.id).collect()
    }

    /// Loads a dump which must exist.
    pub(crate) async fn coredump(&self, device_id: i64, id: i64) -> Coredump {
        CoredumpRepository::find(&self.db, device_id, id).await.unwrap().unwrap()
    }

    /// Claims a job at a second, for a minute, with a limit of three attempts.
    pub(crate) async fn claim_job(&self, owner: &str, at: i64) -> Option<Claimed> {
        let (now, until) = (second(at), second(at).after(MINUTE));
        let owner = owner_of(owner);
        let claim = ClaimJobs { owner, now, until, max_attempts: 3, max_jobs: 1 };
        ParseJobRepository::claim(&self.db, claim).await.unwrap().pop()
    }

    /// Claims a job which must be due and have an attempt left.
    pub(crate) async fn job(&self, owner: &str, at: i64) -> ParseJob {
        let claimed = self.claim_job(owner, at).await;
        let Some(Claimed::Job(job)) = claimed else { panic!("{claimed:?}") };
        *job
    }

    pub(crate) async fn finish(&self, result: FinishJob) -> Option<Finished> {
        ParseJobRepository::finish(&self.db, &[result]).await.unwrap().pop().unwrap()
    }

    /// Postpones a job to a second; `counts` says whether the attempt counts.
    pub(crate) async fn postpone(&self, job: &ParseJob, owner: &str, due: i64, counts: bool) {
        let owner = owner_of(owner);
        let (now, max_coredumps) = (second(due), 100);
        let postponement = PostponeJob {
            id: job.id,
            device_id: job.device_id,
            device: job.device.clone(),
            owner,
            due: now,
            counts,
            now,
            max_coredumps,
        };
        ParseJobRepository::postpone(&self.db, postponement).await.unwrap();
    }
}
