//! Which builds a dump may come from (contract §6.7).

use std::collections::HashMap;

use coredock_domain::artifacts::key::{ArtifactKey, ArtifactName};
use coredock_domain::coredumps::coredump::BuildId;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::symbolication::jobs::{StoredBuild, WantedBuild, WantedElf};
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;

use crate::columns::{Column, read_code, read_digest, read_staging, read_version};
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::schema::{device_models, firmware_versions, known_builds};
use crate::statement::RunQueryDsl;
use crate::timestamps::StoredTime;

/// A build, with a model and version as which it was published.
#[derive(Queryable)]
struct BuildRow {
    elf_sha256: String,
    model: String,
    version: String,
    /// When it was last published or referenced.
    time: StoredTime,
}

/// A build by the criteria of preference, the most important first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Ranked {
    is_of_model: bool,
    is_of_version: bool,
    time: Timestamp,
    elf_sha256: Sha256Digest,
}

/// The builds a dump may come from, each once, the preferred one first.
pub(super) async fn find(
    conn: &mut Connection,
    wanted: &WantedElf,
) -> Result<Vec<StoredBuild>, Failure> {
    match wanted {
        WantedElf::Build(wanted) => of_build_id(conn, wanted).await,
        WantedElf::Version { model_id, version } => of_version(conn, *model_id, version).await,
    }
}

async fn of_build_id(
    conn: &mut Connection,
    wanted: &WantedBuild,
) -> Result<Vec<StoredBuild>, Failure> {
    let (mut ranked, of_versions) = (Vec::new(), versions_of(conn, wanted).await?);
    let (from, to) = (wanted.build_id.as_str(), end_of_range(&wanted.build_id));
    let known = known_builds::table
        .filter(known_builds::elf_sha256.ge(from))
        .filter(known_builds::elf_sha256.lt(&to))
        .select((
            known_builds::elf_sha256,
            known_builds::model_code,
            known_builds::version,
            known_builds::last_referenced_at,
        ));
    for row in on!(conn, |c| known.load::<BuildRow>(c))? {
        ranked.push(rank(&row, wanted)?);
    }
    let mut keys = HashMap::new();
    for (row, key) in of_versions {
        let of_version = rank(&row, wanted)?;
        keys.entry(of_version.elf_sha256).or_insert(key);
        ranked.push(of_version);
    }
    Ok(preferred_first(ranked, &keys))
}

/// The build of a version of a model.
async fn of_version(
    conn: &mut Connection,
    model_id: i64,
    version: &str,
) -> Result<Vec<StoredBuild>, Failure> {
    let query = firmware_versions::table
        .inner_join(device_models::table)
        .filter(firmware_versions::device_model_id.eq(model_id))
        .filter(firmware_versions::version.eq(version))
        .select((
            firmware_versions::elf_sha256,
            device_models::code,
            firmware_versions::staging_upload_id,
        ));
    let found = on!(conn, |c| query.load::<(String, String, Option<String>)>(c))?;
    let column = Column("firmware_versions", "elf_sha256");
    let builds = found.into_iter().map(|(elf_sha256, code, staging)| {
        let key = elf_key(&code, version, staging.as_deref())?;
        Ok(StoredBuild { elf_sha256: read_digest(&elf_sha256, column)?, of_version: Some(key) })
    });
    builds.collect()
}

/// The key of the ELF of a version.
fn elf_key(model: &str, version: &str, staging: Option<&str>) -> Result<ArtifactKey, Failure> {
    let artifact = ArtifactName::Elf;
    Ok(match read_staging(staging)? {
        Some(upload) => ArtifactKey::Staging { upload, artifact },
        None => ArtifactKey::Firmware {
            model: read_code(model)?,
            version: read_version(version)?,
            artifact,
        },
    })
}

/// The versions whose build has this id, each with the key of its ELF.
async fn versions_of(
    conn: &mut Connection,
    wanted: &WantedBuild,
) -> Result<Vec<(BuildRow, ArtifactKey)>, Failure> {
    let (from, to) = (wanted.build_id.as_str(), end_of_range(&wanted.build_id));
    let query = firmware_versions::table
        .inner_join(device_models::table)
        .filter(firmware_versions::elf_sha256.ge(from))
        .filter(firmware_versions::elf_sha256.lt(&to))
        .select((
            (
                firmware_versions::elf_sha256,
                device_models::code,
                firmware_versions::version,
                firmware_versions::uploaded_at,
            ),
            firmware_versions::staging_upload_id,
        ));
    let rows = on!(conn, |c| query.load::<(BuildRow, Option<String>)>(c))?;
    let with_key = rows.into_iter().map(|(row, staging)| {
        let key = elf_key(&row.model, &row.version, staging.as_deref())?;
        Ok((row, key))
    });
    with_key.collect()
}

/// The end of the range of hex texts which begin with this id: `g` comes after every hex digit.
fn end_of_range(build_id: &BuildId) -> String {
    format!("{build_id}g")
}

fn rank(row: &BuildRow, wanted: &WantedBuild) -> Result<Ranked, Failure> {
    Ok(Ranked {
        is_of_model: row.model == wanted.model.as_str(),
        is_of_version: row.version == wanted.version,
        time: row.time.read(Column("known_builds", "last_referenced_at"))?,
        elf_sha256: read_digest(&row.elf_sha256, Column("known_builds", "elf_sha256"))?,
    })
}

fn preferred_first(
    mut ranked: Vec<Ranked>,
    keys: &HashMap<Sha256Digest, ArtifactKey>,
) -> Vec<StoredBuild> {
    ranked.sort_unstable_by(|one, other| other.cmp(one));
    let mut builds: Vec<StoredBuild> = Vec::new();
    for Ranked { elf_sha256, .. } in ranked {
        if builds.iter().all(|build| build.elf_sha256 != elf_sha256) {
            let of_version = keys.get(&elf_sha256).cloned();
            builds.push(StoredBuild { elf_sha256, of_version });
        }
    }
    builds
}
