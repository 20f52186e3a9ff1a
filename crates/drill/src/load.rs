//! Clients that send requests of all kinds until the server dies.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::scope;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use coredock_domain::digest::Sha256Digest;
use coredock_testkit::client::{Answer, Client};
use coredock_testkit::invariants::Rule;

use super::dice::Dice;
use super::events::{Events, Outcome, Span, Write};
use super::fleet::Fleet;
use super::material::Material;

mod dumps;
mod firmware;
mod refused;

const CLIENTS: usize = 6;
/// Pause between two attempts to connect.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);
/// Pause after a 503. Without it most requests of a load would be those that fail at once.
const OUTAGE_PAUSE: Duration = Duration::from_millis(20);
/// Percentage of requests that begin a new connection, perhaps to another server.
const NEW_CONNECTION_PERCENT: usize = 20;
/// A dump that takes longer may be put into the rescue spool.
const SLOW: Duration = Duration::from_secs(7);
/// The row of posted dumps in the table.
pub(super) const POST_DUMP: &str = "post dump";
/// How many dumps clients remember for downloads, deletes and repetitions.
const MAX_TARGETS: usize = 48;

/// The state that all clients share.
pub(super) struct Load<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) material: &'a Material,
    /// The start of all times.
    pub(super) clock: Instant,
    /// Dumps that clients know; survives the server.
    pub(super) targets: &'a Targets,
    /// The addresses of the servers that run.
    pub(super) servers: &'a Servers,
    /// Whether dependencies of the servers are being broken, so that they may answer with a 503.
    pub(super) outages: bool,
    /// Prefix of the id of every request.
    pub(super) name: &'a str,
}

/// The addresses of the servers.
#[derive(Default)]
pub(super) struct Servers(Mutex<Vec<Option<SocketAddr>>>);

impl Servers {
    pub(super) fn one(address: SocketAddr) -> Self {
        Self(Mutex::new(vec![Some(address)]))
    }

    /// Sets the address of a server; `None`: it does not listen.
    pub(super) fn set(&self, server: usize, address: Option<SocketAddr>) {
        let mut servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if servers.len() <= server {
            servers.resize(server + 1, None);
        }
        servers[server] = address;
    }

    fn pick(&self, dice: &mut Dice) -> Option<SocketAddr> {
        let servers = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let alive: Vec<_> = servers.iter().flatten().collect();
        dice.pick(&alive).map(|address| **address)
    }
}

/// Dumps that clients know.
#[derive(Default)]
pub(super) struct Targets(Mutex<Vec<Target>>);

/// A dump whose id a client has received.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    device: usize,
    id: i64,
    /// The seed of the body, which can be made again.
    seed: u64,
    length: usize,
    sha256: Sha256Digest,
}

impl Targets {
    fn lock(&self) -> MutexGuard<'_, Vec<Target>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn add(&self, target: Target) {
        let mut targets = self.lock();
        if targets.len() >= MAX_TARGETS {
            targets.remove(0);
        }
        targets.push(target);
    }

    fn pick(&self, dice: &mut Dice) -> Option<Target> {
        dice.pick(&self.lock()).copied()
    }
}

impl Load<'_> {
    /// Runs clients against the servers until `kill` returns, which is called after `moment`. While
    /// the clients wait for their last answers, `meanwhile` is called.
    pub(super) fn run(
        &self,
        dice: &mut Dice,
        moment: Duration,
        kill: impl FnOnce() -> Result<()>,
        mut meanwhile: impl FnMut() -> Result<()>,
    ) -> Result<Events> {
        let dead = AtomicBool::new(false);
        scope(|threads| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|client| {
                    let session = Session::new(self, client, dice.fork());
                    let dead = &dead;
                    threads.spawn(move || session.run(dead))
                })
                .collect();
            // The drill is about the moment of the kill.
            std::thread::sleep(moment);
            let killed = kill();
            dead.store(true, Ordering::Relaxed);
            let mut ended = Ok(());
            while clients.iter().any(|client| !client.is_finished()) {
                ended = ended.and_then(|()| meanwhile());
                std::thread::sleep(REFUSED_PAUSE);
            }
            let mut events = Events::default();
            for client in clients {
                events.absorb(client.join().map_err(|_panic| anyhow!("a client panicked"))?);
            }
            killed.and(ended).map(|()| events)
        })
    }
}

/// A client.
struct Session<'a> {
    load: &'a Load<'a>,
    client: usize,
    dice: Dice,
    connection: Option<Client>,
    /// Number of requests so far.
    requests: usize,
    events: Events,
}

struct Request<'a> {
    /// Its row in the table.
    kind: &'static str,
    method: &'a str,
    path: &'a str,
    body: &'a [u8],
    /// Allowed statuses.
    statuses: &'a [u16],
}

impl<'a> Session<'a> {
    fn new(load: &'a Load<'a>, client: usize, dice: Dice) -> Self {
        let events = Events::default();
        Self { load, client, dice, connection: None, requests: 0, events }
    }

    fn run(mut self, dead: &AtomicBool) -> Events {
        while !dead.load(Ordering::Relaxed) {
            self.act();
        }
        self.events
    }

    fn act(&mut self) {
        if self.load.outages && self.dice.chance(NEW_CONNECTION_PERCENT) {
            self.connection = None;
        }
        if self.connection.is_none() {
            let server = self.load.servers.pick(&mut self.dice);
            // A request that could not be sent does not count.
            let Some(connection) = server.and_then(|server| Client::connect(server).ok()) else {
                return std::thread::sleep(REFUSED_PAUSE);
            };
            self.connection = Some(connection);
        }
        match self.dice.below(100) {
            0..36 => self.post_dump(),
            36..46 => self.repeat_dump(),
            46..54 => self.download_dump(),
            54..60 => self.delete_dump(),
            60..61 => self.delete_all_dumps(),
            61..66 => self.reparse_dump(),
            66..78 => self.publish(),
            78..84 => self.download_firmware(),
            84..88 => self.activate(),
            88..91 => self.delete_version(),
            _ => self.be_refused(),
        }
    }

    /// Sends a request; returns its span, and its answer if one came. A status that is not allowed
    /// is a problem.
    fn send(&mut self, request: &Request<'_>) -> (Span, Option<Answer>) {
        self.requests += 1;
        let id = format!("{}-{}-{}", self.load.name, self.client, self.requests);
        let sent = self.load.clock.elapsed();
        let answer = self.exchange(&id, request).ok();
        let answered = self.load.clock.elapsed();
        let label = answer.as_ref().map_or("lost".to_owned(), |answer| answer.status.to_string());
        *self.events.requests.entry((request.kind, label.clone())).or_default() += 1;
        let outcome = outcome(answer.as_ref());
        if request.method != "GET" {
            let kind = request.kind;
            let is_rescued = kind == POST_DUMP && label == "503";
            self.events.writes.push(Write { id, kind, outcome, is_rescued });
        }
        let ended = (outcome != Outcome::Lost).then_some(answered);
        let Some(answer) = answer else {
            self.connection = None;
            return (Span { sent, answered: None }, None);
        };
        if answer.closes {
            self.connection = None;
        }
        let is_outage =
            answer.status == 503 && self.may_be_unavailable(request, answered.saturating_sub(sent));
        if is_outage {
            std::thread::sleep(OUTAGE_PAUSE);
        }
        self.verify(is_outage || request.statuses.contains(&answer.status), || {
            let text = String::from_utf8_lossy(&answer.body);
            format!("{} {}: {} {text}", request.method, request.path, answer.status)
        });
        (Span { sent, answered: ended }, Some(answer))
    }

    /// Whether a 503 is allowed: in an outage, and for a dump that takes too long.
    fn may_be_unavailable(&self, request: &Request<'_>, took: Duration) -> bool {
        self.load.outages || (request.kind == POST_DUMP && took >= SLOW)
    }

    fn exchange(&mut self, id: &str, request: &Request<'_>) -> Result<Answer> {
        let connection = self.connection.take().ok_or_else(|| anyhow!("no connection"))?;
        let connection = self.connection.insert(connection);
        connection.send_with_id(id, request.method, request.path, request.body)
    }

    fn verify(&mut self, is_right: bool, problem: impl FnOnce() -> String) {
        self.events.verified += 1;
        if !is_right {
            self.events.problems.push((Rule::Answers, problem()));
        }
    }

    /// Checks that the body has the digest in its entity tag; returns the digest.
    fn verify_download(&mut self, path: &str, answer: &Answer) -> Option<Sha256Digest> {
        if answer.status != 200 {
            return None;
        }
        let sha256 = Sha256Digest::of(&answer.body);
        let is_right = answer.etag.as_deref() == Some(&format!("\"{sha256}\""));
        self.verify(is_right, || {
            format!("{path}: expected the entity tag of {sha256}, found {:?}", answer.etag)
        });
        Some(sha256)
    }
}

/// The outcome of a write, from its answer.
fn outcome(answer: Option<&Answer>) -> Outcome {
    match answer.map(|answer| answer.status) {
        Some(200..300) => Outcome::Done,
        // It is not known what a request changed before a 503.
        None | Some(500..) => Outcome::Lost,
        Some(_) => Outcome::Refused,
    }
}
