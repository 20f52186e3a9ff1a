//! Servers that the tests talk to, started before and ended after them.

pub(crate) mod postgres;

use std::net::{Ipv4Addr, TcpListener};

use anyhow::Result;
use coredock_testkit::postgres::VARIABLE as POSTGRES;

use postgres::{Durability, PostgresServer};

/// All of them; they end when it is dropped.
pub(crate) struct Services {
    postgres: PostgresServer,
}

impl Services {
    /// Starts them and waits until they answer. What is missing is installed.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { postgres: PostgresServer::start(Durability::None)? })
    }

    /// Where the tests find them.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        vec![(POSTGRES, self.postgres.url("postgres"))]
    }
}

/// A port of the loopback interface that nobody listens on at this moment.
pub(crate) fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
