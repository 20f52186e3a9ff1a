//! The ports to where rows lie. One method is one transaction; absence is `None` or `false`.

pub mod coredumps;
pub mod crash_groups;
pub mod devices;
pub mod firmware;
pub mod models;
pub mod outbox;
pub mod parse_jobs;
pub mod publication;
pub mod rom_elfs;
pub mod sweep;
pub mod symbol_indexes;

use std::sync::Arc;

pub use coredumps::CoredumpRepository;
pub use crash_groups::CrashGroupRepository;
pub use devices::DeviceRepository;
pub use firmware::FirmwareRepository;
pub use models::ModelRepository;
pub use outbox::OutboxRepository;
pub use parse_jobs::ParseJobRepository;
pub use publication::PublicationRepository;
pub use rom_elfs::RomElfRepository;
pub use sweep::SweepRepository;
pub use symbol_indexes::SymbolIndexRepository;

/// What a repository could not do.
#[derive(Debug, thiserror::Error)]
pub enum RepositoryError {
    /// A unique value is taken; the doc line of the method says which can be.
    #[error("unique value is taken")]
    Conflict,
    /// A stored value is none this version could have written.
    #[error("column {column} of table {table} holds an impossible value")]
    Corrupt {
        /// The table.
        table: &'static str,
        /// The column.
        column: &'static str,
    },
    /// The database is down, too slow, full, or answered with an error. Nothing was changed, or,
    /// if the connection broke during the commit, the outcome is unknown.
    #[error("database could not {operation}")]
    Unavailable {
        /// What was asked for, `noun.verb`.
        operation: &'static str,
        /// What the database said.
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl RepositoryError {
    /// An outage met during `operation`.
    pub fn unavailable(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { operation, source: Arc::from(source.into()) }
    }
}
