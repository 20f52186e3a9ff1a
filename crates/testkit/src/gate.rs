//! Blocks a task until the test lets it proceed, without sleeping.

use std::sync::{Arc, Mutex, PoisonError};

use futures::channel::oneshot;

/// A gate at which tasks wait until the test opens it. Clones are the same gate.
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

    /// Lets all tasks pass from now on.
    pub fn open(&self) {
        self.opened.release();
    }

    /// Waits until a task has arrived.
    pub async fn arrived(&self) {
        self.arrived.released().await;
    }

    /// Arrives and waits until the gate is open.
    pub async fn pass(&self) {
        self.arrived.release();
        self.opened.released().await;
    }
}

/// A flag which is never cleared, and tasks which wait for it.
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
        // Dropping the senders wakes the waiting tasks.
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
    async fn a_task_waits_at_a_gate_until_it_is_opened() {
        let gate = Gate::new();
        let opener = async {
            gate.arrived().await;
            gate.open();
        };
        futures::join!(gate.pass(), opener);
        gate.pass().await;
    }
}
