//! Dumps, as far as firmware retention looks at them (contract §5.10 b).

/// The state of a dump on the wire (contract §6.4).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ParseStatus {
    /// Waiting, delayed or running.
    Pending,
    /// A report exists.
    Parsed,
    /// No report could be made.
    Error,
}

impl ParseStatus {
    /// The text on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "PENDING",
            Self::Parsed => "PARSED",
            Self::Error => "ERROR",
        }
    }
}
