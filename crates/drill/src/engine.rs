//! The sidecar of one life of the server, and what its calls must have been.

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

/// The report of a call that was answered with one of its own.
const REPORT: &str = "report of the drill";

/// Who calls a sidecar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Callers {
    /// One server. When it is dead, so are its calls.
    One,
    /// Several. A call may reach the sidecar after its attempt ended and its files went.
    Several,
    /// Several, of which one stood still: its call stays open after its lease ran out and another
    /// replica took the job.
    Frozen,
}

/// A sidecar for one life.
pub(super) struct Engine {
    sidecar: ScriptedSidecar,
}

impl Engine {
    /// Starts one that answers most calls soon, some with failure, some not at all.
    pub(super) fn start(runtime: &Runtime, transfer: &Path, dice: &mut Dice) -> Self {
        let engine = Self { sidecar: runtime.block_on(ScriptedSidecar::start(transfer)) };
        engine.prepare(SCRIPTED, dice);
        engine
    }

    /// Prepares more answers.
    pub(super) fn prepare(&self, answers: usize, dice: &mut Dice) {
        self.sidecar.script((0..answers).map(|_| reply(dice)).collect::<Vec<_>>());
    }

    /// Where it is.
    pub(super) fn url(&self) -> &str {
        self.sidecar.url()
    }

    /// I10: never two calls for one dump at once, and each with the bytes of that dump and of an
    /// ELF; returns how many there were since the last time.
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
        92..95 => Reply::body(200, "no JSON"),
        95..98 => Reply::hang(),
        _ => Reply::status(422),
    }
}
