//! What each request costs the database: its statements, those that begin and end transactions
//! included, counted in a server in this process whose workers rest.

mod quiet_server;
mod requests;

use anyhow::{Result, ensure};

use coredock_testkit::services::postgres::{Durability, PostgresServer};
use quiet_server::QuietServer;

/// What a request is called, and how many statements it took.
type Count = (&'static str, u64);

/// Prints a table, one line per request, one column per database.
pub(super) fn print() -> Result<()> {
    let sqlite = requests::count(&mut QuietServer::start(None)?)?;
    let server = PostgresServer::start(Durability::None)?;
    let postgres = requests::count(&mut QuietServer::start(Some(&server.url("postgres")))?)?;
    ensure!(sqlite.len() == postgres.len(), "not every request was made on both databases");
    println!("\n{:<56} {:>7} {:>11}", "request", "SQLite", "PostgreSQL");
    for ((request, on_sqlite), (_, on_postgres)) in sqlite.iter().zip(&postgres) {
        println!("{request:<56} {on_sqlite:>7} {on_postgres:>11}");
    }
    Ok(())
}
