//! The SQL statements of each request, those which begin and end transactions included, counted in
//! a server in this process whose workers are idle.

mod quiet_server;
mod requests;

use anyhow::{Result, ensure};

use coredock_testkit::services::postgres::{Durability, PostgresServer};
use quiet_server::QuietServer;

/// The number of statements of a request.
struct Count {
    request: &'static str,
    statements: u64,
}

/// Prints a table, one line per request, one column per database.
pub(super) fn print() -> Result<()> {
    let sqlite = requests::count(&mut QuietServer::start(None)?)?;
    let server = PostgresServer::start(Durability::None)?;
    let postgres = requests::count(&mut QuietServer::start(Some(&server.url("postgres")))?)?;
    let (on_sqlite, on_postgres) = (sqlite.len(), postgres.len());
    ensure!(
        on_sqlite == on_postgres,
        "expected the same requests on both databases, found {on_sqlite} and {on_postgres}"
    );
    println!("\n{:<56} {:>7} {:>11}", "request", "SQLite", "PostgreSQL");
    for (Count { request, statements }, on_postgres) in sqlite.iter().zip(&postgres) {
        println!("{request:<56} {statements:>7} {:>11}", on_postgres.statements);
    }
    Ok(())
}
