//! The service that makes reports, played by the test over real HTTP (contract §6.11).

use std::collections::VecDeque;
use std::fmt::Write;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::gate::Gate;

/// How long a test waits for calls before it fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// Maximum length of a request head, in bytes.
const MAX_HEAD_BYTES: usize = 64 * 1024;

/// A sidecar on a port of its own. Answers `{"output":"report"}` unless the script has another answer; ends when
/// dropped.
pub struct ScriptedSidecar {
    url: String,
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
}

/// One call of `/parse-coredump`, as it was when it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// Value of `core`.
    pub core: String,
    /// Value of `elf`.
    pub elf: String,
    /// Value of `chip`.
    pub chip: String,
    /// Content of the file `core` names; `None` when it is not in the directory.
    pub core_bytes: Option<Vec<u8>>,
    /// Content of the file `elf` names; `None` when it is not in the directory.
    pub elf_bytes: Option<Vec<u8>>,
    /// The query as it was sent.
    pub raw_query: String,
}

/// What a call gets.
#[derive(Debug, Clone)]
pub struct Reply(Kind);

#[derive(Debug, Clone)]
enum Kind {
    Body { status: u16, body: Vec<u8> },
    Hang,
    After(Duration),
    Redirect,
    Cut,
}

impl Reply {
    /// Status 200 with `text` as the report.
    pub fn output(text: &str) -> Self {
        Self::body(200, serde_json::json!({ "output": text }).to_string())
    }

    /// `status` without a body.
    pub fn status(status: u16) -> Self {
        Self::body(status, "")
    }

    /// `status` with `body`.
    pub fn body(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self(Kind::Body { status, body: body.into() })
    }

    /// Nothing until [`ScriptedSidecar::release`], then the usual report.
    pub fn hang() -> Self {
        Self(Kind::Hang)
    }

    /// The usual report, this much later.
    pub fn after(delay: Duration) -> Self {
        Self(Kind::After(delay))
    }

    /// A redirect to the very same call.
    pub fn redirect() -> Self {
        Self(Kind::Redirect)
    }

    /// An answer that ends before its length.
    pub fn cut() -> Self {
        Self(Kind::Cut)
    }
}

struct Shared {
    directory: PathBuf,
    state: Mutex<State>,
    arrived: watch::Sender<usize>,
    gate: Gate,
}

#[derive(Default)]
struct State {
    script: VecDeque<Reply>,
    calls: Vec<Call>,
    /// The `core` of every call that has no answer yet.
    running: Vec<String>,
    max_running: usize,
    same_core_at_once: bool,
}

impl ScriptedSidecar {
    /// Listens on a free port of 127.0.0.1 and looks for files in `directory`.
    pub async fn start(directory: impl AsRef<Path>) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let shared = Arc::new(Shared {
            directory: directory.as_ref().to_owned(),
            state: Mutex::default(),
            arrived: watch::Sender::new(0),
            gate: Gate::new(),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, Arc::clone(&shared)));
        Self { url: format!("http://{address}"), shared, tasks }
    }

    /// Where it is, without a trailing `/`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Adds answers for the calls to come, one each; after them come usual reports again.
    pub fn script(&self, replies: impl IntoIterator<Item = Reply>) {
        self.shared.lock().script.extend(replies);
    }

    /// Lets go of calls that hang, now and later.
    pub fn release(&self) {
        self.shared.gate.open();
    }

    /// All calls so far, in the order of their arrival.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.lock().calls.clone()
    }

    /// All calls since the last time this was asked, which are then forgotten.
    pub fn take_calls(&self) -> Vec<Call> {
        std::mem::take(&mut self.shared.lock().calls)
    }

    /// Returns all calls once there are `count`. Panics when that takes longer than 30 seconds.
    pub async fn wait_for_calls(&self, count: usize) -> Vec<Call> {
        let mut arrived = self.shared.arrived.subscribe();
        let enough = timeout(PATIENCE, arrived.wait_for(|calls| *calls >= count)).await;
        enough.expect("the sidecar was not called often enough").expect("the sidecar is there");
        self.calls()
    }

    /// The most calls that ran at the same time. A call runs until it is answered or its caller
    /// hangs up.
    pub fn max_running(&self) -> usize {
        self.shared.lock().max_running
    }

    /// Whether two calls for the same `core` ran at the same time since this was asked last.
    pub fn same_core_at_once(&self) -> bool {
        std::mem::take(&mut self.shared.lock().same_core_at_once)
    }

    /// Ends it now: when this returns, its port refuses connections.
    pub async fn stop(mut self) {
        self.tasks.shutdown().await;
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Only a plain name is looked for.
    async fn read(&self, name: &str) -> Option<Vec<u8>> {
        if name.is_empty() || name.starts_with('.') || name.contains('/') {
            return None;
        }
        tokio::fs::read(self.directory.join(name)).await.ok()
    }

    async fn call(&self, query: &str) -> Call {
        let (core, elf) = (parameter(query, "core"), parameter(query, "elf"));
        let (core_bytes, elf_bytes) = (self.read(&core).await, self.read(&elf).await);
        let (chip, raw_query) = (parameter(query, "chip"), query.to_owned());
        Call { core, elf, chip, core_bytes, elf_bytes, raw_query }
    }

    /// Counts the call and takes its answer from the script.
    fn begin(&self, call: Call) -> (Running<'_>, Reply) {
        let mut state = self.lock();
        let core = call.core.clone();
        state.same_core_at_once |= state.running.contains(&core);
        state.running.push(core.clone());
        state.max_running = state.max_running.max(state.running.len());
        state.calls.push(call);
        let reply = state.script.pop_front().unwrap_or_else(|| Reply::output("report"));
        let count = state.calls.len();
        drop(state);
        self.arrived.send_replace(count);
        (Running { shared: self, core }, reply)
    }
}

/// A call that has no answer yet.
struct Running<'a> {
    shared: &'a Shared,
    core: String,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.lock();
        if let Some(index) = state.running.iter().position(|core| *core == self.core) {
            state.running.swap_remove(index);
        }
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => if let Ok((socket, _)) = accepted {
                connections.spawn(serve(socket, Arc::clone(&shared)));
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// One request per connection. A caller that hangs up early is none of the sidecar's troubles.
async fn serve(mut socket: TcpStream, shared: Arc<Shared>) {
    let Some(target) = read_target(&mut socket).await else { return };
    let answer = match target.split_once('?') {
        Some(("/parse-coredump", query)) => {
            let call = shared.call(query).await;
            let (running, reply) = shared.begin(call);
            let answer = tokio::select! {
                answer = answer(reply, &target, &shared.gate) => Some(answer),
                () = hung_up(&mut socket) => None,
            };
            // A caller that has the answer may call again at once.
            drop(running);
            answer
        }
        _ => Some(render(404, "", b"")),
    };
    if let Some(answer) = answer {
        drop(socket.write_all(&answer).await);
        drop(socket.shutdown().await);
    }
}

/// Reads the head of a GET; `None` when there is none.
async fn read_target(socket: &mut TcpStream) -> Option<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= MAX_HEAD_BYTES {
            return None;
        }
        head.push(socket.read_u8().await.ok()?);
    }
    let head = String::from_utf8(head).ok()?;
    let mut words = head.split(' ');
    (words.next() == Some("GET")).then(|| words.next().map(str::to_owned))?
}

async fn hung_up(socket: &mut TcpStream) {
    let mut more = [0; 64];
    while socket.read(&mut more).await.is_ok_and(|read| read > 0) {}
}

async fn answer(Reply(kind): Reply, target: &str, gate: &Gate) -> Vec<u8> {
    let usual = br#"{"output":"report"}"#;
    match kind {
        Kind::Body { status, body } => render(status, "", &body),
        Kind::Hang => {
            gate.pass().await;
            render(200, "", usual)
        }
        Kind::After(delay) => {
            sleep(delay).await;
            render(200, "", usual)
        }
        Kind::Redirect => render(302, &format!("location: {target}\r\n"), b""),
        Kind::Cut => {
            let mut answer = render(200, "", usual);
            answer.truncate(answer.len() - 5);
            answer
        }
    }
}

fn render(status: u16, headers: &str, body: &[u8]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status} Scripted\r\nconnection: close\r\n{headers}");
    // These statuses have no body and no length.
    if (200..).contains(&status) && status != 204 {
        write!(head, "content-length: {}\r\n", body.len()).expect("memory takes text");
    }
    [head.as_bytes(), b"\r\n", body].concat()
}

/// The decoded value of `name`, empty when it is absent.
fn parameter(query: &str, name: &str) -> String {
    let mut pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let value = pairs.find_map(|(key, value)| (key == name).then_some(value));
    decode(value.unwrap_or_default())
}

fn decode(value: &str) -> String {
    let mut decoded = Vec::new();
    let mut rest = value.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = (*first == b'%').then(|| tail.get(..2)).flatten();
        let byte =
            escaped.and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 16).ok());
        decoded.push(match (byte, first) {
            (Some(byte), _) => byte,
            (None, b'+') => b' ',
            (None, other) => *other,
        });
        rest = if byte.is_some() { tail.get(2..).unwrap_or_default() } else { tail };
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_decoded() {
        let query = "core=a%20b%2Bc&elf=x+y&chip=100%&none";
        assert_eq!(parameter(query, "core"), "a b+c");
        assert_eq!(parameter(query, "elf"), "x y");
        assert_eq!(parameter(query, "chip"), "100%");
        assert_eq!(parameter(query, "none"), "");
    }
}
