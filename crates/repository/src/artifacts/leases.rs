//! Leases of publications.

use std::collections::HashSet;

use coredock_domain::artifacts::key::PublicationScope;
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;

use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::schema::leases;
use crate::statement::RunQueryDsl;
use crate::timestamps::At;

#[derive(Insertable)]
#[diesel(table_name = leases)]
pub(crate) struct LeaseRow {
    /// The key of the row: the scope, so that only one owner has a lease of it; followed by `#` and
    /// the owner where several owners may have leases of one scope.
    pub(crate) name: String,
    pub(crate) scope: String,
    pub(crate) owner: String,
    pub(crate) expires_at: At,
}

/// Takes a lease, or extends it.
pub(crate) async fn take(conn: &mut Connection, lease: LeaseRow) -> Result<(), Failure> {
    let until = leases::expires_at.eq(lease.expires_at);
    on!(conn, |c| diesel::insert_into(leases::table)
        .values(lease)
        .on_conflict(leases::name)
        .do_update()
        .set(until)
        .execute(c))?;
    Ok(())
}

/// Takes a lease that no other owner holds now, or extends it; `false` if another owner holds it.
pub(crate) async fn take_over(
    conn: &mut Connection,
    name: &str,
    owner: &str,
    now: At,
    until: At,
) -> Result<bool, Failure> {
    let free = leases::table
        .filter(leases::name.eq(name))
        .filter(leases::expires_at.le(now).or(leases::owner.eq(owner)));
    on!(conn, |c| diesel::delete(free).execute(c))?;
    let row = (
        leases::name.eq(name),
        leases::scope.eq(name),
        leases::owner.eq(owner),
        leases::expires_at.eq(until),
    );
    let taken = on!(conn, |c| diesel::insert_into(leases::table)
        .values(row)
        .on_conflict_do_nothing()
        .execute(c))?;
    Ok(taken > 0)
}

/// The owner of the exclusive lease of a scope, if the lease is live.
pub(crate) async fn holder(
    conn: &mut Connection,
    scope: &PublicationScope,
    now: Timestamp,
) -> Result<Option<String>, Failure> {
    let lease = leases::table
        .find(scope.to_string())
        .filter(leases::expires_at.gt(At(now)))
        .select(leases::owner);
    Ok(on!(conn, |c| lease.first::<String>(c)).optional()?)
}

/// The scopes that are under publication.
pub(crate) async fn live_scopes(
    conn: &mut Connection,
    now: Timestamp,
) -> Result<HashSet<String>, Failure> {
    let live = leases::table.filter(leases::expires_at.gt(At(now))).select(leases::scope);
    Ok(on!(conn, |c| live.load::<String>(c))?.into_iter().collect())
}

pub(crate) async fn delete_expired(conn: &mut Connection, now: Timestamp) -> Result<(), Failure> {
    let expired = leases::table.filter(leases::expires_at.le(At(now)));
    on!(conn, |c| diesel::delete(expired).execute(c))?;
    Ok(())
}

/// Deletes every lease of an owner.
pub(crate) async fn release_all(conn: &mut Connection, owner: &str) -> Result<(), Failure> {
    on!(conn, |c| diesel::delete(leases::table.filter(leases::owner.eq(owner))).execute(c))?;
    Ok(())
}
