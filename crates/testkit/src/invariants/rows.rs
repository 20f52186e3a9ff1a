//! The rows which are checked, all read at one moment.

use anyhow::{Context, Result, bail};
use coredock_domain::artifacts::key::{ArtifactKey, ArtifactName};
use coredock_domain::digest::Sha256Digest;
use coredock_domain::ids::{DeviceKey, ModelCode, UploadId, VersionText};

use crate::database::Database;

/// Size and digest of an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Fact {
    pub size: u64,
    pub sha256: Sha256Digest,
}

impl Fact {
    pub fn of(bytes: &[u8]) -> Self {
        let size = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        Self { size, sha256: Sha256Digest::of(bytes) }
    }
}

/// Facts of the five artifacts of a version, in the order of [`ArtifactName::ALL`].
pub type SetFacts = [Fact; 5];

#[derive(Debug, Default)]
pub struct Rows {
    pub models: Vec<ModelRow>,
    pub devices: Vec<DeviceRow>,
    /// In the order of their ids, like all other rows.
    pub dumps: Vec<DumpRow>,
    pub versions: Vec<VersionRow>,
    /// Objects of indexes and ROM ELFs.
    pub others: Vec<(ArtifactKey, Fact)>,
    /// Keys in the outbox.
    pub outbox: Vec<String>,
    /// Builds whose symbol files must exist.
    pub builds: Vec<Sha256Digest>,
    /// Faults which SQLite finds in its file.
    pub faults: Vec<String>,
}

#[derive(Debug, Clone)]
pub struct ModelRow {
    pub id: i64,
    pub code: String,
    /// The current version.
    pub current: Option<String>,
}

#[derive(Debug, Clone)]
pub struct DeviceRow {
    pub id: i64,
    pub model_id: i64,
    pub key: String,
}

#[derive(Debug, Clone)]
pub struct DumpRow {
    pub id: i64,
    pub device_id: i64,
    pub chip: String,
    pub firmware_version: String,
    pub fact: Fact,
    pub parse_status: String,
    pub error_code: Option<String>,
    pub attempts: i64,
    pub occurrences: i64,
    pub uploaded_at: String,
    /// Whether a worker may have the job.
    pub is_leased: bool,
}

#[derive(Debug, Clone)]
pub struct VersionRow {
    pub id: i64,
    pub model_id: i64,
    pub version: String,
    pub facts: SetFacts,
    /// The upload whose staged objects are the set of the version.
    pub staging: Option<String>,
    pub uploaded_at: String,
}

/// Separates columns; no column contains a tab.
const TAB: &str = "\t";

/// A table, or those of its rows that a condition selects.
struct Table {
    /// The first column of its lines.
    letter: &'static str,
    columns: &'static [&'static str],
    name: &'static str,
}

const TABLES: [Table; 8] = [
    Table {
        letter: "m",
        columns: &["id", "code", "coalesce(firmware_version, '')"],
        name: "device_models",
    },
    Table { letter: "k", columns: &["id", "device_model_id", "key"], name: "devices" },
    Table {
        letter: "d",
        columns: &[
            "id",
            "device_id",
            "chip",
            "firmware_version",
            "size",
            "sha256",
            "parse_status",
            "coalesce(error_code, '')",
            "attempts",
            "occurrences",
            UPLOADED_AT,
            "CASE WHEN lease_until IS NULL THEN 0 ELSE 1 END",
        ],
        name: "coredumps",
    },
    Table {
        letter: "v",
        columns: &[
            "id",
            "device_model_id",
            "version",
            UPLOADED_AT,
            "coalesce(staging_upload_id, '')",
            "elf_size",
            "elf_sha256",
            "map_size",
            "map_sha256",
            "sdkconfig_size",
            "sdkconfig_sha256",
            "version_json_size",
            "version_json_sha256",
            "bin_size",
            "bin_sha256",
        ],
        name: "firmware_versions",
    },
    Table {
        letter: "i",
        columns: &["elf_sha256", "format", "size", "sha256"],
        name: "symbol_indexes WHERE sha256 IS NOT NULL",
    },
    Table { letter: "r", columns: &["size", "sha256"], name: "rom_elfs" },
    Table { letter: "o", columns: &["object_key"], name: "outbox" },
    Table { letter: "b", columns: &["elf_sha256"], name: "known_builds" },
];

/// A time, which must become a text in the order of times.
const UPLOADED_AT: &str = "uploaded_at";
const UPLOADED_AT_OF_POSTGRES: &str =
    "to_char(uploaded_at AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')";

impl Rows {
    /// Reads all rows in one statement, which sees one moment.
    pub fn read(database: &Database) -> Result<Self> {
        let uploaded_at = match database {
            Database::Sqlite(_) => UPLOADED_AT,
            Database::Postgres { .. } => UPLOADED_AT_OF_POSTGRES,
        };
        let selects = TABLES.map(|Table { letter, columns, name }| {
            let columns = columns.join(&format!(" || '{TAB}' || "));
            let columns = columns.replace(UPLOADED_AT, uploaded_at);
            format!("SELECT '{letter}{TAB}' || {columns} AS value FROM {name}")
        });
        let mut rows = Self::default();
        for line in database.texts(&selects.join(" UNION ALL "))? {
            rows.add(&line).with_context(|| line.clone())?;
        }
        rows.dumps.sort_by_key(|dump| dump.id);
        rows.versions.sort_by_key(|version| version.id);
        if let Database::Sqlite(_) = database {
            rows.faults = faults(database)?;
        }
        Ok(rows)
    }

    fn add(&mut self, line: &str) -> Result<()> {
        let mut columns = Columns(line.split(TAB));
        match columns.text()? {
            "m" => self.models.push(ModelRow::read(&mut columns)?),
            "k" => self.devices.push(DeviceRow::read(&mut columns)?),
            "d" => self.dumps.push(DumpRow::read(&mut columns)?),
            "v" => self.versions.push(VersionRow::read(&mut columns)?),
            "i" => {
                let (elf_sha256, format) = (columns.number()?, columns.number()?);
                let key = ArtifactKey::SymbolIndex { elf_sha256, format };
                self.others.push((key, columns.fact()?));
            }
            "r" => {
                let fact = columns.fact()?;
                self.others.push((ArtifactKey::RomElf { sha256: fact.sha256 }, fact));
            }
            "o" => self.outbox.push(columns.text()?.to_owned()),
            "b" => self.builds.push(columns.number()?),
            letter => bail!("no table has the letter {letter}"),
        }
        Ok(())
    }

    pub fn version(&self, model_id: i64, version: &str) -> Option<&VersionRow> {
        self.versions.iter().find(|row| row.model_id == model_id && row.version == version)
    }

    pub(super) fn is_named_by_a_pending_dump(&self, version: &VersionRow) -> bool {
        self.dumps.iter().any(|dump| {
            let device = self.devices.iter().find(|device| device.id == dump.device_id);
            device.is_some_and(|device| device.model_id == version.model_id)
                && dump.firmware_version == version.version
                && dump.parse_status == "PENDING"
        })
    }

    /// The ids of the dumps, the ids and sets of the versions, and the length of the outbox.
    pub fn names(&self) -> (Vec<i64>, Vec<(i64, SetFacts)>, usize) {
        let dumps = self.dumps.iter().map(|dump| dump.id).collect();
        let versions = self.versions.iter().map(|version| (version.id, version.facts)).collect();
        (dumps, versions, self.outbox.len())
    }

    /// The objects to which the rows refer.
    pub fn objects(&self) -> Result<Vec<(ArtifactKey, Fact)>> {
        let mut objects = self.others.clone();
        for dump in &self.dumps {
            let device = self.devices.iter().find(|device| device.id == dump.device_id);
            let device = device.with_context(|| format!("dump {} has no device", dump.id))?;
            objects.push((dump.key(&device.key)?, dump.fact));
        }
        for version in &self.versions {
            let model = self.models.iter().find(|model| model.id == version.model_id);
            let model = model.with_context(|| format!("version {} has no model", version.id))?;
            for (artifact, fact) in ArtifactName::ALL.into_iter().zip(version.facts) {
                objects.push((version.key(&model.code, artifact)?, fact));
            }
            let build = version.build();
            objects.push((ArtifactKey::Symbols { elf_sha256: build.sha256 }, build));
        }
        Ok(objects)
    }
}

fn faults(database: &Database) -> Result<Vec<String>> {
    let integrity = "SELECT integrity_check AS value FROM pragma_integrity_check \
                     WHERE integrity_check <> 'ok'";
    let keys = "SELECT \"table\" || ' row ' || ifnull(rowid, '') AS value \
                FROM pragma_foreign_key_check";
    Ok([database.texts(integrity)?, database.texts(keys)?].concat())
}

/// The remaining columns of a line.
struct Columns<'a>(std::str::Split<'a, &'static str>);

impl<'a> Columns<'a> {
    fn text(&mut self) -> Result<&'a str> {
        self.0.next().context("the row lacks columns")
    }

    fn optional(&mut self) -> Result<Option<String>> {
        Ok(Some(self.text()?.to_owned()).filter(|text| !text.is_empty()))
    }

    fn number<T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>>(
        &mut self,
    ) -> Result<T> {
        let text = self.text()?;
        text.parse().with_context(|| format!("cannot read {text}"))
    }

    fn fact(&mut self) -> Result<Fact> {
        Ok(Fact { size: self.number()?, sha256: self.number()? })
    }
}

impl ModelRow {
    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        let (id, code) = (columns.number()?, columns.text()?.to_owned());
        Ok(Self { id, code, current: columns.optional()? })
    }
}

impl DeviceRow {
    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        let (id, model_id) = (columns.number()?, columns.number()?);
        Ok(Self { id, model_id, key: columns.text()?.to_owned() })
    }
}

impl DumpRow {
    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        Ok(Self {
            id: columns.number()?,
            device_id: columns.number()?,
            chip: columns.text()?.to_owned(),
            firmware_version: columns.text()?.to_owned(),
            fact: columns.fact()?,
            parse_status: columns.text()?.to_owned(),
            error_code: columns.optional()?,
            attempts: columns.number()?,
            occurrences: columns.number()?,
            uploaded_at: columns.text()?.to_owned(),
            is_leased: columns.text()? == "1",
        })
    }

    /// The place in the order of the dumps of the device.
    pub fn place(&self) -> (String, i64) {
        (self.uploaded_at.clone(), self.id)
    }

    fn key(&self, device: &str) -> Result<ArtifactKey> {
        let device = DeviceKey::parse(device)
            .with_context(|| format!("expected a device key, found {device}"))?;
        Ok(ArtifactKey::Coredump { device, id: self.id })
    }
}

impl VersionRow {
    fn read(columns: &mut Columns<'_>) -> Result<Self> {
        let (id, model_id) = (columns.number()?, columns.number()?);
        let (version, uploaded_at) = (columns.text()?.to_owned(), columns.text()?.to_owned());
        let staging = columns.optional()?;
        let mut fact = || columns.fact();
        let facts = [fact()?, fact()?, fact()?, fact()?, fact()?];
        Ok(Self { id, model_id, version, facts, staging, uploaded_at })
    }

    /// Size and digest of the ELF.
    pub fn build(&self) -> Fact {
        self.facts[0]
    }

    /// The place in the order of the versions of the model.
    pub fn place(&self) -> (String, i64) {
        (self.uploaded_at.clone(), self.id)
    }

    fn key(&self, model: &str, artifact: ArtifactName) -> Result<ArtifactKey> {
        if let Some(upload) = &self.staging {
            let upload = UploadId::parse(upload)
                .with_context(|| format!("expected the id of an upload, found {upload}"))?;
            return Ok(ArtifactKey::Staging { upload, artifact });
        }
        let version = VersionText::parse(&self.version)
            .with_context(|| format!("expected a version text, found {}", self.version))?;
        let model = ModelCode::parse(model)
            .with_context(|| format!("expected a model code, found {model}"))?;
        Ok(ArtifactKey::Firmware { model, version, artifact })
    }
}
