//! Many devices that deliver dumps at once.

use std::net::SocketAddr;
use std::thread::scope;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};

use super::super::fleet;
use super::super::report::{per_second, quantile};
use super::super::server::Server;
use super::{AT_ONCE, BODY};
use coredock_testkit::client::Client;

/// How much is delivered.
#[derive(Clone, Copy)]
pub(super) enum Extent {
    /// As much as can be in this time.
    For(Duration),
    /// So many dumps, by all connections together.
    Count(usize),
}

/// What a server took.
pub(super) struct Taken {
    /// Dumps per second.
    pub(super) per_second: f64,
    /// Median latency in milliseconds.
    pub(super) median: f64,
    /// Milliseconds that 99 of 100 dumps did not exceed.
    pub(super) p99: f64,
}

/// Devices of a server, one per connection.
pub(super) struct Burst {
    address: SocketAddr,
    keys: Vec<String>,
    /// Dumps sent so far per device: no two bodies are the same.
    sent: usize,
}

impl Burst {
    /// Creates the devices.
    pub(super) fn prepare(server: &Server) -> Result<Self> {
        let mut client = server.client()?;
        let model = fleet::create_model(&mut client)?;
        let keys = (0..AT_ONCE)
            .map(|device| fleet::create_device(&mut client, model, &format!("Device {device}")));
        Ok(Self { address: server.address(), keys: keys.collect::<Result<_>>()?, sent: 0 })
    }

    /// Delivers; a dump that is not taken is an error.
    pub(super) fn run(&mut self, extent: Extent) -> Result<Taken> {
        let (address, sent, began) = (self.address, self.sent, Instant::now());
        let latencies = scope(|threads| {
            let devices: Vec<_> = self
                .keys
                .iter()
                .map(|key| threads.spawn(move || deliver((address, key), sent, extent)))
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
        Ok(Taken {
            per_second: per_second(latencies.len(), began.elapsed())?,
            median: quantile(&latencies, 50).context("nothing was sent")?,
            p99: quantile(&latencies, 99).context("nothing was sent")?,
        })
    }
}

/// The latency of each dump in milliseconds.
fn deliver((address, key): (SocketAddr, &str), first: usize, extent: Extent) -> Result<Vec<f64>> {
    let mut client = Client::connect(address)?;
    let (path, mut body) = (path(key), body(0, BODY));
    let (began, mut latencies) = (Instant::now(), Vec::new());
    loop {
        let is_done = match extent {
            Extent::For(duration) => began.elapsed() >= duration,
            Extent::Count(count) => latencies.len() >= count.div_ceil(AT_ONCE),
        };
        if is_done {
            return Ok(latencies);
        }
        mark(&mut body, first + latencies.len());
        let sent = Instant::now();
        let answer = client.post(&path, &body)?;
        latencies.push(sent.elapsed().as_secs_f64() * 1000.0);
        ensure!(answer.status == 201, "a dump got {}", String::from_utf8_lossy(&answer.body));
    }
}

/// Where a device delivers.
pub(super) fn path(key: &str) -> String {
    format!("/api/iot/coredump?device_key={key}&chip=esp32s3&firmware_version=1.0.0")
}

/// A dump of its own for each number; cheap to make.
pub(super) fn body(number: usize, length: usize) -> Vec<u8> {
    let mut body = vec![0xa5; length];
    mark(&mut body, number);
    body
}

fn mark(body: &mut [u8], number: usize) {
    let number = number.to_be_bytes();
    body[..number.len()].copy_from_slice(&number);
}
