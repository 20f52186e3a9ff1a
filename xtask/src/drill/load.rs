//! Clients that do everything at once until the server dies.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::thread::scope;
use std::time::{Duration, Instant};

use anyhow::{Result, anyhow};
use coredock_domain::digest::Sha256Digest;

use super::dice::Dice;
use super::events::{Events, Outcome, Span};
use super::findings::Rule;
use super::fleet::Fleet;
use super::material::Material;
use crate::client::{Answer, Client};

mod dumps;
mod firmware;
mod refused;

const CLIENTS: usize = 6;
/// Between two attempts to connect.
const REFUSED_PAUSE: Duration = Duration::from_millis(1);
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
}

/// Dumps clients know of.
#[derive(Default)]
pub(super) struct Targets(Mutex<Vec<Target>>);

/// A dump a client was told of.
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
    /// Runs clients against the server until `kill` has returned, which is called after `moment`.
    pub(super) fn run(
        &self,
        address: SocketAddr,
        (dice, moment): (&mut Dice, Duration),
        kill: impl FnOnce() -> Result<()>,
    ) -> Result<Events> {
        let dead = AtomicBool::new(false);
        scope(|threads| {
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| {
                    let session = Session::new(self, address, dice.fork());
                    let dead = &dead;
                    threads.spawn(move || session.run(dead))
                })
                .collect();
            // The moment itself is what is drilled.
            std::thread::sleep(moment);
            let killed = kill();
            dead.store(true, Ordering::Relaxed);
            let mut events = Events::default();
            for client in clients {
                events.absorb(client.join().map_err(|_panic| anyhow!("a client panicked"))?);
            }
            killed.map(|()| events)
        })
    }
}

/// One client.
struct Session<'a> {
    load: &'a Load<'a>,
    address: SocketAddr,
    dice: Dice,
    connection: Option<Client>,
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
    fn new(load: &'a Load<'a>, address: SocketAddr, dice: Dice) -> Self {
        Self { load, address, dice, connection: None, events: Events::default() }
    }

    fn run(mut self, dead: &AtomicBool) -> Events {
        while !dead.load(Ordering::Relaxed) {
            self.act();
        }
        self.events
    }

    fn act(&mut self) {
        if self.connection.is_none() {
            // A request that never left is none.
            let Ok(connection) = Client::connect(self.address) else {
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
        let sent = self.load.clock.elapsed();
        let answer = self.exchange(request).ok();
        let answered = self.load.clock.elapsed();
        let label = answer.as_ref().map_or("lost".to_owned(), |answer| answer.status.to_string());
        *self.events.requests.entry((request.kind, label)).or_default() += 1;
        let Some(answer) = answer else {
            self.connection = None;
            return (Span { sent, answered: None }, None);
        };
        if answer.closes {
            self.connection = None;
        }
        let fine = request.statuses.contains(&answer.status);
        self.verify(fine, || {
            let text = String::from_utf8_lossy(&answer.body);
            format!("{} {}: {} {text}", request.method, request.path, answer.status)
        });
        (Span { sent, answered: Some(answered) }, Some(answer))
    }

    fn exchange(&mut self, request: &Request<'_>) -> Result<Answer> {
        let connection = match self.connection.take() {
            Some(connection) => connection,
            None => Client::connect(self.address)?,
        };
        let connection = self.connection.insert(connection);
        connection.send(request.method, request.path, request.body)
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

/// What became of a write, from its answer.
fn outcome(answer: Option<&Answer>) -> Outcome {
    match answer.map(|answer| answer.status) {
        Some(200..300) => Outcome::Done,
        // What a 503 left is not known; it is a problem anyhow.
        None | Some(500..) => Outcome::Lost,
        Some(_) => Outcome::Refused,
    }
}
