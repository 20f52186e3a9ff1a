//! The port of the saved key sets of identity providers.

use async_trait::async_trait;
use coredock_domain::error::RepositoryError;
use coredock_domain::identity::saved_keys::SavedKeys;
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;

use crate::Database;
use crate::connection::on;
use crate::schema::identity_keys;
use crate::statement::RunQueryDsl;
use crate::timestamps::At;

#[async_trait]
impl SavedKeys for Database {
    async fn load(&self, issuer: &str) -> Result<Option<String>, RepositoryError> {
        let saved = identity_keys::table.find(issuer).select(identity_keys::keys);
        self.read("identity_keys.load", async |conn| {
            Ok(on!(conn, |c| saved.first::<String>(c)).optional()?)
        })
        .await
    }

    async fn save(&self, issuer: &str, keys: &str, now: Timestamp) -> Result<(), RepositoryError> {
        let values = (identity_keys::keys.eq(keys), identity_keys::saved_at.eq(At(now)));
        self.write("identity_keys.save", async |conn| {
            on!(conn, |c| diesel::insert_into(identity_keys::table)
                .values((identity_keys::issuer.eq(issuer), values))
                .on_conflict(identity_keys::issuer)
                .do_update()
                .set(values)
                .execute(c))?;
            Ok(())
        })
        .await
    }
}
