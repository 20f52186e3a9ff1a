//! The writes which are synced before an answer is sent (I2, I14), from the system calls of the
//! server.

use std::collections::HashMap;
use std::path::Path;

use super::support::files::fresh_data_dir;
use super::support::server::Server;
use super::support::wait_until;

/// One system call that succeeded.
#[derive(Debug)]
struct Call {
    /// Name and arguments, files by their paths.
    text: String,
    /// Line of the trace on which the call began.
    began: usize,
    /// Line of the trace on which the call ended.
    ended: usize,
}

/// The calls of a trace by `strace -f`, in which calls of several threads overlap.
fn calls(trace: &str) -> Vec<Call> {
    let mut open = HashMap::new();
    let mut calls = Vec::new();
    for (line, text) in trace.lines().enumerate() {
        let Some((thread, text)) = text.split_once(' ') else { continue };
        let text = text.trim_start();
        if let Some((start, _)) = text.split_once(" <unfinished ...>") {
            open.insert(thread, (line, start.to_owned()));
        } else if let Some(rest) = text.strip_prefix("<... ") {
            let Some((began, start)) = open.remove(thread) else { continue };
            let rest = rest.split_once(" resumed>").map_or("", |(_, rest)| rest);
            calls.push(Call { text: format!("{start}{rest}"), began, ended: line });
        } else {
            calls.push(Call { text: text.to_owned(), began: line, ended: line });
        }
    }
    calls.retain(|call| !call.text.contains(") = -1 ") && call.text.contains(" = "));
    calls
}

/// Walks through the calls: each step must begin after the one before it has ended.
struct Walk<'a> {
    calls: &'a [Call],
    line: usize,
}

impl Walk<'_> {
    /// Moves behind the next call whose text begins with `begins` and contains `part`.
    #[track_caller]
    fn to(&mut self, begins: &str, part: &str) {
        let next = self.calls.iter().find(|call| {
            call.began >= self.line && call.text.starts_with(begins) && call.text.contains(part)
        });
        let next = next.unwrap_or_else(|| {
            let seen: Vec<&str> = self
                .calls
                .iter()
                .filter(|call| call.began >= self.line)
                .map(|call| call.text.as_str())
                .collect();
            panic!("no {begins} of {part} in {seen:#?}")
        });
        self.line = next.ended;
    }
}

fn trace_of(path: &Path, last: &str) -> Vec<Call> {
    let mut trace = String::new();
    wait_until("the trace is written", || {
        trace = String::from_utf8_lossy(&std::fs::read(path).unwrap()).into_owned();
        trace.contains(last)
    });
    calls(&trace)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_dump_is_synced_with_all_its_names_before_the_answer() {
    let (directory, data_dir) = fresh_data_dir();
    let trace = directory.path().join("trace");
    let server = Server::start_traced(&data_dir, &trace);
    server.post_model("demo").await.expect(201);
    let key = server.create_device("{}").await;
    let id = server.deliver(&key, "1", vec![7; 70_000]).await;
    server.stop();
    let calls = trace_of(&trace, "exited with 0");
    let artifacts = data_dir.join("artifacts");
    let path = |name: &str| format!("{}/{name}", artifacts.display());
    let closed = |name: &str| format!("<{}>)", path(name));
    let mut walk = Walk { calls: &calls, line: 0 };
    // The names of new directories are synced in the directories above them.
    walk.to("mkdir", &format!("\"{}\"", path("coredumps")));
    walk.to("fsync", &format!("<{}>)", artifacts.display()));
    walk.to("mkdir", &format!("\"{}\"", path(&format!("coredumps/{key}"))));
    walk.to("fsync", &closed("coredumps"));
    // The bytes under a temporary name, then the name, then the row, then the answer.
    let object = format!("coredumps/{key}/{id}.dmp");
    walk.to("write", &path(&format!("{object}.")));
    walk.to("fsync", &path(&format!("{object}.")));
    walk.to("rename", &format!(", \"{}\")", path(&object)));
    walk.to("fsync", &closed(&format!("coredumps/{key}")));
    walk.to("fdatasync", "coredock.db-wal>)");
    walk.to("sendto", "HTTP/1.1 201 Created");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rescued_dump_is_synced_with_all_its_names_before_the_answer() {
    let (directory, data_dir) = fresh_data_dir();
    let trace = directory.path().join("trace");
    let server = Server::start_traced(&data_dir, &trace);
    server.post_model("demo").await.expect(201);
    let key = server.create_device("{}").await;
    std::fs::write(data_dir.join("artifacts/coredumps"), "in the way").unwrap();
    server.post_dump(&key, "1", vec![7; 70_000]).await.expect_outage();
    server.stop();
    let calls = trace_of(&trace, "exited with 0");
    let rescue = data_dir.join("rescue");
    let mut walk = Walk { calls: &calls, line: 0 };
    walk.to("mkdir", &format!("\"{}\"", rescue.display()));
    walk.to("fsync", &format!("<{}>)", data_dir.display()));
    walk.to("write", ".part>");
    walk.to("fsync", ".part>)");
    walk.to("rename", ".dump\")");
    walk.to("fsync", &format!("<{}>)", rescue.display()));
    walk.to("sendto", "HTTP/1.1 503");
}

/// A `200` after a delete: the row and the queued delete are synced; the object follows later.
#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_dump_loses_its_row_for_good_before_the_answer() {
    let (directory, data_dir) = fresh_data_dir();
    let trace = directory.path().join("trace");
    let server = Server::start_traced(&data_dir, &trace);
    server.post_model("demo").await.expect(201);
    let key = server.create_device("{}").await;
    let id = server.deliver(&key, "1", vec![7; 100]).await;
    let path = format!("/api/devices/1/coredumps/{id}");
    server.send(server.request(reqwest::Method::DELETE, &path)).await.expect(204);
    server.stop();
    let calls = trace_of(&trace, "exited with 0");
    let mut walk = Walk { calls: &calls, line: 0 };
    walk.to("rename", &format!("{id}.dmp\")"));
    walk.to("fdatasync", "coredock.db-wal>)");
    walk.to("sendto", "HTTP/1.1 201 Created");
    walk.to("fdatasync", "coredock.db-wal>)");
    walk.to("sendto", "HTTP/1.1 204 No Content");
}

#[test]
fn overlapping_calls_are_put_together() {
    let trace = "7 fsync(3</a> <unfinished ...>\n8 mkdir(\"/b\", 0700) = 0\n\
                 7 <... fsync resumed>)             = 0\n9 mkdir(\"/c\", 0700) = -1 EEXIST\n";
    let calls = calls(trace);
    let found: Vec<_> = calls.iter().map(|c| (c.text.as_str(), c.began, c.ended)).collect();
    let expected = [("mkdir(\"/b\", 0700) = 0", 1, 1), ("fsync(3</a>)             = 0", 0, 2)];
    assert_eq!(found, expected);
}
