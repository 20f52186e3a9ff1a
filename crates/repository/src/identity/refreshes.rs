//! The port that shares the refresh of a browser session. A row is a lease until it has a result;
//! `expires_at` is the end of the one or the other.

use async_trait::async_trait;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::error::RepositoryError;
use coredock_domain::identity::refreshes::{
    BeginRefresh, FinishRefresh, RefreshRepository, RefreshStart,
};
use coredock_domain::ids::LeaseOwner;
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;

use crate::Database;
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::schema::session_refreshes as refreshes;
use crate::statement::RunQueryDsl;
use crate::timestamps::At;

#[async_trait]
impl RefreshRepository for Database {
    async fn begin(&self, request: BeginRefresh) -> Result<RefreshStart, RepositoryError> {
        self.write("refresh.begin", async |conn| begin(conn, &request).await).await
    }

    async fn finish(&self, refresh: FinishRefresh) -> Result<bool, RepositoryError> {
        let token = refresh.token.to_string();
        let result = (
            refreshes::sealed.eq(&refresh.sealed),
            refreshes::expires_at.eq(At(refresh.expires_at)),
        );
        self.write("refresh.finish", async |conn| {
            let leased = refreshes::table
                .find(&token)
                .filter(refreshes::owner.eq(refresh.owner.as_str()))
                .filter(refreshes::sealed.is_null());
            let finished = on!(conn, |c| diesel::update(leased).set(result).execute(c))?;
            Ok(finished > 0)
        })
        .await
    }

    async fn abandon(
        &self,
        token: &Sha256Digest,
        owner: &LeaseOwner,
    ) -> Result<(), RepositoryError> {
        let token = token.to_string();
        self.write("refresh.abandon", async |conn| {
            let leased = refreshes::table
                .find(&token)
                .filter(refreshes::owner.eq(owner.as_str()))
                .filter(refreshes::sealed.is_null());
            on!(conn, |c| diesel::delete(leased).execute(c))?;
            Ok(())
        })
        .await
    }

    async fn delete_expired(&self, now: Timestamp, limit: i64) -> Result<usize, RepositoryError> {
        self.write("refresh.delete_expired", async |conn| {
            let expired = refreshes::table
                .filter(refreshes::expires_at.le(At(now)))
                .order(refreshes::expires_at)
                .limit(limit)
                .select(refreshes::token_sha256);
            let expired = on!(conn, |c| expired.load::<String>(c))?;
            let rows = refreshes::table
                .filter(refreshes::token_sha256.eq_any(&expired))
                .filter(refreshes::expires_at.le(At(now)));
            Ok(on!(conn, |c| diesel::delete(rows).execute(c))?)
        })
        .await
    }
}

async fn begin(conn: &mut Connection, request: &BeginRefresh) -> Result<RefreshStart, Failure> {
    let token = request.token.to_string();
    let expired = refreshes::table.find(&token).filter(refreshes::expires_at.le(At(request.now)));
    on!(conn, |c| diesel::delete(expired).execute(c))?;
    let lease = (
        refreshes::token_sha256.eq(&token),
        refreshes::owner.eq(request.owner.as_str()),
        refreshes::expires_at.eq(At(request.until)),
    );
    let inserted = on!(conn, |c| diesel::insert_into(refreshes::table)
        .values(lease)
        .on_conflict_do_nothing()
        .execute(c))?;
    if inserted > 0 {
        return Ok(RefreshStart::Granted);
    }
    let sealed = refreshes::table.find(&token).select(refreshes::sealed);
    let sealed = on!(conn, |c| sealed.first::<Option<Vec<u8>>>(c)).optional()?;
    // A row that another call has removed since counts as a lease: the caller asks again.
    Ok(sealed.flatten().map_or(RefreshStart::InProgress, RefreshStart::Done))
}
