//! Holding something back until the test says so, without sleeping.

use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;

/// A gate that somebody arrives at and that the test opens. Clones are the same gate.
#[derive(Debug, Clone, Default)]
pub struct Gate {
    arrived: Latch,
    opened: Latch,
}

impl Gate {
    /// A closed gate.
    pub fn new() -> Self {
        Self::default()
    }

    /// Lets through everybody, now and later.
    pub fn open(&self) {
        self.opened.release();
    }

    /// Returns once somebody has arrived.
    pub async fn arrived(&self) {
        self.arrived.released().await;
    }

    /// Arrives, and returns once the gate is open.
    pub async fn pass(&self) {
        self.arrived.release();
        self.opened.released().await;
    }
}

/// Once released, released for ever.
#[derive(Debug, Clone, Default)]
struct Latch {
    state: Arc<Mutex<LatchState>>,
}

#[derive(Debug, Default)]
struct LatchState {
    released: bool,
    waiting: Vec<oneshot::Sender<()>>,
}

impl Latch {
    fn release(&self) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.released = true;
        // Dropping the senders wakes those who wait.
        state.waiting.clear();
    }

    async fn released(&self) {
        let (sender, receiver) = oneshot::channel();
        {
            let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
            if state.released {
                return;
            }
            state.waiting.push(sender);
        }
        receiver.await.unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_gate_holds_until_it_is_opened() {
        let gate = Gate::new();
        let opener = async {
            gate.arrived().await;
            gate.open();
        };
        futures::join!(gate.pass(), opener);
        gate.pass().await;
    }
}
