//! Threads that exist to wait.
//!
//! Adapters hand work that blocks to a pool of threads, so that nobody else waits with it. Each
//! visit there costs two switches of threads, more than most of the work itself. On a thread that
//! serves one job and may wait as long as it likes there is nobody else: there the work runs as it
//! is. Whoever starts such a thread says so with [`allow`]; adapters ask [`is_allowed`].

use std::cell::Cell;

thread_local! {
    static ALLOWED: Cell<bool> = const { Cell::new(false) };
}

/// Whether this thread exists to wait.
pub fn is_allowed() -> bool {
    ALLOWED.get()
}

/// Runs `job` on this thread, which serves nobody else meanwhile.
pub fn allow<T>(job: impl FnOnce() -> T) -> T {
    struct Leave(bool);
    impl Drop for Leave {
        fn drop(&mut self) {
            ALLOWED.set(self.0);
        }
    }
    let _leave = Leave(ALLOWED.replace(true));
    job()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_waits_only_for_its_job_even_if_that_panics() {
        assert!(!is_allowed());
        allow(|| {
            allow(|| assert!(is_allowed()));
            assert!(is_allowed());
            assert!(!std::thread::spawn(is_allowed).join().unwrap());
        });
        let panicked = std::panic::catch_unwind(|| allow(|| panic!("job")));
        assert!(panicked.is_err() && !is_allowed());
    }
}
