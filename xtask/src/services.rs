//! Servers that the tests talk to, started before and ended after them.

mod s3;

use anyhow::Result;

use s3::{Moto, S3s};

/// All of them; they end when it is dropped.
pub(crate) struct Services {
    s3s: S3s,
    moto: Moto,
}

impl Services {
    /// Starts them and waits until they answer. What is missing is installed.
    pub(crate) fn start() -> Result<Self> {
        Ok(Self { s3s: S3s::start()?, moto: Moto::start()? })
    }

    /// Where the tests find them.
    pub(crate) fn environment(&self) -> Vec<(&'static str, String)> {
        let mut variables = self.s3s.environment();
        variables.extend(self.moto.environment());
        variables
    }
}
