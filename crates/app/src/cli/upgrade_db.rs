//! `coredock upgrade-db`

use super::{DONE, fail, say, status_of};
use crate::backends::{Backends, OpenError};
use crate::config::Config;

pub(super) async fn run(config: &Config) -> u8 {
    let backends = match Backends::open(config).await {
        Ok(backends) => backends,
        Err(error) => return fail(&error, status_of(&error)),
    };
    let database = &backends.adapters.database;
    match database.migrate().await {
        Ok(applied) if applied.is_empty() => say("the database is up to date"),
        Ok(applied) => applied.iter().for_each(|name| say(format_args!("applied {name}"))),
        Err(source) => {
            let error = OpenError::Database { shown: database.shown(), source };
            return fail(&error, status_of(&error));
        }
    }
    database.close();
    DONE
}
