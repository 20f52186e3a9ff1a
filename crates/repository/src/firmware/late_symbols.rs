//! Dumps whose symbol files are published after their parse (contract §6.12).

use coredock_domain::coredumps::coredump::{BuildId, ParseErrorCode, ParseStatus};
use coredock_domain::digest::Sha256Digest;
use diesel::dsl::auto_type;
use diesel::prelude::*;

use crate::connection::{Connection, on};
use crate::coredumps::row::PendingAgain;
use crate::failure::Failure;
use crate::locks;
use crate::schema::{coredumps, devices};
use crate::statement::RunQueryDsl;
use crate::timestamps::At;

/// A set that is being published.
pub(crate) struct PublishedBuild<'a> {
    pub(crate) model_id: i64,
    pub(crate) version: &'a str,
    pub(crate) elf_sha256: Sha256Digest,
}

/// Dumps without a report because their ELF was not stored.
#[auto_type]
fn without_elf() -> _ {
    let error: &'static str = ParseStatus::Error.as_str();
    let code: &'static str = ParseErrorCode::ElfNotFound.as_str();
    coredumps::table
        .filter(coredumps::parse_status.eq(error))
        .filter(coredumps::error_code.eq(code))
}

/// Makes every dump pending again that failed because the ELF of this build was missing, or, if the
/// dump has no build id, the ELF of this version.
pub(crate) async fn requeue(
    conn: &mut Connection,
    build: PublishedBuild<'_>,
    now: At,
) -> Result<(), Failure> {
    let elf_sha256 = build.elf_sha256.to_string();
    // A dump has a prefix of any length of the build id; a lookup of each length uses the index.
    let prefixes = (BuildId::MIN_DIGITS..=elf_sha256.len()).map(|length| &elf_sha256[..length]);
    let of_build = without_elf().filter(coredumps::build_id.eq_any(prefixes));
    let of_model =
        devices::table.filter(devices::device_model_id.eq(build.model_id)).select(devices::id);
    let of_version = without_elf()
        .filter(coredumps::build_id.is_null())
        .filter(coredumps::firmware_version.eq(build.version))
        .filter(coredumps::device_id.eq_any(of_model));
    let found = [
        on!(conn, |c| of_build.clone().select(coredumps::device_id).load::<i64>(c))?,
        on!(conn, |c| of_version.select(coredumps::device_id).load::<i64>(c))?,
    ];
    let mut devices = found.concat();
    if devices.is_empty() {
        return Ok(());
    }
    devices.sort_unstable();
    devices.dedup();
    // No dump is missed: the error of a missing ELF is written only while no publication commits.
    on!(conn, |c| locks::devices(c, &devices))?;
    let again = PendingAgain::due(now);
    on!(conn, |c| diesel::update(of_build).set(again).execute(c))?;
    let again = PendingAgain::due(now);
    on!(conn, |c| diesel::update(of_version).set(again).execute(c))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::query_plans::plan_of;

    #[test]
    fn dumps_without_an_elf_are_found_by_indexes() {
        let of_build = without_elf().filter(coredumps::build_id.eq_any(["64d3738c", "64d3738c1"]));
        let of_version = without_elf()
            .filter(coredumps::build_id.is_null())
            .filter(coredumps::firmware_version.eq("1.0.0"));
        for (steps, index) in [
            (plan_of(&of_build), "coredumps_by_build (build_id=?)"),
            (plan_of(&of_version), "coredumps_by_version (firmware_version=? AND parse_status=?)"),
        ] {
            assert!(steps[0].contains(index), "{steps:?}");
        }
    }
}
