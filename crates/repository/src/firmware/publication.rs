//! The port to the commits of a publication (contract §5.7, §5.8).

mod begin;
mod publish;

use async_trait::async_trait;
use coredock_domain::audit::{AuditAction, Change};
use coredock_domain::error::RepositoryError;
use coredock_domain::firmware::FirmwareVersion;
use coredock_domain::firmware::publication::{
    BeginPublication, PublicationRepository, PublicationStart, PublishVersion, Published,
};
use coredock_domain::ids::UploadId;
use coredock_domain::timestamp::Timestamp;
use diesel::prelude::*;

use crate::Database;
use crate::artifacts::deletes;
use crate::artifacts::leases as lease_rows;
use crate::connection::on;
use crate::firmware::retention;
use crate::firmware::versions::VersionRow;
use crate::locks;
use crate::schema::{device_models, firmware_versions, leases};
use crate::statement::RunQueryDsl;
use crate::timestamps::At;

#[async_trait]
impl PublicationRepository for Database {
    async fn begin(&self, request: BeginPublication) -> Result<PublicationStart, RepositoryError> {
        self.write("publication.begin", async |conn| begin::begin(conn, &request).await).await
    }

    async fn renew(
        &self,
        upload: &UploadId,
        now: Timestamp,
        until: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let live = leases::table
            .filter(leases::owner.eq(upload.as_str()))
            .filter(leases::expires_at.gt(At(now)));
        self.write("publication.renew", async |conn| {
            let renewed = on!(conn, |c| diesel::update(live)
                .set(leases::expires_at.eq(At(until)))
                .execute(c))?;
            Ok(renewed > 0)
        })
        .await
    }

    async fn end(&self, upload: &UploadId) -> Result<(), RepositoryError> {
        self.write("publication.end", async |conn| {
            lease_rows::release_all(conn, upload.as_str()).await
        })
        .await
    }

    async fn publish(
        &self,
        publication: PublishVersion,
        change: &Change,
    ) -> Result<Option<Published>, RepositoryError> {
        let committed = self
            .write("publication.publish", async |conn| {
                publish::publish(conn, &publication, change).await
            })
            .await?;
        let Some((model, published)) = committed else { return Ok(None) };
        let target = format_args!("{model}/{}", publication.version);
        change.log(AuditAction::FirmwareUploaded, target);
        retention::log_pruned(&model, &published.pruned, change.at);
        Ok(Some(published))
    }

    async fn settle(
        &self,
        version_id: i64,
        staging: &UploadId,
        now: Timestamp,
    ) -> Result<bool, RepositoryError> {
        let marked = firmware_versions::table
            .filter(firmware_versions::id.eq(version_id))
            .filter(firmware_versions::staging_upload_id.eq(staging.as_str()));
        self.write("publication.settle", async |conn| {
            on!(conn, |c| locks::publications(c))?;
            let settled = on!(conn, |c| diesel::update(marked)
                .set(firmware_versions::staging_upload_id.eq(None::<String>))
                .execute(c))?;
            if settled > 0 {
                let keys: Vec<_> = deletes::staged_keys(staging).collect();
                deletes::queue(conn, &keys, now).await?;
            }
            Ok(settled > 0)
        })
        .await
    }

    async fn unsettled(
        &self,
        now: Timestamp,
        limit: i64,
    ) -> Result<Vec<FirmwareVersion>, RepositoryError> {
        let query = firmware_versions::table
            .inner_join(device_models::table)
            .filter(firmware_versions::staging_upload_id.is_not_null())
            .order(firmware_versions::id);
        self.read("publication.unsettled", async |conn| {
            // Marked rows are rare: a mark exists from a commit to the end of the copy after it.
            let rows = on!(conn, |c| query
                .select((VersionRow::as_select(), device_models::code))
                .load::<(VersionRow, String)>(c))?;
            let live = lease_rows::live_scopes(conn, now).await?;
            let mut idle = Vec::new();
            for (row, code) in rows {
                let version = row.read(&code)?;
                let scope = begin::scope_of(&version.model, &version.version);
                if !live.contains(&scope.to_string()) {
                    idle.push(version);
                }
            }
            idle.truncate(usize::try_from(limit).unwrap_or(0));
            Ok(idle)
        })
        .await
    }
}
