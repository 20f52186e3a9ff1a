//! Migrations of a `PostgreSQL` database, over a separate connection.

use deadpool::managed::Object;
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel_async::async_connection_wrapper::AsyncConnectionWrapper;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, embed_migrations};

use super::Postgres;
use crate::migrations::{self, MIGRATIONS_TABLE, SchemaStatus, blocking};
use crate::start_error::StartError;

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("../../migrations/postgres");

/// The advisory lock which a process holds while it applies migrations. The number is arbitrary.
const MIGRATION_LOCK: i64 = 0x636f_7265_646f_636b;

/// The ordinary tables of the current schema, without those of extensions.
const TABLES: &str = "SELECT c.relname::text AS name FROM pg_class c \
     WHERE c.relnamespace = current_schema()::regnamespace AND c.relkind IN ('r', 'p') \
     AND NOT EXISTS (SELECT 1 FROM pg_depend d WHERE d.classid = 'pg_class'::regclass \
     AND d.objid = c.oid AND d.deptype = 'e')";

/// The table in which legacy deployments record their migrations.
const LEGACY_MIGRATIONS_TABLE: &str = "alembic_version";

#[derive(QueryableByName)]
struct NameRow {
    #[diesel(sql_type = Text)]
    name: String,
}

/// Compares the migrations of the database with those of this binary.
pub(crate) async fn status(postgres: &Postgres) -> Result<SchemaStatus, StartError> {
    let mut pooled = match postgres.pool.get().await {
        Ok(pooled) => pooled,
        // The pool reports only that it has no connection; a separate connection shows the reason.
        Err(error) => {
            return Err(match postgres.connector.connect().await {
                Ok(_) => StartError::unavailable("inspect", error),
                Err(reason) => reason,
            });
        }
    };
    let reading =
        tokio::time::timeout(postgres.answer_timeout, applied_versions(&mut pooled)).await;
    let Ok(applied) = reading else {
        // The answer may still arrive, so that the connection must not be used again.
        drop(Object::take(pooled));
        let limit = postgres.answer_timeout;
        let text = format!("the database did not answer within {limit:?}");
        return Err(StartError::unavailable("inspect", text));
    };
    let applied = applied.map_err(|error| StartError::unavailable("inspect", error))??;
    Ok(migrations::compare(&applied, &migrations::known::<Pg>(&MIGRATIONS)?))
}

/// Applies the pending migrations, each in a separate transaction, all of them under one lock.
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
        // The lock ends with the connection.
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

/// Asks the server, because diesel does not pass on the error code of a missing permission.
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

/// Waits for the other processes that migrate. Neither this wait nor a migration has a time limit.
fn lock(connection: &mut AsyncConnectionWrapper<AsyncPgConnection>) -> QueryResult<()> {
    diesel::RunQueryDsl::execute(diesel::sql_query("SET statement_timeout = 0"), connection)?;
    let lock = diesel::sql_query("SELECT pg_advisory_lock($1)").bind::<BigInt, _>(MIGRATION_LOCK);
    diesel::RunQueryDsl::execute(lock, connection)?;
    Ok(())
}

/// The versions of the applied migrations, oldest first; the inner error if the database has tables
/// of another program. Only reads.
async fn applied_versions(
    connection: &mut AsyncPgConnection,
) -> QueryResult<Result<Vec<String>, StartError>> {
    let tables = names(connection, TABLES).await?;
    let has = |name: &str| tables.iter().any(|table| table == name);
    if has(MIGRATIONS_TABLE) {
        let query = format!("SELECT version::text AS name FROM {MIGRATIONS_TABLE} ORDER BY 1");
        let applied = names(connection, &query).await?;
        return Ok(if applied.is_empty() || has("device_models") {
            Ok(applied)
        } else {
            Err(StartError::Foreign)
        });
    }
    if has(LEGACY_MIGRATIONS_TABLE) {
        return Ok(Err(StartError::Legacy));
    }
    Ok(if tables.is_empty() { Ok(Vec::new()) } else { Err(StartError::Foreign) })
}

async fn names(connection: &mut AsyncPgConnection, query: &str) -> QueryResult<Vec<String>> {
    let rows = diesel::sql_query(query).load::<NameRow>(connection).await?;
    Ok(rows.into_iter().map(|row| row.name).collect())
}
