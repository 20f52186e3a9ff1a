//! `coredock sweep`

use coredock_domain::upkeep::sweep::{SweepMode, SweepReport, SweepVerdict};

use super::{DONE, FAILED, fail, say};
use crate::backends::Backends;
use crate::config::Config;
use crate::wiring::Features;

pub(super) async fn run(config: &Config, mode: SweepMode) -> u8 {
    let backends = match Backends::open(config).await {
        Ok(backends) => backends,
        Err(error) => return fail(&error, super::status_of(&error)),
    };
    let is_dry = mode == SweepMode::DryRun;
    match backends.prepare_database(config.database.auto_migrate && !is_dry).await {
        Ok(true) => {}
        Ok(false) => {
            say("the database has pending migrations: run `coredock upgrade-db` first");
            return FAILED;
        }
        Err(error) => return fail(&error, super::status_of(&error)),
    }
    let features = match Features::new(config, &backends.adapters) {
        Ok(features) => features,
        Err(error) => return fail(&error, FAILED),
    };
    if !is_dry {
        backends.prepare_store(&features.upkeep).await;
    }
    let report = match features.upkeep.sweep(mode).await {
        Ok(report) => report,
        Err(error) => return fail(&error, FAILED),
    };
    show(&report);
    let deleted = if is_dry { Ok(()) } else { delete_now(&features).await };
    let status = match deleted {
        Ok(()) => status_of(&report.verdict),
        Err(error) => fail(&error, FAILED),
    };
    backends.adapters.database.close();
    status
}

/// Deletes here, because no server may be running which would do it.
async fn delete_now(features: &Features) -> Result<(), coredock_domain::upkeep::UpkeepError> {
    while features.upkeep.delete_queued().await?.deleted > 0 {}
    Ok(())
}

fn show(report: &SweepReport) {
    say(format_args!("{} objects seen, {} garbage", report.seen, report.garbage_objects()));
    for (prefix, objects) in &report.garbage {
        let removed = report.removed.get(prefix).copied().unwrap_or(0);
        say(format_args!("{}/: {objects} garbage, {removed} removed", prefix.as_str()));
    }
    if report.unknown > 0 {
        say(format_args!(
            "{} objects have names that Coredock does not use; they were not changed",
            report.unknown
        ));
    }
    say(explain(&report.verdict));
}

fn explain(verdict: &SweepVerdict) -> String {
    match verdict {
        SweepVerdict::Removed => "done".into(),
        SweepVerdict::DryRun => "dry run: nothing was changed".into(),
        SweepVerdict::Foreign { owner: None } => {
            "the store has objects but no owner mark; if they belong to this database, adopt it with \
             --confirm"
                .into()
        }
        SweepVerdict::Foreign { owner: Some(owner) } => format!(
            "the store belongs to installation {owner}; if it should belong to this database, \
             adopt it with --confirm"
        ),
        SweepVerdict::Adopted => "the store was adopted; the next run only reports".into(),
        SweepVerdict::FirstRun => {
            "first run after adoption, restore or change of store: nothing was removed; the next \
             run removes garbage"
                .into()
        }
        SweepVerdict::Busy => "another process is sweeping; nothing was changed".into(),
        SweepVerdict::TooMuch => {
            "more garbage than is plausible: nothing was removed; run again with --confirm if the \
             numbers are right"
                .into()
        }
    }
}

fn status_of(verdict: &SweepVerdict) -> u8 {
    match verdict {
        SweepVerdict::Removed
        | SweepVerdict::DryRun
        | SweepVerdict::Adopted
        | SweepVerdict::FirstRun => DONE,
        SweepVerdict::Foreign { .. } | SweepVerdict::TooMuch | SweepVerdict::Busy => FAILED,
    }
}
