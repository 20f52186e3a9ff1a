//! A temporary database, and one verb per action of the tests.

pub(crate) mod dumps;

use std::path::{Path, PathBuf};
use std::time::Duration;

use coredock_domain::Entropy;
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactName};
use coredock_domain::artifacts::store::ArtifactFacts;
use coredock_domain::audit::{Actor, ActorKind, Change, Origin};
use coredock_domain::devices::config::DeviceConfig;
use coredock_domain::devices::device::NewDevice;
use coredock_domain::devices::repository::DeviceRepository;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::firmware::publication::PublicationRepository;
use coredock_domain::firmware::publication::{
    BeginPublication, PublicationStart, PublishVersion, Published, PublishedObjects,
};
use coredock_domain::firmware::repository::FirmwareRepository;
use coredock_domain::firmware::{FirmwareFacts, FirmwareVersion};
use coredock_domain::ids::DeviceKey;
use coredock_domain::ids::ModelCode;
use coredock_domain::ids::VersionText;
use coredock_domain::ids::{LeaseOwner, UploadId};
use coredock_domain::models::model::NewModel;
use coredock_domain::models::repository::ModelRepository;
use coredock_domain::timestamp::Timestamp;
use coredock_domain::upkeep::outbox::OutboxRepository;
use coredock_domain::upkeep::outbox::{ClaimDeletes, QueuedDelete};
use coredock_repository::{Database, PostgresOptions, PostgresUrl, SqliteOptions};
use coredock_testkit::postgres::{self, TestDatabase};
use diesel::connection::SimpleConnection;
use diesel::prelude::*;
use diesel::sql_types::Text;

pub(crate) const OPTIONS: SqliteOptions =
    SqliteOptions { readers: 2, wait: Duration::from_secs(10) };
pub(crate) const MINUTE: Duration = Duration::from_mins(1);

/// A migrated database of one test: on `SQLite`, or on `PostgreSQL` if
/// [`coredock_testkit::production_backends`] says so.
pub(crate) struct Bench {
    pub(crate) db: Database,
    place: Place,
}

enum Place {
    File(tempfile::TempDir),
    Server(TestDatabase),
}

pub(crate) struct Zeros;

impl Entropy for Zeros {
    fn fill(&self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

#[derive(QueryableByName)]
struct LineRow {
    #[diesel(sql_type = Text)]
    line: String,
}

impl Bench {
    pub(crate) async fn new() -> Self {
        if coredock_testkit::production_backends() {
            Self::postgres().await
        } else {
            Self::sqlite().await
        }
    }

    /// On `SQLite`, for behaviour which only that database has.
    pub(crate) async fn sqlite() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let db = Database::open_sqlite(&file_in(&directory), OPTIONS).await.unwrap();
        db.migrate().await.unwrap();
        db.ensure_installation(&Zeros, second(0)).await.unwrap();
        Self { db, place: Place::File(directory) }
    }

    /// On `PostgreSQL`, for behaviour which only that database has.
    pub(crate) async fn postgres() -> Self {
        let database = TestDatabase::empty();
        let db = connect_to(&database.url()).unwrap();
        db.migrate().await.unwrap();
        db.ensure_installation(&Zeros, second(0)).await.unwrap();
        Self { db, place: Place::Server(database) }
    }

    /// The database file; panics on `PostgreSQL`.
    pub(crate) fn file(&self) -> PathBuf {
        match &self.place {
            Place::File(directory) => file_in(directory),
            Place::Server(_) => panic!("a server has no file"),
        }
    }

    /// The URL of the database; panics on `SQLite`.
    pub(crate) fn url(&self) -> String {
        match &self.place {
            Place::File(_) => panic!("a file has no URL"),
            Place::Server(database) => database.url(),
        }
    }

    /// A non-negative number as an SQL text of `width` digits.
    pub(crate) fn digits(&self, number: &str, width: usize) -> String {
        match &self.place {
            Place::File(_) => format!("printf('%0{width}d', {number})"),
            Place::Server(_) => format!("lpad(({number})::text, {width}, '0')"),
        }
    }

    /// An SQL expression of an instant, from one of a text.
    pub(crate) fn instant(&self, text: &str) -> String {
        match &self.place {
            Place::File(_) => text.to_owned(),
            Place::Server(_) => format!("({text})::timestamptz"),
        }
    }

    /// An SQL expression of a text in the form of the contract, from one of an instant.
    pub(crate) fn instant_text(&self, value: &str) -> String {
        match &self.place {
            Place::File(_) => value.to_owned(),
            Place::Server(_) => {
                format!("to_char({value} AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')")
            }
        }
    }

    /// Makes each insert into `table` fail with the error `injected`.
    pub(crate) fn break_inserts(&self, table: &str) {
        match &self.place {
            Place::File(_) => self.sql(&format!(
                "CREATE TRIGGER broken BEFORE INSERT ON {table} \
                 BEGIN SELECT RAISE(ABORT, 'injected'); END"
            )),
            Place::Server(_) => self.sql(&postgres::break_inserts(table)),
        }
    }

    /// Undoes [`Bench::break_inserts`].
    pub(crate) fn mend_inserts(&self, table: &str) {
        match &self.place {
            Place::File(_) => self.sql("DROP TRIGGER broken"),
            Place::Server(_) => self.sql(&postgres::mend_inserts(table)),
        }
    }

    /// How many statements `PostgreSQL` runs more than `SQLite` if it takes this number of locks.
    pub(crate) fn locks(&self, locks: u64) -> u64 {
        match &self.place {
            Place::File(_) => 0,
            Place::Server(_) => locks,
        }
    }

    /// Runs raw SQL over a separate connection.
    pub(crate) fn sql(&self, statements: &str) {
        match &self.place {
            Place::File(_) => connect(&self.file()).batch_execute(statements).unwrap(),
            Place::Server(database) => database.execute(statements),
        }
    }

    /// The texts which a raw query returns in the column `line`.
    pub(crate) fn lines(&self, query: &str) -> Vec<String> {
        if let Place::Server(database) = &self.place {
            return database.texts(query);
        }
        let rows = diesel::sql_query(query).load::<LineRow>(&mut connect(&self.file())).unwrap();
        rows.into_iter().map(|row| row.line).collect()
    }

    pub(crate) async fn model(&self, model: &str) -> i64 {
        let new = NewModel { code: code(model), name: model.to_owned(), config_schema: None };
        ModelRepository::create(&self.db, new, &change(1)).await.unwrap().summary.id
    }

    pub(crate) async fn device(&self, model_id: i64, key: &str) -> i64 {
        let device = NewDevice { key: device_key(key), model_id, config: config("{}") };
        DeviceRepository::create(&self.db, device, &change(1)).await.unwrap().unwrap().id
    }

    /// Inserts a dump in a state; returns its id.
    pub(crate) fn dump(&self, device_id: i64, version: &str, status: &str) -> i64 {
        self.sql(&format!(
            "INSERT INTO coredumps (device_id, chip, firmware_version, size, parse_status, \
             uploaded_at, created_at, updated_at) VALUES ({device_id}, 'esp32c3', '{version}', 4, \
             '{status}', '{at}', '{at}', '{at}')",
            at = second(50)
        ));
        let ids = self.lines("SELECT CAST(max(id) AS text) AS line FROM coredumps");
        ids[0].parse().unwrap()
    }

    pub(crate) async fn begin(&self, set: &Set<'_>) -> PublicationStart {
        self.db.begin(set.begin()).await.unwrap()
    }

    pub(crate) async fn commit(&self, set: &Set<'_>) -> Option<Published> {
        self.db.publish(set.publish(), &change(set.at)).await.unwrap()
    }

    /// Publishes a set in place, keeping two versions.
    pub(crate) async fn publish(&self, set: &Set<'_>) -> Published {
        assert!(matches!(self.begin(set).await, PublicationStart::Granted { .. }));
        let published = self.commit(set).await.unwrap();
        self.db.end(&upload(set.upload)).await.unwrap();
        published
    }

    /// Publishes versions of one model, one second after another.
    pub(crate) async fn publish_all(&self, model_id: i64, versions: &[&str]) {
        for (index, version) in versions.iter().enumerate() {
            let at = 100 + i64::try_from(index).unwrap();
            self.publish(&Set { model_id, version, seed: version, at, ..Set::default() }).await;
        }
    }

    /// Loads a version which must exist.
    pub(crate) async fn version(&self, model_id: i64, text: &str) -> FirmwareVersion {
        FirmwareRepository::find(&self.db, model_id, &version(text)).await.unwrap().unwrap()
    }

    /// The version texts of a model, oldest first.
    pub(crate) async fn versions(&self, model_id: i64) -> Vec<String> {
        let list = FirmwareRepository::list(&self.db, model_id, second(0)).await.unwrap().unwrap();
        list.iter().rev().map(|line| line.version.version.to_string()).collect()
    }

    /// The keys of the queued deletes, in the order of the queue.
    pub(crate) fn queued(&self) -> Vec<String> {
        self.lines("SELECT object_key AS line FROM outbox ORDER BY id")
    }

    pub(crate) fn audited(&self) -> Vec<String> {
        self.lines("SELECT action || ' ' || target_id AS line FROM audit_records ORDER BY id")
    }

    /// Claims queued deletes at a second, for a minute.
    pub(crate) async fn claim(&self, owner: &str, at: i64) -> Vec<QueuedDelete> {
        let (now, until) = (second(at), second(at).after(MINUTE));
        let claim = ClaimDeletes { owner: self::owner(owner), now, until, limit: 100 };
        self.db.claim(claim).await.unwrap()
    }
}

pub(crate) fn file_in(directory: &tempfile::TempDir) -> PathBuf {
    directory.path().join("coredock.db")
}

pub(crate) fn connect(file: &Path) -> SqliteConnection {
    let mut connection = SqliteConnection::establish(file.to_str().unwrap()).unwrap();
    connection.batch_execute("PRAGMA busy_timeout = 5000; PRAGMA foreign_keys = ON;").unwrap();
    connection
}

/// The set of a publication.
pub(crate) struct Set<'a> {
    pub(crate) upload: &'a str,
    pub(crate) model_id: i64,
    pub(crate) model: &'a str,
    pub(crate) version: &'a str,
    /// Determines every hash.
    pub(crate) seed: &'a str,
    pub(crate) objects: PublishedObjects,
    /// Second of the commit.
    pub(crate) at: i64,
}

impl Default for Set<'_> {
    fn default() -> Self {
        Self {
            upload: "aa",
            model_id: 1,
            model: "demo",
            version: "1.0.0",
            seed: "first",
            objects: PublishedObjects::InPlace,
            at: 100,
        }
    }
}

impl Set<'_> {
    pub(crate) fn begin(&self) -> BeginPublication {
        BeginPublication {
            upload: upload(self.upload),
            model_id: self.model_id,
            model: code(self.model),
            version: version(self.version),
            elf_sha256: facts(self.seed).build_id(),
            now: second(self.at),
            until: second(self.at).after(MINUTE),
        }
    }

    pub(crate) fn publish(&self) -> PublishVersion {
        PublishVersion {
            upload: upload(self.upload),
            model_id: self.model_id,
            version: version(self.version),
            facts: facts(self.seed),
            objects: self.objects,
            max_versions: 2,
        }
    }
}

pub(crate) fn facts(seed: &str) -> FirmwareFacts {
    let of = |name: ArtifactName| ArtifactFacts {
        size: 100 + seed.len() as u64,
        sha256: Sha256Digest::of(format!("{seed} {name}").as_bytes()),
    };
    FirmwareFacts {
        bin: of(ArtifactName::Bin),
        elf: of(ArtifactName::Elf),
        map: of(ArtifactName::Map),
        sdkconfig: of(ArtifactName::Sdkconfig),
        version_json: of(ArtifactName::VersionJson),
        chip: "esp32c3".into(),
        project_name: "demo".into(),
        idf_version: "v5.3.1".into(),
        secure_version: u32::MAX,
        git_commit: Some(seed.to_owned()),
    }
}

/// Prepares a few connections to a `PostgreSQL` database without connecting.
pub(crate) fn connect_to(url: &str) -> Result<Database, coredock_repository::StartError> {
    Database::open_postgres(PostgresOptions {
        url: PostgresUrl::parse(url).unwrap(),
        pool_size: 4,
        overflow: 4,
        wait: Duration::from_secs(10),
    })
}

/// A second of a fixed hour.
pub(crate) fn second(second: i64) -> Timestamp {
    Timestamp::from_micros(1_795_000_000_000_001 + second * 1_000_000)
}

pub(crate) fn change(at: i64) -> Change {
    Change {
        at: second(at),
        origin: Origin {
            actor: Actor { subject: "7f".into(), name: Some("Ada".into()), kind: ActorKind::User },
            correlation_id: "request-1".into(),
            remote_address: Some("192.0.2.1".into()),
        },
    }
}

pub(crate) fn config(text: &str) -> DeviceConfig {
    DeviceConfig {
        text: text.to_owned(),
        device_name: Some("Boiler".into()),
        device_entity_id: None,
        enable_ota: Some(true),
    }
}

pub(crate) fn code(text: &str) -> ModelCode {
    ModelCode::parse(text).unwrap()
}

pub(crate) fn version(text: &str) -> VersionText {
    VersionText::parse(text).unwrap()
}

pub(crate) fn device_key(text: &str) -> DeviceKey {
    DeviceKey::parse(text).unwrap()
}

pub(crate) fn owner(text: &str) -> LeaseOwner {
    LeaseOwner::parse(text).unwrap()
}

pub(crate) fn upload(text: &str) -> UploadId {
    UploadId::parse(text).unwrap()
}

/// The five keys of a version, in publishing order.
pub(crate) fn firmware_keys(model: &str, text: &str) -> Vec<ArtifactKey> {
    let key =
        |artifact| ArtifactKey::Firmware { model: code(model), version: version(text), artifact };
    ArtifactName::ALL.map(key).to_vec()
}

/// The five keys of an upload, in publishing order.
pub(crate) fn staging_keys(text: &str) -> Vec<ArtifactKey> {
    let key = |artifact| ArtifactKey::Staging { upload: upload(text), artifact };
    ArtifactName::ALL.map(key).to_vec()
}

pub(crate) fn symbols_key(seed: &str) -> ArtifactKey {
    ArtifactKey::Symbols { elf_sha256: facts(seed).build_id() }
}

pub(crate) fn paths(keys: &[ArtifactKey]) -> Vec<String> {
    keys.iter().map(ToString::to_string).collect()
}
