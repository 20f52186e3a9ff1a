//! The servers which the tests use, started before the tests and ended after them.

#![expect(clippy::print_stdout, reason = "shown by the commands of xtask")]

pub mod oidc;
pub mod postgres;
pub mod s3;
pub mod sidecar;

use std::net::{Ipv4Addr, TcpListener};

use crate::chromium;
use crate::postgres::VARIABLE as POSTGRES;
use anyhow::Result;

use oidc::OidcProgram;
use postgres::{Durability, PostgresServer};
use s3::{Moto, S3s};
use sidecar::SidecarPython;

/// All servers; they end when this is dropped.
pub struct Services {
    postgres: PostgresServer,
    s3s: S3s,
    moto: Moto,
    sidecar: SidecarPython,
    oidc: OidcProgram,
}

impl Services {
    /// Installs missing programs, starts the servers and waits until they answer.
    pub fn start() -> Result<Self> {
        chromium::install()?;
        Ok(Self {
            postgres: PostgresServer::start(Durability::None)?,
            s3s: S3s::start()?,
            moto: Moto::start()?,
            sidecar: SidecarPython::prepare()?,
            oidc: OidcProgram::prepare()?,
        })
    }

    /// The variables by which the tests find the servers.
    pub fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = vec![(POSTGRES, self.postgres.url("postgres"))];
        variables.extend(self.s3s.environment());
        variables.extend(self.moto.environment());
        variables.extend(self.sidecar.environment());
        variables.extend(self.oidc.environment());
        variables
    }
}

/// A port of the loopback interface which is free at this moment.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port())
}
