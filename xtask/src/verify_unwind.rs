//! Compares the frames which the symbolizer finds, in programs stopped anywhere, with the true
//! frames, which come from a debugger or from watched calls.

use std::fs;

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use clap::Args;
use coredock_domain::digest::Sha256Digest;
use coredock_symbolizer::{Firmware, Frame, Index, Report, Trust, build_index, decode};
use coredock_testkit::snapshot::{NotePadding, Snapshot};
use tempfile::TempDir;

use coredock_testkit::fixtures::{Architecture, Case, Optimization, ReferenceFrame, Request};

/// Number of differences which are printed.
const MAX_SHOWN: usize = 10;
/// The least share of correct frames, in thousandths.
const MIN_SAME: usize = 995;
/// The last version of raw images without an ELF core.
const NEWEST_TASK_LIST: u16 = 0x0003;

#[derive(Args)]
pub(crate) struct VerifyUnwind {
    /// Architecture of the programs
    architecture: Architecture,
    /// Number of stops for each level of optimisation
    #[arg(long, default_value_t = 100)]
    cases: usize,
    /// Decides where the programs stop
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only this level
    #[arg(long)]
    opt: Option<Optimization>,
}

/// Results of all tasks whose stacks are known.
#[derive(Default)]
struct Tally {
    frames: usize,
    same_frames: usize,
    stacks: usize,
    same_stacks: usize,
    /// Frames which do not exist, without those which the symbolizer marks as uncertain.
    wrong: usize,
}

impl VerifyUnwind {
    /// Fewer than 99.5 % of the frames are an error, and so is a wrong frame.
    pub(crate) fn run(&self) -> Result<()> {
        let levels = self.opt.map_or(Optimization::ALL.to_vec(), |level| vec![level]);
        let mut failed = Vec::new();
        for level in levels {
            let tally = self.verify(level)?;
            println!(
                "-{}: {} of {} frames and {} of {} stacks are correct; {} frames are wrong",
                level.as_str(),
                tally.same_frames,
                tally.frames,
                tally.same_stacks,
                tally.stacks,
                tally.wrong
            );
            if tally.same_frames * 1000 < tally.frames * MIN_SAME || tally.wrong > 0 {
                failed.push(level.as_str());
            }
        }
        ensure!(failed.is_empty(), "too few frames, or wrong frames, at {}", failed.join(", "));
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
                let report = decode(&dump, Some(&by_elf))
                    .with_context(|| format!("case {number}, {form}, with the ELF"))?;
                let again = decode(&dump, Some(&by_index))
                    .with_context(|| format!("case {number}, {form}, with the index"))?;
                let same = report == again;
                ensure!(same, "case {number}, {form}: the reports by ELF and by index differ");
                for difference in tally.compare_tasks(&report, case)? {
                    if tally.stacks - tally.same_stacks <= MAX_SHOWN {
                        let level = optimization.as_str();
                        println!("-{level} case {number}, {form}: {difference}");
                    }
                }
            }
        }
        Ok(tally)
    }
}

/// The dumps of newer and of older frameworks.
fn forms(snapshot: &Snapshot) -> [(&'static str, Bytes); 2] {
    let core = snapshot.elf_core(NotePadding::NotCounted);
    [("core", core.into()), ("task list", snapshot.raw(NEWEST_TASK_LIST).into())]
}

impl Tally {
    /// The first difference of each task that has one.
    fn compare_tasks(&mut self, report: &Report, case: &Case) -> Result<Vec<String>> {
        let crashed = report.crashed_task().context("the report has no crashed task")?;
        let mut differences = Vec::from_iter(self.compare(&crashed.frames, &case.reference));
        for other in &case.others {
            let task = report.tasks.iter().find(|task| task.tcb == other.tcb);
            let task = task.with_context(|| format!("the report has no task {:#x}", other.tcb))?;
            let difference = self.compare(&task.frames, &other.frames);
            differences.extend(difference.map(|text| format!("{:?}: {text}", task.name)));
        }
        Ok(differences)
    }

    /// The first difference, if any.
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
        let exists = |frame: &Frame| reference.iter().any(|known| known.pc == frame.pc);
        let wrong = frames.iter().filter(|frame| frame.trust != Trust::Scan && !exists(frame));
        self.wrong += wrong.count();
        let (found, expected) = (shown(found), expected_text(expected));
        Some(format!("frame {same}: expected {expected}, found {found}"))
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
