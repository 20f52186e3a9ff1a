//! Builds whose symbol files are stored.

use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;

use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::schema::known_builds;
use crate::statement::RunQueryDsl;
use crate::symbolication::indexes;
use crate::timestamps::At;

/// A build, and a version which has it.
#[derive(Clone, Copy)]
pub(crate) struct BuildOfVersion<'a> {
    pub(crate) elf_sha256: &'a str,
    pub(crate) model: &'a str,
    pub(crate) version: &'a str,
}

/// Records that a version row has, or had until now, this build.
pub(crate) async fn touch(
    conn: &mut Connection,
    build: BuildOfVersion<'_>,
    now: Timestamp,
) -> Result<(), Failure> {
    let row = (
        known_builds::elf_sha256.eq(build.elf_sha256),
        known_builds::model_code.eq(build.model),
        known_builds::version.eq(build.version),
        known_builds::last_referenced_at.eq(At(now)),
    );
    let unique = (known_builds::elf_sha256, known_builds::model_code, known_builds::version);
    on!(conn, |c| diesel::insert_into(known_builds::table)
        .values(row)
        .on_conflict(unique)
        .do_update()
        .set(known_builds::last_referenced_at.eq(At(now)))
        .execute(c))?;
    Ok(())
}

/// Records that a version row has this build from now on.
pub(crate) async fn publish(
    conn: &mut Connection,
    build: BuildOfVersion<'_>,
    now: Timestamp,
) -> Result<(), Failure> {
    touch(conn, build, now).await?;
    indexes::request(conn, build.elf_sha256, now).await
}
