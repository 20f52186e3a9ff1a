//! Which objects visible rows refer to (I5, I6).

use std::collections::HashSet;

use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;

use crate::artifacts::deletes::MAX_BINDS;
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::schema::{
    coredumps, device_models, devices, firmware_versions, known_builds, leases, rom_elfs,
};
use crate::statement::RunQueryDsl;
use crate::symbolication::indexes::{self, UsedIndex};
use crate::timestamps::At;

/// The names in keys of objects to which visible rows refer.
#[derive(Default)]
pub(crate) struct References {
    versions: HashSet<VersionName>,
    builds: HashSet<String>,
    indexes: HashSet<UsedIndex>,
    rom_elfs: HashSet<String>,
    uploads: HashSet<String>,
    dumps: HashSet<DumpName>,
}

#[derive(PartialEq, Eq, Hash)]
struct VersionName {
    model: String,
    version: String,
}

#[derive(PartialEq, Eq, Hash)]
struct DumpName {
    device: String,
    id: i64,
}

impl References {
    /// Whether a visible row refers to the object.
    pub(crate) fn contain(&self, key: &ArtifactKey) -> bool {
        match key {
            ArtifactKey::Firmware { model, version, .. } => {
                let (model, version) = (model.to_string(), version.to_string());
                self.versions.contains(&VersionName { model, version })
            }
            ArtifactKey::Symbols { elf_sha256 } => self.builds.contains(&elf_sha256.to_string()),
            ArtifactKey::SymbolIndex { elf_sha256, format } => {
                [None, Some(*format)].into_iter().any(|format| {
                    self.indexes.contains(&UsedIndex { build: elf_sha256.to_string(), format })
                })
            }
            ArtifactKey::RomElf { sha256 } => self.rom_elfs.contains(&sha256.to_string()),
            ArtifactKey::Coredump { device, id } => {
                self.dumps.contains(&DumpName { device: device.to_string(), id: *id })
            }
            ArtifactKey::Staging { upload, .. } => self.uploads.contains(upload.as_str()),
            ArtifactKey::Owner | ArtifactKey::Health { .. } => true,
        }
    }
}

/// The names in the keys for which references are read.
#[derive(Default)]
struct Requested {
    versions: HashSet<VersionName>,
    builds: HashSet<String>,
    builds_of_indexes: HashSet<String>,
    rom_elfs: HashSet<String>,
    uploads: HashSet<String>,
    dump_ids: HashSet<i64>,
}

impl Requested {
    fn of(keys: &[ArtifactKey]) -> Self {
        let mut requested = Self::default();
        for key in keys {
            requested.add(key);
        }
        requested
    }

    fn add(&mut self, key: &ArtifactKey) {
        match key {
            ArtifactKey::Firmware { model, version, .. } => {
                let (model, version) = (model.to_string(), version.to_string());
                self.versions.insert(VersionName { model, version });
            }
            ArtifactKey::Symbols { elf_sha256 } => {
                self.builds.insert(elf_sha256.to_string());
            }
            ArtifactKey::SymbolIndex { elf_sha256, .. } => {
                self.builds_of_indexes.insert(elf_sha256.to_string());
            }
            ArtifactKey::RomElf { sha256 } => {
                self.rom_elfs.insert(sha256.to_string());
            }
            ArtifactKey::Coredump { id, .. } => {
                self.dump_ids.insert(*id);
            }
            ArtifactKey::Staging { upload, .. } => {
                self.uploads.insert(upload.as_str().to_owned());
            }
            ArtifactKey::Owner | ArtifactKey::Health { .. } => {}
        }
    }
}

/// Reads the references to objects. The number of statements depends only on the number of batches
/// of names.
pub(crate) async fn find(
    conn: &mut Connection,
    keys: &[ArtifactKey],
    now: Timestamp,
) -> Result<References, Failure> {
    let requested = Requested::of(keys);
    Ok(References {
        versions: referenced_versions(conn, requested.versions).await?,
        builds: referenced_builds(conn, requested.builds).await?,
        indexes: referenced_indexes(conn, requested.builds_of_indexes, now).await?,
        rom_elfs: referenced_rom_elfs(conn, requested.rom_elfs).await?,
        uploads: referenced_uploads(conn, requested.uploads, now).await?,
        dumps: referenced_dumps(conn, requested.dump_ids).await?,
    })
}

/// The result may contain further pairs of the same models and versions; those exist as well.
async fn referenced_versions(
    conn: &mut Connection,
    requested: HashSet<VersionName>,
) -> Result<HashSet<VersionName>, Failure> {
    let requested: Vec<_> = requested.into_iter().collect();
    let mut referenced = HashSet::new();
    for batch in requested.chunks(MAX_BINDS / 2) {
        let models: HashSet<&str> = batch.iter().map(|name| name.model.as_str()).collect();
        let versions: HashSet<&str> = batch.iter().map(|name| name.version.as_str()).collect();
        let rows = firmware_versions::table
            .inner_join(device_models::table)
            .filter(device_models::code.eq_any(models))
            .filter(firmware_versions::version.eq_any(versions))
            .select((device_models::code, firmware_versions::version));
        let rows = on!(conn, |c| rows.load::<(String, String)>(c))?;
        referenced.extend(rows.into_iter().map(|(model, version)| VersionName { model, version }));
    }
    Ok(referenced)
}

async fn referenced_builds(
    conn: &mut Connection,
    requested: HashSet<String>,
) -> Result<HashSet<String>, Failure> {
    let requested: Vec<_> = requested.into_iter().collect();
    let mut referenced = HashSet::new();
    for batch in requested.chunks(MAX_BINDS) {
        let known = known_builds::table
            .filter(known_builds::elf_sha256.eq_any(batch))
            .select(known_builds::elf_sha256);
        referenced.extend(on!(conn, |c| known.load::<String>(c))?);
        let of_versions = firmware_versions::table
            .filter(firmware_versions::elf_sha256.eq_any(batch))
            .select(firmware_versions::elf_sha256);
        referenced.extend(on!(conn, |c| of_versions.load::<String>(c))?);
    }
    Ok(referenced)
}

async fn referenced_indexes(
    conn: &mut Connection,
    builds: HashSet<String>,
    now: Timestamp,
) -> Result<HashSet<UsedIndex>, Failure> {
    let builds: Vec<_> = builds.into_iter().collect();
    let mut referenced = HashSet::new();
    for batch in builds.chunks(MAX_BINDS) {
        referenced.extend(indexes::in_use(conn, batch, now).await?);
    }
    Ok(referenced)
}

async fn referenced_rom_elfs(
    conn: &mut Connection,
    requested: HashSet<String>,
) -> Result<HashSet<String>, Failure> {
    let requested: Vec<_> = requested.into_iter().collect();
    let mut referenced = HashSet::new();
    for batch in requested.chunks(MAX_BINDS) {
        let rows = rom_elfs::table.filter(rom_elfs::sha256.eq_any(batch)).select(rom_elfs::sha256);
        referenced.extend(on!(conn, |c| rows.load::<String>(c))?);
    }
    Ok(referenced)
}

async fn referenced_uploads(
    conn: &mut Connection,
    requested: HashSet<String>,
    now: Timestamp,
) -> Result<HashSet<String>, Failure> {
    let requested: Vec<_> = requested.into_iter().collect();
    let mut referenced = HashSet::new();
    for batch in requested.chunks(MAX_BINDS) {
        let marks = firmware_versions::table
            .filter(firmware_versions::staging_upload_id.eq_any(batch))
            .select(firmware_versions::staging_upload_id.assume_not_null());
        referenced.extend(on!(conn, |c| marks.load::<String>(c))?);
        let under_way = leases::table
            .filter(leases::owner.eq_any(batch))
            .filter(leases::expires_at.gt(At(now)))
            .select(leases::owner);
        referenced.extend(on!(conn, |c| under_way.load::<String>(c))?);
    }
    Ok(referenced)
}

async fn referenced_dumps(
    conn: &mut Connection,
    ids: HashSet<i64>,
) -> Result<HashSet<DumpName>, Failure> {
    let ids: Vec<_> = ids.into_iter().collect();
    let mut referenced = HashSet::new();
    for batch in ids.chunks(MAX_BINDS) {
        let rows = coredumps::table
            .inner_join(devices::table)
            .filter(coredumps::id.eq_any(batch))
            .select((devices::key, coredumps::id));
        let rows = on!(conn, |c| rows.load::<(String, i64)>(c))?;
        referenced.extend(rows.into_iter().map(|(device, id)| DumpName { device, id }));
    }
    Ok(referenced)
}
