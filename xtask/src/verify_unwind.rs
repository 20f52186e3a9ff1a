//! How often the symbolizer finds the frames that are there, on programs stopped anywhere: those that a
//! debugger finds, or those whose calls were watched.

use std::fs;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{Firmware, Frame, Index, Report, Trust, build_index, decode};
use coredock_testkit::snapshot::{NotePadding, Snapshot};
use tempfile::TempDir;

use coredock_testkit::fixtures::{Architecture, Case, Optimization, ReferenceFrame, Request};

/// Differences that are printed.
const SHOWN: usize = 10;
/// What must be reached, in parts of a thousand.
const WANTED: usize = 995;
/// The last version of raw images without an ELF core.
const NEWEST_TASK_LIST: u16 = 0x0003;

#[derive(Args)]
pub(crate) struct VerifyUnwind {
    /// What the programs run on
    architecture: Architecture,
    /// How many stops for each level of optimisation
    #[arg(long, default_value_t = 100)]
    cases: usize,
    /// Decides where the programs stop
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this level
    #[arg(long)]
    opt: Option<Optimization>,
}

/// What was compared, of all tasks whose stacks are known.
#[derive(Default)]
struct Tally {
    frames: usize,
    same_frames: usize,
    stacks: usize,
    same_stacks: usize,
    /// Frames that are not there, and were not said to be uncertain.
    wrong: usize,
}

impl VerifyUnwind {
    /// Fewer than 99.5 % of the frames are an error, and so is a wrong one.
    pub(crate) fn run(&self) -> Result<()> {
        let levels = self.opt.map_or(Optimization::ALL.to_vec(), |level| vec![level]);
        let mut failed = Vec::new();
        for level in levels {
            let tally = self.verify(level)?;
            println!(
                "-{}: {} of {} frames, {} of {} stacks as they are; {} wrong ones",
                level.as_str(),
                tally.same_frames,
                tally.frames,
                tally.same_stacks,
                tally.stacks,
                tally.wrong
            );
            if tally.same_frames * 1000 < tally.frames * WANTED || tally.wrong > 0 {
                failed.push(level.as_str());
            }
        }
        ensure!(failed.is_empty(), "too few, or wrong ones, at {}", failed.join(", "));
        Ok(())
    }

    fn verify(&self, optimization: Optimization) -> Result<Tally> {
        let directory = TempDir::new()?;
        let (cases, seed) = (self.cases, self.seed);
        let directory_path = directory.path().to_owned();
        let request = Request { cases, seed, optimization, padding: 0, directory: directory_path };
        let generated = self.architecture.generate(&request)?;
        let elf = fs::read(&generated.elf)?;
        let index = Index::open(build_index(&elf, Sha256Digest::of(&elf))?.into())?;
        let (by_elf, by_index) = (Firmware::of_elf(&elf)?, Firmware::of_index(index));
        let mut tally = Tally::default();
        for (number, case) in generated.cases.iter().enumerate() {
            for (form, dump) in forms(&case.snapshot) {
                let report = decode(&dump, Some(&by_elf)).context("a dump of the emulator")?;
                let again = decode(&dump, Some(&by_index)).context("with an index")?;
                let same = report == again;
                ensure!(same, "case {number}: the index gives another report than the ELF");
                for difference in tally.compare_tasks(&report, case)? {
                    if tally.stacks - tally.same_stacks <= SHOWN {
                        let level = optimization.as_str();
                        println!("-{level} case {number}, {form}: {difference}");
                    }
                }
            }
        }
        Ok(tally)
    }
}

/// What newer and older frameworks would have dumped.
fn forms(snapshot: &Snapshot) -> [(&'static str, Bytes); 2] {
    let core = snapshot.elf_core(NotePadding::NotCounted);
    [("core", core.into()), ("task list", snapshot.raw(NEWEST_TASK_LIST).into())]
}

impl Tally {
    /// The first difference of each task that has one.
    fn compare_tasks(&mut self, report: &Report, case: &Case) -> Result<Vec<String>> {
        let crashed = report.crashed_task().context("no task crashed")?;
        let mut differences = Vec::from_iter(self.compare(&crashed.frames, &case.reference));
        for other in &case.others {
            let task = report.tasks.iter().find(|task| task.tcb == other.tcb);
            let task = task.context("a task is not in the report")?;
            let difference = self.compare(&task.frames, &other.frames);
            differences.extend(difference.map(|text| format!("{:?}: {text}", task.name)));
        }
        Ok(differences)
    }

    /// The first difference, if there is one.
    fn compare(&mut self, frames: &[Frame], reference: &[ReferenceFrame]) -> Option<String> {
        self.stacks += 1;
        self.frames += reference.len();
        let same = frames.iter().zip(reference).take_while(|(a, b)| is_same(a, b)).count();
        self.same_frames += same;
        if same == reference.len() && frames.len() == same {
            self.same_stacks += 1;
            return None;
        }
        let (found, expected) = (frames.get(same), reference.get(same));
        let is_there = |frame: &Frame| reference.iter().any(|known| known.pc == frame.pc);
        let wrong = frames.iter().filter(|frame| frame.trust != Trust::Scan && !is_there(frame));
        self.wrong += wrong.count();
        Some(format!("frame {same}: {}, not {}", shown(found), expected_text(expected)))
    }
}

fn is_same(frame: &Frame, reference: &ReferenceFrame) -> bool {
    let source = &frame.source;
    frame.pc == reference.pc
        && source.function == reference.function
        && source.path == reference.file
        && source.line == reference.line
        && source.inlined == reference.inlined
}

fn shown(frame: Option<&Frame>) -> String {
    let Some(frame) = frame else { return "nothing".to_owned() };
    let source = &frame.source;
    let (pc, trust) = (frame.pc, frame.trust.as_str());
    let (function, path, line) = (&source.function, &source.path, source.line);
    format!("{pc:#x} {function:?} {path:?} {line:?} {trust} inlined {}", source.inlined)
}

fn expected_text(frame: Option<&ReferenceFrame>) -> String {
    let Some(frame) = frame else { return "nothing".to_owned() };
    let ReferenceFrame { pc, function, file, line, inlined } = frame;
    format!("{pc:#x} {function:?} {file:?} {line:?} inlined {inlined}")
}
