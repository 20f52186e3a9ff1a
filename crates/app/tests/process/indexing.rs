//! `coredock build-index`, the child of the native symbolizer, and its parent.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use coredock_testkit::firmware::{BundleBuilder, ImageBuilder};

use super::support::files::{files_below, fresh_data_dir};
use super::support::server::Server;
use super::support::wait_until;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../testkit/fixtures/riscv/Og").join(name)
}

fn indexer(elf: Stdio) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_coredock"));
    command.arg("build-index").stdin(elf).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().unwrap()
}

#[test]
fn an_elf_goes_in_and_its_index_comes_out() {
    let elf = File::open(fixture("firmware.elf")).unwrap();
    let output = indexer(elf.into()).wait_with_output().unwrap();
    assert_eq!((output.status.code(), &*output.stderr), (Some(0), &b""[..]));
    coredock_symbolizer::Index::open(output.stdout.into()).unwrap();
}

#[test]
fn what_is_no_elf_is_said_to_be_none_in_one_line() {
    let elf = File::open(fixture("0.json")).unwrap();
    let output = indexer(elf.into()).wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{said}");
    assert!(said.starts_with("this is no 32-bit") && said.lines().count() == 1, "{said}");
}

#[test]
fn it_confines_itself_before_it_reads() {
    let mut child = indexer(Stdio::piped());
    let of_child = Path::new("/proc").join(child.id().to_string()).join("limits");
    let limits = || std::fs::read_to_string(&of_child).unwrap();
    // The last one that is set.
    wait_until("the child is confined", || has(&limits(), "Max cpu time", ["30", "31"]));
    let limits = limits();
    assert!(has(&limits, "Max address space", ["1073741824"; 2]), "{limits}");
    assert!(has(&limits, "Max file size", ["67108864"; 2]), "{limits}");
    assert!(has(&limits, "Max core file size", ["0"; 2]), "{limits}");
    drop(child.stdin.take());
    assert_eq!(child.wait().unwrap().code(), Some(1));
}

/// Whether a limit has these values, the one in force and the highest.
fn has(limits: &str, name: &str, values: [&str; 2]) -> bool {
    let line = limits.lines().find_map(|line| line.strip_prefix(name)).unwrap();
    line.split_whitespace().take(2).eq(values)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_settings_makes_reports_and_leaves_no_files() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[]);
    server.post_model("demo").await.expect(201);
    let elf = std::fs::read(fixture("firmware.elf")).unwrap();
    let image = ImageBuilder::new("1.0.0", 4096).chip_id(0x000D).of_elf(&elf).build();
    let bundle = BundleBuilder::new("demo", "1.0.0").bin(image).elf(elf).build();
    server.upload(bundle).await.expect(200);
    let key = server.create_device("{}").await;
    let id = server.deliver(&key, "1.0.0", std::fs::read(fixture("0.dmp")).unwrap()).await;
    let state = server.wait_for_dump(id, "PARSED").await;
    assert_eq!(state["report"]["engine"], "native");
    assert_eq!(state["report"]["build"]["match"], "exact");
    server.stop();
    assert_eq!(files_below(&data_dir.join("tmp")), [""; 0]);
}
