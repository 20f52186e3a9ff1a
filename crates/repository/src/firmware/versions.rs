//! Rows of firmware versions.

use coredock_domain::artifacts::key::{ArtifactKey, ArtifactName};
use coredock_domain::artifacts::store::ArtifactFacts;
use coredock_domain::firmware::{FirmwareFacts, FirmwareVersion};
use coredock_domain::ids::ModelCode;
use coredock_domain::ids::UploadId;
use coredock_domain::ids::VersionText;
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;

use crate::artifacts::deletes;
use crate::columns::{Column, read_code, read_digest, read_staging, read_version};
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::firmware::known_builds::{self, BuildOfVersion};
use crate::schema::{device_models, firmware_versions};
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, StoredTime};

const TABLE: &str = "firmware_versions";

/// A whole row.
#[derive(Queryable, Selectable)]
#[diesel(table_name = firmware_versions)]
pub(crate) struct VersionRow {
    id: i64,
    device_model_id: i64,
    version: String,
    bin_size: i64,
    bin_sha256: String,
    elf_size: i64,
    elf_sha256: String,
    map_size: i64,
    map_sha256: String,
    sdkconfig_size: i64,
    sdkconfig_sha256: String,
    version_json_size: i64,
    version_json_sha256: String,
    chip: String,
    project_name: String,
    idf_version: String,
    secure_version: i64,
    git_commit: Option<String>,
    staging_upload_id: Option<String>,
    uploaded_at: StoredTime,
}

impl VersionRow {
    pub(crate) fn read(self, model: &str) -> Result<FirmwareVersion, Failure> {
        let facts = FirmwareFacts {
            bin: BIN.read(self.bin_size, &self.bin_sha256)?,
            elf: ELF.read(self.elf_size, &self.elf_sha256)?,
            map: MAP.read(self.map_size, &self.map_sha256)?,
            sdkconfig: SDKCONFIG.read(self.sdkconfig_size, &self.sdkconfig_sha256)?,
            version_json: VERSION_JSON.read(self.version_json_size, &self.version_json_sha256)?,
            chip: self.chip,
            project_name: self.project_name,
            idf_version: self.idf_version,
            secure_version: Column(TABLE, "secure_version")
                .require(u32::try_from(self.secure_version).ok())?,
            git_commit: self.git_commit,
        };
        Ok(FirmwareVersion {
            id: self.id,
            model_id: self.device_model_id,
            model: read_code(model)?,
            version: read_version(&self.version)?,
            facts,
            uploaded_at: self.uploaded_at.read(Column(TABLE, "uploaded_at"))?,
            staging: read_staging(self.staging_upload_id.as_deref())?,
        })
    }
}

/// The two columns of an artifact.
struct ArtifactColumns {
    size: Column,
    sha256: Column,
}

const BIN: ArtifactColumns = ArtifactColumns::new("bin_size", "bin_sha256");
const ELF: ArtifactColumns = ArtifactColumns::new("elf_size", "elf_sha256");
const MAP: ArtifactColumns = ArtifactColumns::new("map_size", "map_sha256");
const SDKCONFIG: ArtifactColumns = ArtifactColumns::new("sdkconfig_size", "sdkconfig_sha256");
const VERSION_JSON: ArtifactColumns =
    ArtifactColumns::new("version_json_size", "version_json_sha256");

impl ArtifactColumns {
    const fn new(size: &'static str, sha256: &'static str) -> Self {
        Self { size: Column(TABLE, size), sha256: Column(TABLE, sha256) }
    }

    fn read(&self, size: i64, sha256: &str) -> Result<ArtifactFacts, Failure> {
        Ok(ArtifactFacts {
            size: self.size.require(u64::try_from(size).ok())?,
            sha256: read_digest(sha256, self.sha256)?,
        })
    }
}

/// The columns which a publication writes.
#[derive(Insertable, AsChangeset)]
#[diesel(table_name = firmware_versions, treat_none_as_null = true)]
pub(crate) struct SetRow<'a> {
    bin_size: i64,
    bin_sha256: String,
    elf_size: i64,
    elf_sha256: String,
    map_size: i64,
    map_sha256: String,
    sdkconfig_size: i64,
    sdkconfig_sha256: String,
    version_json_size: i64,
    version_json_sha256: String,
    chip: &'a str,
    project_name: &'a str,
    idf_version: &'a str,
    secure_version: i64,
    git_commit: Option<String>,
    staging_upload_id: Option<String>,
    uploaded_at: At,
}

impl<'a> SetRow<'a> {
    /// The columns of a set which is in staging or in place.
    pub(crate) fn new(
        facts: &'a FirmwareFacts,
        staging: Option<&UploadId>,
        now: Timestamp,
    ) -> Self {
        // No object comes near 8 EiB.
        let size = |facts: ArtifactFacts| i64::try_from(facts.size).unwrap_or(i64::MAX);
        Self {
            bin_size: size(facts.bin),
            bin_sha256: facts.bin.sha256.to_string(),
            elf_size: size(facts.elf),
            elf_sha256: facts.elf.sha256.to_string(),
            map_size: size(facts.map),
            map_sha256: facts.map.sha256.to_string(),
            sdkconfig_size: size(facts.sdkconfig),
            sdkconfig_sha256: facts.sdkconfig.sha256.to_string(),
            version_json_size: size(facts.version_json),
            version_json_sha256: facts.version_json.sha256.to_string(),
            chip: &facts.chip,
            project_name: &facts.project_name,
            idf_version: &facts.idf_version,
            secure_version: facts.secure_version.into(),
            git_commit: facts.git_commit.clone(),
            staging_upload_id: staging.map(|upload| upload.as_str().to_owned()),
            uploaded_at: At(now),
        }
    }
}

/// The columns of a model which changes of its versions need.
pub(crate) struct ModelHead {
    pub(crate) id: i64,
    pub(crate) code: ModelCode,
    /// The text of the current version.
    pub(crate) current: Option<String>,
}

pub(crate) async fn head(conn: &mut Connection, id: i64) -> Result<Option<ModelHead>, Failure> {
    let head = device_models::table
        .find(id)
        .select((device_models::code, device_models::firmware_version));
    let row = on!(conn, |c| head.first::<(String, Option<String>)>(c)).optional()?;
    row.map(|(code, current)| Ok(ModelHead { id, code: read_code(&code)?, current })).transpose()
}

/// The columns of a version which its replacement or deletion needs.
#[derive(Queryable, Selectable)]
#[diesel(table_name = firmware_versions)]
pub(crate) struct StoredVersion {
    pub(crate) id: i64,
    pub(crate) version: String,
    pub(crate) elf_sha256: String,
    pub(crate) staging_upload_id: Option<String>,
}

pub(crate) async fn find_stored(
    conn: &mut Connection,
    model_id: i64,
    version: &VersionText,
) -> Result<Option<StoredVersion>, Failure> {
    let of_version = firmware_versions::table
        .filter(firmware_versions::device_model_id.eq(model_id))
        .filter(firmware_versions::version.eq(version.as_str()));
    let row =
        on!(conn, |c| of_version.select(StoredVersion::as_select()).first::<StoredVersion>(c));
    Ok(row.optional()?)
}

pub(crate) async fn load(
    conn: &mut Connection,
    model_id: i64,
    version: &VersionText,
) -> Result<Option<FirmwareVersion>, Failure> {
    let query = firmware_versions::table
        .inner_join(device_models::table)
        .filter(firmware_versions::device_model_id.eq(model_id))
        .filter(firmware_versions::version.eq(version.as_str()));
    let row = on!(conn, |c| query
        .select((VersionRow::as_select(), device_models::code))
        .first::<(VersionRow, String)>(c))
    .optional()?;
    row.map(|(row, code)| row.read(&code)).transpose()
}

/// Deletes versions and queues the deletes of their objects. Their symbol files stay until
/// retention deletes them.
pub(crate) async fn delete(
    conn: &mut Connection,
    model: &ModelCode,
    versions: &[StoredVersion],
    now: Timestamp,
) -> Result<(), Failure> {
    let mut keys = Vec::new();
    for row in versions {
        let build = BuildOfVersion {
            elf_sha256: &row.elf_sha256,
            model: model.as_str(),
            version: &row.version,
        };
        known_builds::touch(conn, build, now).await?;
        let stored = firmware_versions::table.find(row.id);
        on!(conn, |c| diesel::delete(stored).execute(c))?;
        keys.extend(final_keys(model, &read_version(&row.version)?));
        if let Some(upload) = read_staging(row.staging_upload_id.as_deref())? {
            keys.extend(deletes::staged_keys(&upload));
        }
    }
    deletes::queue(conn, &keys, now).await?;
    Ok(())
}

/// The keys of the objects of a version which is not staged.
pub(crate) fn final_keys(
    model: &ModelCode,
    version: &VersionText,
) -> impl Iterator<Item = ArtifactKey> {
    ArtifactName::ALL.into_iter().map(|artifact| ArtifactKey::Firmware {
        model: model.clone(),
        version: version.clone(),
        artifact,
    })
}
