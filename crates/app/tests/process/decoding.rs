//! `coredock decode`, which needs no server.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use coredock_testkit::coredumps::base64_console;
use serde_json::Value;
use tempfile::TempDir;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/riscv").join(name)
}

fn decode(arguments: &[&Path]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coredock"));
    command.arg("decode").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// Fails unless the status is `status` and standard error is one line with `part`.
fn refused(output: &Output, status: i32, part: &str) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert!(stderr.contains(part) && stderr.trim_end().lines().count() == 1, "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn a_dump_and_its_elf_make_a_report() {
    let (dump, elf) = (fixture("Og/0.dmp"), fixture("Og/firmware.elf"));
    let report = text(&decode(&[&dump, Path::new("--elf"), &elf]));
    assert!(report.contains("exception/IllegalInstruction") && report.contains("app_main"));
    let json = text(&decode(&[&dump, Path::new("--elf"), &elf, Path::new("--json")]));
    let report: Value = serde_json::from_str(&json).unwrap();
    assert_eq!((&report["engine"], &report["format"]), (&"native".into(), &1.into()));
}

#[test]
fn text_of_a_console_is_a_dump_too() {
    let directory = TempDir::new().unwrap();
    let console = directory.path().join("console.log");
    let dump = fs::read(fixture("Os/1.dmp")).unwrap();
    fs::write(&console, base64_console(&dump, 48)).unwrap();
    let elf = fixture("Os/firmware.elf");
    let of_text = text(&decode(&[&console, Path::new("--elf"), &elf]));
    assert_eq!(of_text, text(&decode(&[&fixture("Os/1.dmp"), Path::new("--elf"), &elf])));
}

#[test]
fn an_index_is_built_once_and_then_suffices() {
    let directory = TempDir::new().unwrap();
    let indexes = directory.path().join("indexes");
    let (dump, elf) = (fixture("O2/2.dmp"), fixture("O2/firmware.elf"));
    let by_index = [&*dump, Path::new("--index-dir"), &indexes];
    refused(&decode(&by_index), 2, "--elf");
    let with_elf = [&*dump, Path::new("--elf"), &elf, Path::new("--index-dir"), &indexes];
    let made = text(&decode(&with_elf));
    assert_eq!(made, text(&decode(&[&dump, Path::new("--elf"), &elf])));
    assert_eq!(made, text(&decode(&by_index)));
    let files: Vec<_> = fs::read_dir(&indexes).unwrap().map(|file| file.unwrap().path()).collect();
    assert_eq!(files.len(), 1, "{files:?}");

    // An unreadable index is built again.
    fs::write(&files[0], b"CDIX of another version").unwrap();
    assert_eq!(made, text(&decode(&with_elf)));
    assert_eq!(made, text(&decode(&by_index)));
}

#[test]
fn a_report_is_made_even_if_its_index_cannot_be_stored() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("a file");
    fs::write(&file, b"").unwrap();
    let (dump, elf) = (fixture("O2/2.dmp"), fixture("O2/firmware.elf"));
    let output = decode(&[&dump, Path::new("--elf"), &elf, Path::new("--index-dir"), &file]);
    assert_eq!(text(&output), text(&decode(&[&dump, Path::new("--elf"), &elf])));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot be stored"));
}

#[test]
fn files_that_do_not_belong_together_are_refused_in_one_line() {
    let (dump, elf) = (fixture("Og/0.dmp"), fixture("Og/firmware.elf"));
    let (with, other) = (Path::new("--elf"), fixture("O2/firmware.elf"));
    refused(&decode(&[&dump, with, &other]), 1, "expected the ELF of build");
    refused(&decode(&[&elf, with, &elf]), 1, "expected a 32-bit little-endian ELF core");
    refused(&decode(&[&fixture("Og/0.json"), with, &elf]), 1, "expected a core dump");
    refused(&decode(&[&dump, with, &dump]), 1, "is not a usable firmware ELF");
    refused(&decode(&[&dump, with, Path::new("/nowhere")]), 2, "/nowhere cannot be read");
    refused(&decode(&[Path::new("/nowhere"), with, &elf]), 2, "/nowhere cannot be read");
}

#[test]
fn a_firmware_or_a_directory_of_indexes_has_to_be_named() {
    let output = decode(&[&fixture("Og/0.dmp")]);
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("--elf"));
}
