//! Which calls fail, and how.

use coredock_domain::artifacts::store::ArtifactStoreError;

use crate::gate::Gate;

/// The methods of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// `put`
    Put,
    /// `open`
    Open,
    /// `copy`
    Copy,
    /// `delete`
    Delete,
    /// `list`
    List,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Put => "put",
            Self::Open => "open",
            Self::Copy => "copy",
            Self::Delete => "delete",
            Self::List => "list",
        }
    }
}

/// One call as it arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    /// The method.
    pub operation: Operation,
    /// The path of its key; of both for a copy, of all for a delete, the prefix for a list.
    pub keys: Vec<String>,
}

/// What goes wrong.
#[derive(Debug, Clone)]
pub enum Fault {
    /// Nothing happens, now or later; the answer is an error.
    Fail,
    /// It happens; the answer is lost.
    FailAfter,
    /// Waits at the gate, then goes on.
    Hold(Gate),
    /// `open` only: the body breaks with an error after this many bytes.
    CutStream {
        /// How many bytes come before.
        after_bytes: u64,
    },
    /// `open` only: the body ends after this many bytes as if it were complete.
    ShortRead {
        /// How many bytes come before.
        after_bytes: u64,
    },
}

/// A fault and the calls it befalls: every call, unless narrowed down.
#[derive(Debug, Clone)]
pub struct FaultRule {
    fault: Fault,
    operation: Option<Operation>,
    key_part: Option<String>,
    first: u64,
    last: u64,
    met: u64,
}

impl FaultRule {
    /// On every call.
    pub fn new(fault: Fault) -> Self {
        Self { fault, operation: None, key_part: None, first: 1, last: u64::MAX, met: 0 }
    }

    /// Only on calls of `operation`.
    #[must_use]
    pub fn on(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Only on calls with a key that contains `part`.
    #[must_use]
    pub fn key(self, part: &str) -> Self {
        Self { key_part: Some(part.to_owned()), ..self }
    }

    /// Only on the `n`th of the calls it would befall otherwise; the first is 1.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self { first: n, last: n, ..self }
    }

    /// Only from the `n`th of the calls on it would befall otherwise; the first is 1.
    #[must_use]
    pub fn from_nth(self, n: u64) -> Self {
        Self { first: n, ..self }
    }

    fn is_due(&mut self, call: &Call) -> bool {
        let operation = self.operation.is_none_or(|operation| operation == call.operation);
        let named = |part: &String| call.keys.iter().any(|key| key.contains(part.as_str()));
        if !operation || !self.key_part.as_ref().is_none_or(named) {
            return false;
        }
        self.met += 1;
        (self.first..=self.last).contains(&self.met)
    }
}

#[derive(Default)]
pub(super) struct Script {
    down: bool,
    rules: Vec<FaultRule>,
    calls: Vec<Call>,
    faults_met: usize,
}

impl Script {
    pub(super) fn add(&mut self, rule: FaultRule) {
        self.rules.push(rule);
    }

    pub(super) fn clear(&mut self) {
        self.rules.clear();
    }

    pub(super) fn set_down(&mut self, down: bool) {
        self.down = down;
    }

    pub(super) fn calls(&self) -> &[Call] {
        &self.calls
    }

    pub(super) fn faults_met(&self) -> usize {
        self.faults_met
    }

    pub(super) fn forget_calls(&mut self) {
        self.calls.clear();
    }

    /// Counts `call` and says what befalls it.
    pub(super) fn meet(&mut self, call: Call) -> Due {
        let mut faults: Vec<_> = self
            .rules
            .iter_mut()
            .filter_map(|rule| rule.is_due(&call).then(|| rule.fault.clone()))
            .collect();
        if self.down {
            faults = vec![Fault::Fail];
        }
        self.calls.push(call.clone());
        self.faults_met += usize::from(!faults.is_empty());
        Due { call, faults }
    }
}

/// What befalls one call.
pub(super) struct Due {
    call: Call,
    faults: Vec<Fault>,
}

impl Due {
    /// To be called before the operation.
    pub(super) async fn before(&self) -> Result<(), ArtifactStoreError> {
        for fault in &self.faults {
            match fault {
                Fault::Hold(gate) => gate.pass().await,
                Fault::Fail => return Err(self.error(self.call.operation.as_str()).ended()),
                Fault::FailAfter | Fault::CutStream { .. } | Fault::ShortRead { .. } => {}
            }
        }
        Ok(())
    }

    /// To be called after the operation.
    pub(super) fn after(&self) -> Result<(), ArtifactStoreError> {
        if self.faults.iter().any(|fault| matches!(fault, Fault::FailAfter)) {
            return Err(self.error(self.call.operation.as_str()));
        }
        Ok(())
    }

    /// After how many bytes a body ends, and with which error.
    pub(super) fn end_of_body(&self) -> Option<(u64, Option<ArtifactStoreError>)> {
        self.faults.iter().find_map(|fault| match fault {
            Fault::CutStream { after_bytes } => Some((*after_bytes, Some(self.error("read")))),
            Fault::ShortRead { after_bytes } => Some((*after_bytes, None)),
            Fault::Fail | Fault::FailAfter | Fault::Hold(_) => None,
        })
    }

    fn error(&self, operation: &'static str) -> ArtifactStoreError {
        ArtifactStoreError::unavailable(operation, self.call.keys.join(", "), "injected fault")
    }
}
