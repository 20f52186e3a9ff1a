//! Placeholder.
use anyhow::Result;
use clap::{Args, Subcommand};
#[derive(Subcommand)]
pub(crate) enum Bench {
    /// x
    Http,
}
impl Bench {
    pub(crate) fn run(self) -> Result<()> {
        Ok(())
    }
}
#[derive(Args)]
pub(crate) struct BareServer {}
impl BareServer {
    pub(crate) fn run(self) -> Result<()> {
        Ok(())
    }
}
