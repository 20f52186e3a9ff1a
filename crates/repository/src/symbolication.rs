//! Parse jobs, and the symbol indexes which they read.

mod builds;
mod claim;
mod claim_postgres;
mod finish;
pub(crate) mod indexes;
mod jobs;
mod queue;
