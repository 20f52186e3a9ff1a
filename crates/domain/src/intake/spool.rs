//! The port to the rescue spool: where dumps wait on this machine until an outage of store or
//! database is over (contract §4.5).

use std::sync::Arc;

use async_trait::async_trait;

use crate::intake::receive::Delivery;

/// Stores dumps on this machine during an outage.
#[async_trait]
pub trait RescueSpool: Send + Sync {
    /// Saves a dump; durable when this returns, and locked until the file is dropped. `Full` when
    /// the dump does not fit in the byte limit of the spool.
    async fn save(&self, dump: &RescuedDump) -> Result<Box<dyn RescueFile>, RescueError>;

    /// The dumps in the spool, oldest first, locked or not. Removes incomplete files of writers
    /// which died.
    async fn waiting(&self) -> Result<Vec<RescueName>, RescueError>;

    /// Opens a dump and locks it until the file is dropped; `None` when it does not exist or
    /// another process has locked it. `Damaged` when it cannot be read; then it is no longer in the
    /// spool.
    async fn open(&self, name: &RescueName) -> Result<Option<OpenedRescue>, RescueError>;
}

/// A locked file of the spool. The lock ends when this is dropped or the process dies.
#[async_trait]
pub trait RescueFile: Send + Sync {
    /// Writes the id which the dump is to have; durable when this returns. The last call counts.
    async fn fix_id(&self, id: i64) -> Result<(), RescueError>;

    async fn remove(&self) -> Result<(), RescueError>;
}

/// The name of a file of the spool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RescueName(pub String);

/// A delivery in the spool.
#[derive(Debug, Clone)]
pub struct RescuedDump {
    pub delivery: Delivery,
    /// The id reserved for it, if one was.
    pub id: Option<i64>,
}

/// A dump read from the spool.
pub struct OpenedRescue {
    pub dump: RescuedDump,
    pub file: Box<dyn RescueFile>,
}

/// Why the spool could not carry out an operation.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// Nothing was written.
    #[error("rescue spool is limited to {budget} bytes, and the dump does not fit")]
    Full {
        /// The limit in bytes; 0 when the spool is disabled.
        budget: u64,
    },
    /// The content of a file is wrong; the file was set aside.
    #[error("rescued dump {name} is damaged: {reason}")]
    Damaged { name: String, reason: &'static str },
    /// The disk failed.
    #[error("rescue spool could not {operation}")]
    Unavailable {
        operation: &'static str,
        #[source]
        source: Arc<dyn std::error::Error + Send + Sync>,
    },
}

impl RescueError {
    /// A failure of the disk during `operation`.
    pub fn unavailable(
        operation: &'static str,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        Self::Unavailable { operation, source: Arc::from(source.into()) }
    }
}
