//! Which builds a dump may come from (contract §6.7).

use std::collections::HashSet;

use coredock_domain::digest::Sha256Digest;
use coredock_domain::repository::parse_jobs::WantedBuild;
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;
use diesel_async::RunQueryDsl;

use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::schema::{device_models, firmware_versions, known_builds};
use crate::values::{Column, StoredTime};
use crate::versions::read_digest;

/// A build, the model and version it was published as, and when it was last.
type BuildRow = (String, String, String, StoredTime);

/// Each build once, the preferred one first.
pub(super) async fn find(
    conn: &mut Connection,
    wanted: &WantedBuild,
) -> Result<Vec<Sha256Digest>, Failure> {
    // Behind every hex text that begins with the id, before every other one.
    let (from, to) = (wanted.build_id.as_str(), format!("{}g", wanted.build_id));
    let known = known_builds::table
        .filter(known_builds::elf_sha256.ge(from))
        .filter(known_builds::elf_sha256.lt(&to))
        .select((
            known_builds::elf_sha256,
            known_builds::model_code,
            known_builds::version,
            known_builds::last_referenced_at,
        ));
    let mut rows = on!(&mut *conn, |c| known.load::<BuildRow>(c))?;
    let of_versions = firmware_versions::table
        .inner_join(device_models::table)
        .filter(firmware_versions::elf_sha256.ge(from))
        .filter(firmware_versions::elf_sha256.lt(&to))
        .select((
            firmware_versions::elf_sha256,
            device_models::code,
            firmware_versions::version,
            firmware_versions::uploaded_at,
        ));
    rows.extend(on!(conn, |c| of_versions.load::<BuildRow>(c))?);
    preferred_first(rows, wanted)
}

fn preferred_first(
    rows: Vec<BuildRow>,
    wanted: &WantedBuild,
) -> Result<Vec<Sha256Digest>, Failure> {
    let column = Column("known_builds", "elf_sha256");
    let mut ranked = Vec::new();
    for (elf_sha256, model, version, time) in rows {
        let elf_sha256 = read_digest(&elf_sha256, column)?;
        let time: Timestamp = time.read(Column("known_builds", "last_referenced_at"))?;
        let is_of_model = model == wanted.model.as_str();
        let is_of_version = version == wanted.version;
        ranked.push((is_of_model, is_of_version, time, elf_sha256));
    }
    ranked.sort_unstable_by(|one, other| other.cmp(one));
    let mut seen = HashSet::new();
    ranked.retain(|(.., elf_sha256)| seen.insert(*elf_sha256));
    Ok(ranked.into_iter().map(|(.., elf_sha256)| elf_sha256).collect())
}
