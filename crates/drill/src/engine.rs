//! The sidecar for one life of the server, and the check of its calls.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use coredock_testkit::invariants::{Fact, Findings, Rule};
use coredock_testkit::sidecar::{Reply, ScriptedSidecar};
use tokio::runtime::Runtime;

use super::dice::Dice;
use super::history::History;

/// Answers prepared for a life; calls beyond them get reports at once.
const SCRIPTED: usize = 400;

/// The report of the calls that get one.
const REPORT: &str = "report of the drill";

/// The callers of a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callers {
    /// One server. Its calls end with it.
    One,
    /// Several servers. A call may reach the sidecar after its attempt ended and its files were
    /// removed.
    Several,
    /// Several servers, of which one was frozen: its call stays open after its lease expired and
    /// another replica claimed the job.
    Frozen,
}

pub(super) struct Engine {
    sidecar: ScriptedSidecar,
}

impl Engine {
    /// Starts a sidecar that answers most calls soon, some with a failure, and some never.
    pub(super) fn start(runtime: &Runtime, transfer: &Path, dice: &mut Dice) -> Self {
        let engine = Self { sidecar: runtime.block_on(ScriptedSidecar::start(transfer)) };
        engine.prepare(SCRIPTED, dice);
        engine
    }

    /// Prepares more answers.
    pub(super) fn prepare(&self, answers: usize, dice: &mut Dice) {
        self.sidecar.script((0..answers).map(|_| reply(dice)).collect::<Vec<_>>());
    }

    pub(super) fn url(&self) -> &str {
        self.sidecar.url()
    }

    /// I10: there are never two calls for one dump at once, and each call has the bytes of its dump
    /// and of an ELF. Returns the number of calls since the last check.
    pub(super) fn check(
        &self,
        history: &History,
        callers: Callers,
        findings: &mut Findings,
    ) -> Result<usize> {
        let at_once = self.sidecar.same_core_at_once();
        findings.check(Rule::Parses, !at_once || callers == Callers::Frozen, || {
            "the sidecar was called twice at once for the same dump".into()
        });
        let late = callers != Callers::One;
        let calls = self.sidecar.take_calls();
        for call in &calls {
            let id = call.core.strip_prefix("coredump_").and_then(|name| name.strip_suffix(".dmp"));
            ensure!(id.is_some_and(|id| id.parse::<i64>().is_ok()), "call for {}", call.core);
            if late && (call.core_bytes.is_none() || call.elf_bytes.is_none()) {
                continue;
            }
            let core = call.core_bytes.as_deref().map(Fact::of);
            findings.check(Rule::Parses, core.is_some_and(|fact| history.has_dump(fact)), || {
                format!("{} was not a whole dump during its call: {core:?}", call.core)
            });
            let elf = call.elf_bytes.as_deref().map(Fact::of);
            findings.check(Rule::Parses, elf.is_some_and(|fact| history.has_elf(fact)), || {
                format!("{} was not a whole ELF during its call: {elf:?}", call.elf)
            });
        }
        Ok(calls.len())
    }
}

fn reply(dice: &mut Dice) -> Reply {
    match dice.below(100) {
        0..40 => Reply::output(REPORT),
        40..80 => Reply::after(Duration::from_millis(dice.number() % 60)),
        80..88 => Reply::status(500),
        88..92 => Reply::cut(),
        92..95 => Reply::body(200, "not JSON"),
        95..98 => Reply::hang(),
        _ => Reply::status(422),
    }
}
