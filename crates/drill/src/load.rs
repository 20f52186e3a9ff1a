//! Clients that do everything at once until the server dies.

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
/// Between two attempts to connect.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);
/// After a 503: what fails at once is otherwise most of what is done.
const OUTAGE_PAUSE: Duration = Duration::from_millis(20);
/// How many of a hundred requests begin a connection of their own, perhaps to another server.
const SWITCHED: usize = 20;
/// A dump that takes longer may be put into the rescue spool.
const SLOW: Duration = Duration::from_secs(7);
/// The line of dumps in the table.
pub(super) const POST_DUMP: &str = "post dump";
/// Dumps that clients remember for downloads, deletes and repetitions.
const REMEMBERED: usize = 48;

/// What all clients share.
pub(super) struct Load<'a> {
    pub(super) fleet: &'a Fleet,
    pub(super) material: &'a Material,
    /// Since when times are counted.
    pub(super) clock: Instant,
    /// Dumps clients know of; outlives the server.
    pub(super) targets: &'a Targets,
    /// The addresses of the servers that run.
    pub(super) servers: &'a Servers,
    /// Whether what servers depend on is being broken: then they may say so.
    pub(super) outages: bool,
    /// Begins the id of every request.
    pub(super) name: &'a str,
}

/// Where servers are.
#[derive(Default)]
pub(super) struct Servers(Mutex<Vec<Option<SocketAddr>>>);

impl Servers {
    /// One server.
    pub(super) fn one(address: SocketAddr) -> Self {
        Self(Mutex::new(vec![Some(address)]))
    }

    /// Says where a server is, or that it is nowhere.
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

/// Dumps clients know of.
#[derive(Default)]
pub(super) struct Targets(Mutex<Vec<Target>>);

/// A dump whose id a client was answered.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target {
    device: usize,
    id: i64,
    /// From which its body is made again.
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
        if targets.len() >= REMEMBERED {
            targets.remove(0);
        }
        targets.push(target);
    }

    fn pick(&self, dice: &mut Dice) -> Option<Target> {
        dice.pick(&self.lock()).copied()
    }
}

impl Load<'_> {
    /// Runs clients against the servers until `kill` has returned, which is called after `moment`;
    /// while they wait for their last answers `meanwhile` is called.
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
            // The moment itself is what is drilled.
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

/// One client.
struct Session<'a> {
    load: &'a Load<'a>,
    client: usize,
    dice: Dice,
    connection: Option<Client>,
    /// Requests made so far.
    requests: usize,
    events: Events,
}

/// A request.
struct Request<'a> {
    /// Its line in the table.
    kind: &'static str,
    method: &'a str,
    path: &'a str,
    body: &'a [u8],
    /// Statuses it may get.
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
        if self.load.outages && self.dice.chance(SWITCHED) {
            self.connection = None;
        }
        if self.connection.is_none() {
            let server = self.load.servers.pick(&mut self.dice);
            // A request that never left is none.
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

    /// Sends a request; the span says when, the answer is `None` if none came. A status it must not
    /// get is a problem.
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
            answer.status == 503 && self.may_be_out(request, answered.saturating_sub(sent));
        if is_outage {
            std::thread::sleep(OUTAGE_PAUSE);
        }
        self.verify(is_outage || request.statuses.contains(&answer.status), || {
            let text = String::from_utf8_lossy(&answer.body);
            format!("{} {}: {} {text}", request.method, request.path, answer.status)
        });
        (Span { sent, answered: ended }, Some(answer))
    }

    /// Whether a 503 may be the answer: in an outage, and for a dump that takes too long.
    fn may_be_out(&self, request: &Request<'_>, took: Duration) -> bool {
        self.load.outages || (request.kind == POST_DUMP && took >= SLOW)
    }

    fn exchange(&mut self, id: &str, request: &Request<'_>) -> Result<Answer> {
        let connection = self.connection.take().ok_or_else(|| anyhow!("no connection"))?;
        let connection = self.connection.insert(connection);
        connection.send_with_id(id, request.method, request.path, request.body)
    }

    fn verify(&mut self, fine: bool, problem: impl FnOnce() -> String) {
        self.events.verified += 1;
        if !fine {
            self.events.problems.push((Rule::Answers, problem()));
        }
    }

    /// A body that was sent is the one its entity tag names; returns its digest.
    fn verify_download(&mut self, path: &str, answer: &Answer) -> Option<Sha256Digest> {
        if answer.status != 200 {
            return None;
        }
        let sha256 = Sha256Digest::of(&answer.body);
        let fine = answer.etag.as_deref() == Some(&format!("\"{sha256}\""));
        self.verify(fine, || {
            format!("{path}: {sha256} was sent with the entity tag {:?}", answer.etag)
        });
        Some(sha256)
    }
}

/// The outcome of a write, from its answer.
fn outcome(answer: Option<&Answer>) -> Outcome {
    match answer.map(|answer| answer.status) {
        Some(200..300) => Outcome::Done,
        // What a 503 left is not known.
        None | Some(500..) => Outcome::Lost,
        Some(_) => Outcome::Refused,
    }
}
