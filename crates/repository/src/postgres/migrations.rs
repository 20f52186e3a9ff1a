//! Migrations of a `PostgreSQL` database, over a connection of their own.

use deadpool::managed::Object;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::Postgres;
use crate::migrations::{self, RECORD, blocking};
use crate::start::{SchemaStatus, StartError};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// Held while migrations are applied, by one process at a time. The number is arbitrary and ours.
const MIGRATION_LOCK: i64 = 0x636f_7265_646f_636b;

/// Ordinary tables in the schema that unqualified names mean, but those of extensions.
const TABLES: &str = "SELECT c.relname::text AS name FROM pg_class c \
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') \
     AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
     AND d.objid = c.oid AND d.deptype = 'e')";

/// The table in which legacy deployments keep their own migrations.
const LEGACY_RECORD: &str = "alembic_version";

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Compares the migrations of the database with those of this binary.
pub(crate) async fn status(postgres: &Postgres) -> Result<SchemaStatus, StartError> {
    let mut pooled = match postgres.pool.get().await {
        Ok(pooled) => pooled,
        // The pool says only that it has none; a connection of our own says why.
        Err(error) => {
            return Err(match postgres.connector.connect().await {
                Ok(_) => StartError::unavailable("inspect", error),
                Err(reason) => reason,
            });
        }
    };
    let looking =
        tokio::time::timeout(postgres.answer_timeout, applied_versions(&mut pooled)).await;
    let Ok(applied) = looking else {
        // It still waits for its answer: nobody may have it.
        drop(Object::take(pooled));
        return Err(StartError::unavailable("inspect", "the database did not answer in time"));
    };
    let applied = applied.map_err(|error| StartError::unavailable("inspect", error))??;
    Ok(migrations::compare(&applied, &migrations::known::<Pg>(&MIGRATIONS)?))
}

/// Applies what waits, each migration in a transaction of its own, all of them under one lock.
pub(crate) async fn apply(postgres: &Postgres) -> Result<Vec<String>, StartError> {
    let mut connection = postgres.connector.connect().await?;
    let applied = applied_versions(&mut connection)
        .await
        .map_err(|error| StartError::unavailable("inspect", error))??;
    blocking("migrate", move || {
        let known = migrations::known::<Pg>(&MIGRATIONS)?;
        let mut connection: AsyncConnectionWrapper<AsyncPgConnection> = connection.into();
        lock(&mut connection).map_err(|error| StartError::unavailable("migrate", error))?;
        if !migrations::compare(&applied, &known).pending.is_empty() {
            check_permission(&mut connection)?;
        }
        // The lock goes with the connection.
        migrations::apply(&mut connection, &applied, &known, |connection, migration| {
            connection
                .transaction(|connection| migrations::run_unless_applied(connection, migration))
        })
    })
    .await
}

#[derive(QueryableByName)]
struct PermissionRow {
    #[diesel(sql_type = Bool)]
    may_create: bool,
}

/// What the user may do shows in no error code of diesel.
fn check_permission(
    connection: &mut AsyncConnectionWrapper<AsyncPgConnection>,
) -> Result<(), StartError> {
    let query = diesel::sql_query(
        "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create",
    );
    let row = diesel::RunQueryDsl::get_result::<PermissionRow>(query, connection)
        .map_err(|error| StartError::unavailable("migrate", error))?;
    if row.may_create { Ok(()) } else { Err(StartError::NotPermitted) }
}

/// Waits for the other processes that migrate; a migration may take as long as it takes.
fn lock(connection: &mut AsyncConnectionWrapper<AsyncPgConnection>) -> QueryResult<()> {
    diesel::RunQueryDsl::execute(diesel::sql_query("SET statement_timeout = 0"), connection)?;
    let lock = diesel::sql_query("SELECT pg_advisory_lock($1)").bind::<BigInt, _>(MIGRATION_LOCK);
    diesel::RunQueryDsl::execute(lock, connection)?;
    Ok(())
}

/// The versions the database has, oldest first; the inner error when the tables in it are somebody
/// else's. Reads only.
async fn applied_versions(
    connection: &mut AsyncPgConnection,
) -> QueryResult<Result<Vec<String>, StartError>> {
    let tables = names(connection, TABLES).await?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    if has(RECORD) {
        let query = format!("SELECT version::text AS name FROM {RECORD} ORDER BY 1");
        let applied = names(connection, &query).await?;
        return Ok(if applied.is_empty() || has("device_models") {
            Ok(applied)
        } else {
            Err(StartError::Foreign)
        });
    }
    if has(LEGACY_RECORD) {
        return Ok(Err(StartError::Legacy));
    }
    Ok(if tables.is_empty() { Ok(Vec::new()) } else { Err(StartError::Foreign) })
}

async fn names(connection: &mut AsyncPgConnection, query: &str) -> QueryResult<Vec<String>> {
    let rows = diesel::sql_query(query).load::<NameRow>(connection).await?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}
