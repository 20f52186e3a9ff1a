//! The repository of ROM ELFs.

use async_trait::async_trait;
use coredock_domain::artifacts::key::{ArtifactKey, PublicationScope};
use coredock_domain::artifacts::store::ArtifactFacts;
use coredock_domain::audit::{AuditAction, Change};
use coredock_domain::chip::KnownChip;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::error::RepositoryError;
use coredock_domain::rom_elfs::repository::{
    BeginRomElf, RecordRomElf, RomElfRepository, RomElfStart,
};
use coredock_domain::rom_elfs::rom_elf::{RomElf, RomElfName};
use diesel::prelude::*;

use crate::artifacts::deletes;
use crate::artifacts::leases::{self, LeaseRow};
use crate::columns::Column;
use crate::connection::{Connection, on};
use crate::failure::Failure;
use crate::locks;
use crate::schema::rom_elfs;
use crate::statement::RunQueryDsl;
use crate::timestamps::{At, StoredTime};
use crate::{Database, audit};

#[derive(Queryable, Selectable)]
#[diesel(table_name = rom_elfs)]
struct RomElfRow {
    id: i64,
    chip: String,
    name: String,
    size: i64,
    sha256: String,
    uploaded_at: StoredTime,
}

impl RomElfRow {
    fn read(self) -> Result<RomElf, Failure> {
        let column = |name| Column("rom_elfs", name);
        Ok(RomElf {
            id: self.id,
            chip: column("chip").require(KnownChip::named(&self.chip))?,
            name: column("name").require(RomElfName::parse(&self.name))?,
            facts: ArtifactFacts {
                size: column("size").require(self.size.try_into().ok())?,
                sha256: column("sha256").require(self.sha256.parse().ok())?,
            },
            uploaded_at: self.uploaded_at.read(column("uploaded_at"))?,
        })
    }
}

/// All rows, in the order in which lists show them.
#[diesel::dsl::auto_type]
fn listed() -> _ {
    rom_elfs::table.order((rom_elfs::chip, rom_elfs::name, rom_elfs::id))
}

#[async_trait]
impl RomElfRepository for Database {
    async fn list(&self) -> Result<Vec<RomElf>, RepositoryError> {
        self.read("rom_elf.list", async |conn| {
            let rows = on!(conn, |c| listed().select(RomElfRow::as_select()).load::<RomElfRow>(c))?;
            rows.into_iter().map(RomElfRow::read).collect()
        })
        .await
    }

    async fn list_of_chip(&self, chip: KnownChip) -> Result<Vec<RomElf>, RepositoryError> {
        let of_chip = listed().filter(rom_elfs::chip.eq(chip.name()));
        self.read("rom_elf.list_of_chip", async |conn| {
            let rows = on!(conn, |c| of_chip.select(RomElfRow::as_select()).load::<RomElfRow>(c))?;
            rows.into_iter().map(RomElfRow::read).collect()
        })
        .await
    }

    async fn begin(&self, request: BeginRomElf) -> Result<RomElfStart, RepositoryError> {
        self.write("rom_elf.begin", async |conn| begin(conn, &request).await).await
    }

    async fn record(
        &self,
        rom_elf: RecordRomElf,
        change: &Change,
    ) -> Result<Option<RomElf>, RepositoryError> {
        let recorded =
            self.write("rom_elf.record", async |conn| record(conn, &rom_elf, change).await).await?;
        if let Some(recorded) = &recorded {
            change.log(AuditAction::RomElfUploaded, recorded.id);
        }
        Ok(recorded)
    }

    async fn delete(&self, id: i64, change: &Change) -> Result<bool, RepositoryError> {
        let deleted =
            self.write("rom_elf.delete", async |conn| delete(conn, id, change).await).await?;
        if deleted {
            change.log(AuditAction::RomElfDeleted, id);
        }
        Ok(deleted)
    }
}

async fn begin(conn: &mut Connection, request: &BeginRomElf) -> Result<RomElfStart, Failure> {
    on!(conn, |c| locks::publications(c))?;
    leases::delete_expired(conn, request.now).await?;
    if let Some(stored) = find_by_digest(conn, request.sha256).await? {
        return Ok(RomElfStart::Exists(Box::new(stored)));
    }
    let scope = PublicationScope::RomElf { sha256: request.sha256 };
    let holder = leases::holder(conn, &scope, request.now).await?;
    if holder.is_some_and(|holder| holder != request.upload.as_str()) {
        return Ok(RomElfStart::Busy);
    }
    let key = ArtifactKey::RomElf { sha256: request.sha256 };
    if !deletes::cancel_unless_begun(conn, &key, request.now).await? {
        return Ok(RomElfStart::Busy);
    }
    let lease = LeaseRow {
        name: scope.to_string(),
        scope: scope.to_string(),
        owner: request.upload.as_str().to_owned(),
        expires_at: At(request.until),
    };
    leases::take(conn, lease).await?;
    Ok(RomElfStart::Granted)
}

async fn record(
    conn: &mut Connection,
    rom_elf: &RecordRomElf,
    change: &Change,
) -> Result<Option<RomElf>, Failure> {
    on!(conn, |c| locks::publications(c))?;
    let sha256 = rom_elf.facts.sha256;
    let scope = PublicationScope::RomElf { sha256 };
    let holder = leases::holder(conn, &scope, change.at).await?;
    if holder.as_deref() != Some(rom_elf.upload.as_str()) {
        return Ok(None);
    }
    let size = i64::try_from(rom_elf.facts.size).ok();
    let row = (
        rom_elfs::chip.eq(rom_elf.chip.name()),
        rom_elfs::name.eq(rom_elf.name.as_str()),
        rom_elfs::size.eq(Column("rom_elfs", "size").require(size)?),
        rom_elfs::sha256.eq(sha256.to_string()),
        rom_elfs::uploaded_at.eq(At(change.at)),
    );
    let row = on!(conn, |c| diesel::insert_into(rom_elfs::table)
        .values(row)
        .returning(RomElfRow::as_returning())
        .get_result::<RomElfRow>(c))?;
    deletes::cancel(conn, &[ArtifactKey::RomElf { sha256 }]).await?;
    audit::record(conn, change, AuditAction::RomElfUploaded, row.id).await?;
    leases::release_all(conn, rom_elf.upload.as_str()).await?;
    row.read().map(Some)
}

async fn delete(conn: &mut Connection, id: i64, change: &Change) -> Result<bool, Failure> {
    on!(conn, |c| locks::publications(c))?;
    let row = on!(conn, |c| diesel::delete(rom_elfs::table.find(id))
        .returning(RomElfRow::as_returning())
        .get_result::<RomElfRow>(c))
    .optional()?;
    let Some(row) = row else { return Ok(false) };
    let sha256 = Column("rom_elfs", "sha256").require(row.sha256.parse().ok())?;
    deletes::queue(conn, &[ArtifactKey::RomElf { sha256 }], change.at).await?;
    audit::record(conn, change, AuditAction::RomElfDeleted, id).await?;
    Ok(true)
}

async fn find_by_digest(
    conn: &mut Connection,
    sha256: Sha256Digest,
) -> Result<Option<RomElf>, Failure> {
    let query = rom_elfs::table.filter(rom_elfs::sha256.eq(sha256.to_string()));
    let row = on!(conn, |c| query.select(RomElfRow::as_select()).first::<RomElfRow>(c));
    row.optional()?.map(RomElfRow::read).transpose()
}
