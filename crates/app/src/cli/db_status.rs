//! `coredock db-status`

use super::{DONE, FAILED, MISUSED, fail, say, status_of};
use crate::backends::{OpenError, open_database};
use crate::config::{Config, DatabasePlace};

/// Changes nothing; works beside a running server.
pub(super) async fn run(config: &Config) -> u8 {
    let place = &config.database.place;
    say(format_args!("database {place}"));
    if let DatabasePlace::Sqlite(path) = place
        && !path.exists()
    {
        say(
            "the database does not exist yet; `coredock serve` or `coredock upgrade-db` creates it",
        );
        return FAILED;
    }
    let database = match open_database(config).await {
        Ok(database) => database,
        Err(error) => return fail(&error, MISUSED),
    };
    let status = match database.schema_status().await {
        Ok(status) => status,
        Err(source) => {
            let error = OpenError::Database { shown: database.shown(), source };
            return fail(&error, status_of(&error));
        }
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
