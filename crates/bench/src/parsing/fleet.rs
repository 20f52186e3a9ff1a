//! Devices with one firmware, which crash in the same place again and again.

use std::net::SocketAddr;
use std::thread::scope;

use anyhow::{Result, anyhow};

use super::Build;
use crate::fleet;
use crate::server::Server;
use coredock_testkit::client::Client;

const CONNECTIONS: usize = 16;

pub(super) struct Fleet<'a> {
    address: SocketAddr,
    /// The path to which each device sends dumps.
    paths: Vec<String>,
    build: &'a Build,
    delivered: usize,
}

impl<'a> Fleet<'a> {
    /// Publishes the build and creates devices.
    pub(super) fn prepare(server: &Server, build: &'a Build, devices: usize) -> Result<Self> {
        let mut client = server.client()?;
        let model = fleet::create_model(&mut client)?;
        fleet::upload(&mut client, &build.bundle())?;
        let path = |device| {
            let key = fleet::create_device(&mut client, model, &format!("Device {device}"))?;
            Ok(build.path(&key))
        };
        let paths = (0..devices).map(path).collect::<Result<_>>()?;
        Ok(Self { address: server.address(), paths, build, delivered: 0 })
    }

    /// Delivers `dumps` dumps, all different, in rounds over the devices. An answer other than 201
    /// is an error.
    pub(super) fn deliver(&mut self, dumps: usize) -> Result<()> {
        let numbers = self.delivered..self.delivered + dumps;
        let this = &*self;
        scope(|threads| {
            let deliver =
                |first| this.deliver_each(numbers.clone().skip(first).step_by(CONNECTIONS));
            let delivering: Vec<_> =
                (0..CONNECTIONS).map(|first| threads.spawn(move || deliver(first))).collect();
            delivering.into_iter().try_for_each(|connection| {
                connection.join().map_err(|_panic| anyhow!("a delivering thread panicked"))?
            })
        })?;
        self.delivered += dumps;
        Ok(())
    }

    /// Dumps delivered so far.
    pub(super) const fn delivered(&self) -> usize {
        self.delivered
    }

    fn deliver_each(&self, numbers: impl Iterator<Item = usize>) -> Result<()> {
        let mut client = Client::connect(self.address)?;
        let mut dump = self.build.dump().to_vec();
        for number in numbers {
            Build::mark(&mut dump, number);
            let answer = client.post(&self.paths[number % self.paths.len()], &dump)?;
            answer.check_status(201)?;
        }
        Ok(())
    }
}
