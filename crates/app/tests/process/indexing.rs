//! `coredock build-index`, the child of the native symbolizer, and its parent.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use coredock_testkit::firmware::{BundleBuilder, ImageBuilder};
use serde_json::Value;

use super::support::files::{count, execute, files_below, fresh_data_dir};
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
fn a_file_that_is_not_an_elf_is_refused_in_one_line() {
    let elf = File::open(fixture("0.json")).unwrap();
    let output = indexer(elf.into()).wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{stderr}");
    assert!(stderr.starts_with("expected a 32-bit") && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn it_confines_itself_before_it_reads() {
    let mut child = indexer(Stdio::piped());
    let of_child = Path::new("/proc").join(child.id().to_string()).join("limits");
    let limits = || std::fs::read_to_string(&of_child).unwrap();
    // This limit is set last.
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

fn bundle() -> Vec<u8> {
    let elf = std::fs::read(fixture("firmware.elf")).unwrap();
    let image = ImageBuilder::new("1.0.0", 4096).chip_id(0x000D).of_elf(&elf).build();
    BundleBuilder::new("demo", "1.0.0").bin(image).elf(elf).build()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_settings_makes_reports_and_leaves_no_files() {
    let (_directory, data_dir) = fresh_data_dir();
    let server = Server::start(&data_dir, &[]);
    server.post_model("demo").await.expect(201);
    server.upload(bundle()).await.expect(200);
    let key = server.create_device("{}").await;
    let id = server.deliver(&key, "1.0.0", std::fs::read(fixture("0.dmp")).unwrap()).await;
    let state = server.wait_for_dump(id, "PARSED").await;
    assert_eq!(state["report"]["engine"], "native");
    assert_eq!(state["report"]["build"]["match"], "exact");
    server.stop();
    assert_eq!(files_below(&data_dir.join("tmp")), [""; 0]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_between_publication_index_and_result_loses_neither() {
    let settings = [("PARSE_TIMEOUT_SECONDS", "1"), ("PARSE_LEASE_SECONDS", "2")];
    let mut killed_before_the_result = 0;
    for moment in 0..6 {
        let (_directory, data_dir) = fresh_data_dir();
        let server = Server::start(&data_dir, &settings);
        server.post_model("demo").await.expect(201);
        let key = server.create_device("{}").await;
        let dump = std::fs::read(fixture("0.dmp")).unwrap();
        let id = server.deliver(&key, "1.0.0", dump).await;
        server.wait_for_dump(id, "ERROR").await;
        // Makes the index due, and the dump again.
        server.upload(bundle()).await.expect(200);
        // The test is about the moment of the kill.
        std::thread::sleep(Duration::from_millis(moment * 8));
        server.kill();

        // As if the leases, which last a minute or more, had expired.
        let database = data_dir.join("coredock.db");
        let long_ago = "2000-01-01T00:00:00.000000Z";
        for table in ["symbol_indexes", "coredumps"] {
            let expire = format!(
                "UPDATE {table} SET lease_until = '{long_ago}' WHERE lease_until IS NOT NULL"
            );
            execute(&database, &expire);
        }
        killed_before_the_result += count(&database, "coredumps", "parse_status = 'PENDING'");
        let server = Server::start(&data_dir, &settings);
        let state = server.wait_for_dump(id, "PARSED").await;
        assert_eq!(state["report"]["build"]["match"], "exact");
        assert_eq!(state["error"], Value::Null);
        server.wait_for_index().await;
        server.stop();
        assert_eq!(files_below(&data_dir.join("tmp")), [""; 0]);
        let indexes = files_below(&data_dir.join("artifacts/symbols"));
        // The temporary file of a killed write is not an object.
        let is_index = |name: &&String| name.contains("index-") && !name.contains(".part");
        let indexes: Vec<_> = indexes.iter().filter(is_index).collect();
        assert_eq!(indexes.len(), 1, "{indexes:?}");
    }
    assert!(killed_before_the_result > 0, "the kills came too late");
}
