//! The adapter and the service in `deploy/sidecar`, with esp-coredump and GDB.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use bytes::Bytes;
use coredock_domain::Symbolizer;
use coredock_domain::coredumps::coredump::ParseErrorCode;
use coredock_domain::symbolication::symbolizer::{
    CrashReport, SymbolicateCoredump, SymbolizerError,
};
use coredock_symbolizer_sidecar::SidecarSymbolizer;
use coredock_testkit::coredumps::raw;
use coredock_testkit::setting;
use serde::Deserialize;
use tempfile::TempDir;
use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{AMPLE, elf_of, job, names, symbolizer};

/// The Python interpreter for the service.
const PYTHON: &str = "COREDOCK_TEST_SIDECAR_PYTHON";
/// The chip of the fixtures.
const CHIP: &str = "esp32c6";
const CHIP_ID: u16 = 13;

/// The service on its own port; killed when dropped.
struct Service {
    shared: TempDir,
    url: String,
    symbolizer: SidecarSymbolizer,
    process: Child,
    /// Keeps the pipe open that the service logs to.
    _log: Lines<BufReader<ChildStdout>>,
}

impl Service {
    async fn start() -> Self {
        let shared = tempfile::tempdir().unwrap();
        let mut process = python()
            .args(["-m", "coredock_sidecar", "--listen", "127.0.0.1:0", "--directory"])
            .arg(shared.path())
            .args(["--gdb-riscv", "gdb-multiarch", "--workers", "2"])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(process.stdout.take().unwrap()).lines();
        let url = loop {
            let line = log.next_line().await.unwrap();
            let Some(line) = line else { panic!("the service did not start") };
            if let Some((_, url)) = line.split_once("listening on ") {
                break url.to_owned();
            }
        };
        let symbolizer = symbolizer(&url, shared.path(), AMPLE);
        Self { shared, url, symbolizer, process, _log: log }
    }

    /// One attempt, after which no file may be left.
    async fn attempt(&self, dump: Vec<u8>, elf: Vec<u8>) -> Result<CrashReport, SymbolizerError> {
        let elf = elf_of(elf.len(), vec![Ok(elf.into())]);
        let mut job = SymbolicateCoredump { elf, ..job(17, b"") };
        job.dump.chip = CHIP.into();
        job.dump.body.bytes = Bytes::from(dump);
        let result = self.symbolizer.symbolicate(job).await;
        assert_eq!(names(self.shared.path()), [""; 0]);
        result
    }

    async fn refusal(&self, dump: Vec<u8>, elf: Vec<u8>) -> String {
        match self.attempt(dump, elf).await {
            Err(SymbolizerError::Rejected { code: ParseErrorCode::EngineRefused, reason }) => {
                reason
            }
            other => panic!("not a refusal: {other:?}"),
        }
    }
}

/// The command line up to the module.
fn python() -> Command {
    let mut command = Command::new(setting(PYTHON));
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/sidecar");
    command.current_dir(root).stdin(Stdio::null()).kill_on_drop(true);
    command.env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// A frame of the crashed task, from a debugger.
#[derive(Deserialize)]
struct Frame {
    function: String,
}

fn fixture(name: &str) -> Vec<u8> {
    let directory = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/riscv/Og");
    fs::read(directory.join(name)).unwrap()
}

/// The part of a report under a heading, up to the next one.
fn section<'a>(report: &'a str, heading: &str) -> &'a str {
    let (_, rest) = report.split_once(heading).unwrap_or_else(|| panic!("no {heading}: {report}"));
    rest.split_once("\n\n").map_or(rest, |(section, _)| section)
}

#[tokio::test]
async fn a_real_dump_becomes_a_report_with_all_frames_and_tasks() {
    let service = Service::start().await;
    let frames: Vec<Frame> = serde_json::from_slice(&fixture("0.json")).unwrap();
    let core = fixture("0.dmp");
    for dump in [core.clone(), raw(0x0104, CHIP_ID, &core)] {
        let report = service.attempt(dump, fixture("firmware.elf")).await.unwrap().text;
        let stack = section(&report, "CURRENT THREAD STACK");
        let shown: Vec<_> = stack.lines().filter(|line| line.starts_with('#')).collect();
        assert_eq!(shown.len(), frames.len(), "{stack}");
        for (line, frame) in shown.iter().zip(&frames) {
            assert!(line.contains(&format!(" {} (", frame.function)), "{line}");
        }
        for task in ["name: 'main'", "name: 'worker'", "name: 'IDLE'"] {
            assert!(report.contains(task), "{task}: {report}");
        }
        assert!(report.contains("ESP32 CORE DUMP END"), "{report}");
    }
}

#[tokio::test]
async fn an_elf_of_another_build_is_a_final_refusal() {
    let service = Service::start().await;
    let mut elf = fixture("firmware.elf");
    elf.push(0);
    let reason = service.refusal(fixture("0.dmp"), elf).await;
    let expected = "the sidecar refused the dump with status 409: the dump is of build ";
    assert!(reason.starts_with(expected), "{reason}");
}

#[tokio::test]
async fn files_that_cannot_be_decoded_are_a_final_refusal() {
    let service = Service::start().await;
    let (core, elf) = (fixture("0.dmp"), || fixture("firmware.elf"));
    let mut damaged = raw(0x0104, CHIP_ID, &core);
    *damaged.last_mut().unwrap() ^= 1;
    for (dump, elf, expected) in [
        (b"garbage".repeat(100), elf(), "422: the dump is neither an ELF core nor a raw image"),
        (core[..core.len() / 2].to_vec(), elf(), "422: esp-coredump cannot read the dump: "),
        (damaged, elf(), "422: esp-coredump cannot read the dump: Invalid core dump SHA256"),
        (core.clone(), b"garbage".to_vec(), "422: the ELF is not a 32-bit little-endian ELF"),
    ] {
        let reason = service.refusal(dump, elf).await;
        let expected = format!("the sidecar refused the dump with status {expected}");
        assert!(reason.starts_with(&expected), "{reason}");
    }
}

#[tokio::test]
async fn a_directory_that_is_not_shared_is_worth_another_attempt() {
    let service = Service::start().await;
    let elsewhere = tempfile::tempdir().unwrap();
    let symbolizer = symbolizer(&service.url, elsewhere.path(), AMPLE);
    let error = symbolizer.symbolicate(job(17, b"elf")).await.unwrap_err();
    let SymbolizerError::Failed { reason, .. } = error else { panic!("not a failure: {error:?}") };
    assert_eq!(reason, "the sidecar answered with status 503");
}

#[tokio::test]
async fn it_is_ready_until_it_ends() {
    let mut service = Service::start().await;
    assert!(service.symbolizer.is_ready().await);
    service.process.kill().await.unwrap();
    assert!(!service.symbolizer.is_ready().await);
}

#[tokio::test]
async fn the_tests_of_the_service_itself_pass() {
    let output = python().args(["-m", "unittest"]).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
