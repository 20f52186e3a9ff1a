//! `coredock db-status`

use super::{DONE, FAILED, MISUSED, fail, say};
use crate::config::Config;
use crate::embedded::open_database;

/// Only looks; works beside a running server.
pub(super) async fn run(config: &Config) -> u8 {
    let path = &config.database.path;
    say(format_args!("database sqlite://{}", path.display()));
    if !path.exists() {
        say("does not exist yet; `coredock serve` or `coredock upgrade-db` makes it");
        return FAILED;
    }
    let database = match open_database(config).await {
        Ok(database) => database,
        Err(error) => return fail(&error, MISUSED),
    };
    let status = match database.schema_status().await {
        Ok(status) => status,
        Err(error) => return fail(&error, MISUSED),
    };
    status.applied.iter().for_each(|name| say(format_args!("applied {name}")));
    status.pending.iter().for_each(|name| say(format_args!("pending {name}")));
    status.unknown.iter().for_each(|name| say(format_args!("unknown {name}")));
    if !status.unknown.is_empty() {
        say("the database is newer than this binary; use the version that migrated it");
        return MISUSED;
    }
    if status.pending.is_empty() { DONE } else { FAILED }
}
