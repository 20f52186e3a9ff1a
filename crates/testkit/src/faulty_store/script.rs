//! The rules by which calls fail.

use coredock_domain::artifacts::store::ArtifactStoreError;

use crate::gate::Gate;

/// The methods of the port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Put,
    Open,
    Copy,
    Delete,
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

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Call {
    pub operation: Operation,
    /// The path of its key; source and target of a copy, all keys of a delete, the prefix of a
    /// list.
    pub keys: Vec<String>,
}

#[derive(Debug, Clone)]
pub enum Fault {
    /// The call fails and has no effect, now or later.
    Fail,
    /// The call has its effect and then fails.
    FailAfter,
    /// The call waits at the gate and then proceeds.
    Hold(Gate),
    /// `open` only: the body breaks with an error after this many bytes.
    CutStream { after_bytes: u64 },
    /// `open` only: the body ends after this many bytes as if it were complete.
    ShortRead { after_bytes: u64 },
}

/// A fault and the calls to which it applies: every call, unless restricted.
#[derive(Debug, Clone)]
pub struct FaultRule {
    fault: Fault,
    operation: Option<Operation>,
    key_part: Option<String>,
    first: u64,
    last: u64,
    /// Calls so far which operation and key match.
    matched: u64,
}

impl FaultRule {
    /// Applies to every call.
    pub fn new(fault: Fault) -> Self {
        Self { fault, operation: None, key_part: None, first: 1, last: u64::MAX, matched: 0 }
    }

    /// Restricts the rule to calls of `operation`.
    #[must_use]
    pub fn on(self, operation: Operation) -> Self {
        Self { operation: Some(operation), ..self }
    }

    /// Restricts the rule to calls with a key that contains `part`.
    #[must_use]
    pub fn key(self, part: &str) -> Self {
        Self { key_part: Some(part.to_owned()), ..self }
    }

    /// Restricts the rule to the `n`th call which it otherwise matches; the first is 1.
    #[must_use]
    pub fn nth(self, n: u64) -> Self {
        Self { first: n, last: n, ..self }
    }

    /// Restricts the rule to calls from the `n`th on which it otherwise matches; the first is 1.
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
        self.matched += 1;
        (self.first..=self.last).contains(&self.matched)
    }
}

#[derive(Default)]
pub(super) struct Script {
    down: bool,
    rules: Vec<FaultRule>,
    calls: Vec<Call>,
    faulty_calls: usize,
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

    pub(super) fn faulty_calls(&self) -> usize {
        self.faulty_calls
    }

    pub(super) fn clear_calls(&mut self) {
        self.calls.clear();
    }

    /// Records `call` and returns its faults.
    pub(super) fn begin(&mut self, call: Call) -> CallFaults {
        let mut faults: Vec<_> = self
            .rules
            .iter_mut()
            .filter_map(|rule| rule.is_due(&call).then(|| rule.fault.clone()))
            .collect();
        if self.down {
            faults = vec![Fault::Fail];
        }
        self.calls.push(call.clone());
        self.faulty_calls += usize::from(!faults.is_empty());
        CallFaults { call, faults }
    }
}

/// The faults of one call.
pub(super) struct CallFaults {
    call: Call,
    faults: Vec<Fault>,
}

impl CallFaults {
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

    /// The number of bytes after which a body ends, and the error with which it ends.
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
