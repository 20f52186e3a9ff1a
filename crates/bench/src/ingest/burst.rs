//! Many devices that deliver dumps at once.

use std::net::SocketAddr;
use std::thread::scope;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::super::fleet;
use super::super::report::{per_second, quantile};
use super::super::server::Server;
use super::{BODY, CONCURRENCY};
use coredock_testkit::client::Client;

/// When a measurement ends.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    /// After this time.
    For(Duration),
    /// After this many dumps or transactions, shared equally by all connections.
    Count(usize),
}

/// How fast a server received dumps.
pub(super) struct Received {
    pub(super) per_second: f64,
    /// Median latency in milliseconds.
    pub(super) median: f64,
    /// Milliseconds that 99 of 100 dumps did not exceed.
    pub(super) p99: f64,
}

/// Rates and latencies of several bursts.
#[derive(Default)]
pub(super) struct Bursts {
    pub(super) rates: Vec<f64>,
    pub(super) medians: Vec<f64>,
    pub(super) p99s: Vec<f64>,
}

impl Bursts {
    pub(super) fn add(&mut self, received: &Received) {
        self.rates.push(received.per_second);
        self.medians.push(received.median);
        self.p99s.push(received.p99);
    }
}

/// Devices of a server, one per connection.
pub(super) struct Burst {
    address: SocketAddr,
    keys: Vec<String>,
    /// Dumps sent so far per device; it numbers the bodies, which all differ.
    sent: usize,
}

impl Burst {
    /// Creates a device for each connection.
    pub(super) fn prepare(server: &Server) -> Result<Self> {
        let mut client = server.client()?;
        let model = fleet::create_model(&mut client)?;
        let keys = (0..CONCURRENCY)
            .map(|device| fleet::create_device(&mut client, model, &format!("Device {device}")));
        Ok(Self { address: server.address(), keys: keys.collect::<Result<_>>()?, sent: 0 })
    }

    /// Sends dumps; an answer other than 201 is an error.
    pub(super) fn run(&mut self, extent: Extent) -> Result<Received> {
        let (address, sent, began) = (self.address, self.sent, Instant::now());
        let latencies = scope(|threads| {
            let devices: Vec<_> = self
                .keys
                .iter()
                .map(|key| threads.spawn(move || deliver(address, key, sent, extent)))
                .collect();
            let mut latencies = Vec::new();
            for device in devices {
                let of_device =
                    device.join().map_err(|_panic| anyhow!("a sending thread panicked"))??;
                self.sent = self.sent.max(sent + of_device.len());
                latencies.extend(of_device);
            }
            Ok::<_, anyhow::Error>(latencies)
        })?;
        Ok(Received {
            per_second: per_second(latencies.len(), began.elapsed())?,
            median: quantile(&latencies, 50).context("no dump was sent")?,
            p99: quantile(&latencies, 99).context("no dump was sent")?,
        })
    }
}

/// The latency of each dump in milliseconds.
fn deliver(address: SocketAddr, key: &str, first: usize, extent: Extent) -> Result<Vec<f64>> {
    let mut client = Client::connect(address)?;
    let (path, mut body) = (path(key), body(0, BODY));
    let (began, mut latencies) = (Instant::now(), Vec::new());
    loop {
        let is_done = match extent {
            Extent::For(duration) => began.elapsed() >= duration,
            Extent::Count(count) => latencies.len() >= count.div_ceil(CONCURRENCY),
        };
        if is_done {
            return Ok(latencies);
        }
        mark(&mut body, first + latencies.len());
        let sent = Instant::now();
        let answer = client.post(&path, &body)?;
        latencies.push(sent.elapsed().as_secs_f64() * 1000.0);
        answer.check_status(201)?;
    }
}

/// The path to which a device sends dumps.
pub(super) fn path(key: &str) -> String {
    format!("/api/iot/coredump?device_key={key}&chip=esp32s3&firmware_version=1.0.0")
}

/// A body which differs for each `number`.
pub(super) fn body(number: usize, length: usize) -> Vec<u8> {
    let mut body = vec![0xa5; length];
    mark(&mut body, number);
    body
}

fn mark(body: &mut [u8], number: usize) {
    let number = number.to_be_bytes();
    body[..number.len()].copy_from_slice(&number);
}
