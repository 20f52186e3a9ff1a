//! The thread on which file system calls run.

use std::io;
use std::sync::{Arc, Weak};

use tokio::task::spawn_blocking;

#[derive(Debug, Clone, Copy)]
pub(super) enum Threads {
    /// A thread of tokio's blocking pool: the caller serves other futures meanwhile.
    BlockingPool,
    /// The thread that polls the future, which blocks it.
    Caller,
}

impl Threads {
    pub(super) async fn run<T: Send + 'static>(
        self,
        job: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        match self {
            Self::BlockingPool => spawn_blocking(job).await?,
            Self::Caller => job(),
        }
    }

    /// Runs a job that changes objects. A job on the pool continues when its future is dropped;
    /// then others may change the same objects, so the job must check the `Caller` before each
    /// change.
    pub(super) async fn run_change<T: Send + 'static>(
        self,
        job: impl FnOnce(&Caller) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let waiting = Waiting::default();
        let caller = waiting.caller();
        let outcome = self.run(move || job(&caller)).await;
        drop(waiting);
        outcome
    }
}

/// Lives as long as the future that awaits a job.
#[derive(Default)]
pub(super) struct Waiting(Arc<()>);

impl Waiting {
    pub(super) fn caller(&self) -> Caller {
        Caller(Arc::downgrade(&self.0))
    }
}

/// The future that awaits a job, as the job sees it.
pub(super) struct Caller(Weak<()>);

impl Caller {
    /// An error when the future was dropped.
    pub(super) fn check_waits(&self) -> io::Result<()> {
        match self.0.strong_count() {
            0 => Err(io::Error::other("the caller stopped waiting before the change")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_job_sees_whether_its_caller_waits() {
        for threads in [Threads::BlockingPool, Threads::Caller] {
            threads.run_change(Caller::check_waits).await.unwrap();
        }
        let (sender, receiver) = std::sync::mpsc::channel();
        let (go_on, dropped) = std::sync::mpsc::channel::<()>();
        let job = move |caller: &Caller| {
            dropped.recv().unwrap_err();
            sender.send(caller.check_waits().is_err()).unwrap();
            Ok(())
        };
        let mut change = Box::pin(Threads::BlockingPool.run_change(job));
        assert!(futures::poll!(&mut change).is_pending());
        drop(change);
        drop(go_on);
        assert!(receiver.recv().unwrap(), "the job sees that the future was dropped");
    }
}
