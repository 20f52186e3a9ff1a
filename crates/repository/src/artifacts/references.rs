//! Which objects visible rows refer to (I5, I6).

use std::collections::HashSet;

use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;

use crate::artifacts::deletes::MOST_BINDS;
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::schema::{
    coredumps, device_models, devices, firmware_versions, known_builds, leases, rom_elfs,
};
use crate::statement::RunQueryDsl;
use crate::symbolication::indexes;
use crate::values::At;

/// Names that rows give a meaning to, out of the keys that were asked about.
#[derive(Default)]
pub(crate) struct References {
    versions: HashSet<(String, String)>,
    builds: HashSet<String>,
    /// The builds with the formats of their indexes; `None`: every format.
    indexes: HashSet<(String, Option<u32>)>,
    rom_elfs: HashSet<String>,
    uploads: HashSet<String>,
    dumps: HashSet<(String, i64)>,
}

impl References {
    /// Whether a visible row refers to the object.
    pub(crate) fn contain(&self, key: &ArtifactKey) -> bool {
        match key {
            ArtifactKey::Firmware { model, version, .. } => {
                self.versions.contains(&(model.to_string(), version.to_string()))
            }
            ArtifactKey::Symbols { elf_sha256 } => self.builds.contains(&elf_sha256.to_string()),
            ArtifactKey::SymbolIndex { elf_sha256, format } => [None, Some(*format)]
                .into_iter()
                .any(|format| self.indexes.contains(&(elf_sha256.to_string(), format))),
            ArtifactKey::RomElf { sha256 } => self.rom_elfs.contains(&sha256.to_string()),
            ArtifactKey::Coredump { device, id } => self.dumps.contains(&(device.to_string(), *id)),
            ArtifactKey::Staging { upload, .. } => self.uploads.contains(upload.as_str()),
            ArtifactKey::Owner | ArtifactKey::Health { .. } => true,
        }
    }
}

/// Looks the keys up; the number of statements grows with the batches of keys only.
pub(crate) async fn to(
    conn: &mut Connection,
    keys: &[ArtifactKey],
    now: Timestamp,
) -> Result<References, Failure> {
    let mut asked = References::default();
    for key in keys {
        match key {
            ArtifactKey::Firmware { model, version, .. } => {
                asked.versions.insert((model.to_string(), version.to_string()));
            }
            ArtifactKey::Symbols { elf_sha256 } => {
                asked.builds.insert(elf_sha256.to_string());
            }
            ArtifactKey::SymbolIndex { elf_sha256, format } => {
                asked.indexes.insert((elf_sha256.to_string(), Some(*format)));
            }
            ArtifactKey::RomElf { sha256 } => {
                asked.rom_elfs.insert(sha256.to_string());
            }
            ArtifactKey::Coredump { device, id } => {
                asked.dumps.insert((device.to_string(), *id));
            }
            ArtifactKey::Staging { upload, .. } => {
                asked.uploads.insert(upload.as_str().to_owned());
            }
            ArtifactKey::Owner | ArtifactKey::Health { .. } => {}
        }
    }
    Ok(References {
        versions: held_versions(conn, asked.versions).await?,
        builds: held_builds(conn, asked.builds).await?,
        indexes: held_indexes(conn, asked.indexes, now).await?,
        rom_elfs: held_rom_elfs(conn, asked.rom_elfs).await?,
        uploads: held_uploads(conn, asked.uploads, now).await?,
        dumps: held_dumps(conn, asked.dumps).await?,
    })
}

/// The answer may hold further pairs of the same models and versions; they exist as well.
async fn held_versions(
    conn: &mut Connection,
    asked: HashSet<(String, String)>,
) -> Result<HashSet<(String, String)>, Failure> {
    let asked: Vec<_> = asked.into_iter().collect();
    let mut held = HashSet::new();
    for batch in asked.chunks(MOST_BINDS / 2) {
        let models: HashSet<&str> = batch.iter().map(|(model, _)| model.as_str()).collect();
        let versions: HashSet<&str> = batch.iter().map(|(_, version)| version.as_str()).collect();
        let rows = firmware_versions::table
            .inner_join(device_models::table)
            .filter(device_models::code.eq_any(models))
            .filter(firmware_versions::version.eq_any(versions))
            .select((device_models::code, firmware_versions::version));
        held.extend(on!(conn, |c| rows.load::<(String, String)>(c))?);
    }
    Ok(held)
}

async fn held_builds(
    conn: &mut Connection,
    asked: HashSet<String>,
) -> Result<HashSet<String>, Failure> {
    let asked: Vec<_> = asked.into_iter().collect();
    let mut held = HashSet::new();
    for batch in asked.chunks(MOST_BINDS) {
        let known = known_builds::table
            .filter(known_builds::elf_sha256.eq_any(batch))
            .select(known_builds::elf_sha256);
        held.extend(on!(conn, |c| known.load::<String>(c))?);
        let of_versions = firmware_versions::table
            .filter(firmware_versions::elf_sha256.eq_any(batch))
            .select(firmware_versions::elf_sha256);
        held.extend(on!(conn, |c| of_versions.load::<String>(c))?);
    }
    Ok(held)
}

async fn held_indexes(
    conn: &mut Connection,
    asked: HashSet<(String, Option<u32>)>,
    now: Timestamp,
) -> Result<HashSet<(String, Option<u32>)>, Failure> {
    let builds: Vec<_> = asked.into_iter().map(|(build, _)| build).collect();
    let mut held = HashSet::new();
    for batch in builds.chunks(MOST_BINDS) {
        held.extend(indexes::in_use(conn, batch, now).await?);
    }
    Ok(held)
}

async fn held_rom_elfs(
    conn: &mut Connection,
    asked: HashSet<String>,
) -> Result<HashSet<String>, Failure> {
    let asked: Vec<_> = asked.into_iter().collect();
    let mut held = HashSet::new();
    for batch in asked.chunks(MOST_BINDS) {
        let rows = rom_elfs::table.filter(rom_elfs::sha256.eq_any(batch)).select(rom_elfs::sha256);
        held.extend(on!(conn, |c| rows.load::<String>(c))?);
    }
    Ok(held)
}

async fn held_uploads(
    conn: &mut Connection,
    asked: HashSet<String>,
    now: Timestamp,
) -> Result<HashSet<String>, Failure> {
    let asked: Vec<_> = asked.into_iter().collect();
    let mut held = HashSet::new();
    for batch in asked.chunks(MOST_BINDS) {
        let marks = firmware_versions::table
            .filter(firmware_versions::staging_upload_id.eq_any(batch))
            .select(firmware_versions::staging_upload_id.assume_not_null());
        held.extend(on!(conn, |c| marks.load::<String>(c))?);
        let under_way = leases::table
            .filter(leases::owner.eq_any(batch))
            .filter(leases::expires_at.gt(At(now)))
            .select(leases::owner);
        held.extend(on!(conn, |c| under_way.load::<String>(c))?);
    }
    Ok(held)
}

async fn held_dumps(
    conn: &mut Connection,
    asked: HashSet<(String, i64)>,
) -> Result<HashSet<(String, i64)>, Failure> {
    let ids: Vec<i64> = asked.into_iter().map(|(_, id)| id).collect();
    let mut held = HashSet::new();
    for batch in ids.chunks(MOST_BINDS) {
        let rows = coredumps::table
            .inner_join(devices::table)
            .filter(coredumps::id.eq_any(batch))
            .select((devices::key, coredumps::id));
        held.extend(on!(conn, |c| rows.load::<(String, i64)>(c))?);
    }
    Ok(held)
}
