//! The port to the rescue spool: where dumps wait on this machine until an outage of store or
//! database is over (contract §4.5).

use std::sync::Arc;

use async_trait::async_trait;

use crate::intake::receive::Delivery;

/// Keeps dumps during an outage.
#[async_trait]
pub trait RescueSpool: Send + Sync {
    /// Saves a dump; durable when it returns, and locked until the file is dropped. `Full` when the
    /// spool would hold more bytes than it may.
    async fn save(&self, dump: &RescuedDump) -> Result<Box<dyn RescueFile>, RescueError>;

    /// What waits, oldest first, locked or not. Removes what writers which died have left.
    async fn waiting(&self) -> Result<Vec<RescueName>, RescueError>;

    /// Opens a dump and locks it until the file is dropped; `None` when it does not exist or another
    /// process has locked it. `Damaged` when it cannot be read; it no longer waits then.
    async fn open(&self, name: &RescueName) -> Result<Option<OpenedRescue>, RescueError>;
}

/// A locked file of the spool: nothing else works on it until this is dropped or its process dies.
#[async_trait]
pub trait RescueFile: Send + Sync {
    /// Notes the id which the dump is to have; durable when it returns. The last one counts.
    async fn fix_id(&self, id: i64) -> Result<(), RescueError>;

    /// Removes the file.
    async fn remove(&self) -> Result<(), RescueError>;
}

/// Names a file of the spool.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct RescueName(pub String);

/// A delivery in the spool.
#[derive(Debug, Clone)]
pub struct RescuedDump {
    pub delivery: Delivery,
    /// The id reserved for it, if it came that far.
    pub id: Option<i64>,
}

/// A dump read from the spool.
pub struct OpenedRescue {
    pub dump: RescuedDump,
    pub file: Box<dyn RescueFile>,
}

/// What a spool could not do.
#[derive(Debug, thiserror::Error)]
pub enum RescueError {
    /// There is no room; nothing was written.
    #[error("rescue spool is limited to {budget} bytes, and the dump does not fit")]
    Full {
        /// Most bytes it may hold.
        budget: u64,
    },
    /// A file is not what was written; it was set aside.
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
