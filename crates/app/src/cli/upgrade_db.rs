//! `coredock upgrade-db`

use super::{DONE, MISUSED, fail, say};
use crate::config::Config;
use crate::embedded::Embedded;

pub(super) async fn run(config: &Config) -> u8 {
    let before = match Embedded::open(config, false).await {
        Ok(embedded) => embedded.outside.database,
        Err(error) => return fail(&error, MISUSED),
    };
    match before.migrate().await {
        Ok(applied) if applied.is_empty() => say("the database is up to date"),
        Ok(applied) => applied.iter().for_each(|name| say(format_args!("applied {name}"))),
        Err(error) => return fail(&error, MISUSED),
    }
    before.close();
    DONE
}
