//! Dumps whose symbols came late (contract §6.12).

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
use crate::values::At;

/// A set that is being published.
pub(crate) struct PublishedBuild<'a> {
    pub(crate) model_id: i64,
    pub(crate) version: &'a str,
    pub(crate) elf_sha256: Sha256Digest,
}

/// Dumps without a report because no ELF was held.
#[auto_type]
fn without_elf() -> _ {
    let error: &'static str = ParseStatus::Error.as_str();
    let code: &'static str = ParseErrorCode::ElfNotFound.as_str();
    coredumps::table
        .filter(coredumps::parse_status.eq(error))
        .filter(coredumps::error_code.eq(code))
}

/// Makes every dump that failed for want of this build, or of this version if it tells no build,
/// pending again.
pub(crate) async fn requeue(
    conn: &mut Connection,
    build: PublishedBuild<'_>,
    now: At,
) -> Result<(), Failure> {
    let elf_sha256 = build.elf_sha256.to_string();
    // A dump tells as much of its build as it likes; looking each length up uses the index.
    let beginnings = (BuildId::SHORTEST..=elf_sha256.len()).map(|length| &elf_sha256[..length]);
    let of_build = without_elf().filter(coredumps::build_id.eq_any(beginnings));
    let of_model =
        devices::table.filter(devices::device_model_id.eq(build.model_id)).select(devices::id);
    let of_version = without_elf()
        .filter(coredumps::build_id.is_null())
        .filter(coredumps::firmware_version.eq(build.version))
        .filter(coredumps::device_id.eq_any(of_model));
    let of_both = [
        on!(conn, |c| of_build.clone().select(coredumps::device_id).load::<i64>(c))?,
        on!(conn, |c| of_version.select(coredumps::device_id).load::<i64>(c))?,
    ];
    let mut devices = of_both.concat();
    if devices.is_empty() {
        return Ok(());
    }
    devices.sort_unstable();
    devices.dedup();
    // None can be missed: a dump fails for want of an ELF only while no publication runs.
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
    use crate::plans::plan_of;

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
