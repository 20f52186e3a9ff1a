//! Counts and times the calls of a handler (contract §14.2).

use std::time::Instant;

use actix_web::dev::Handler;
use actix_web::web;
use futures::future::LocalBoxFuture;

use crate::metrics::Metrics;

/// A handler whose calls are counted by their result. A request that an extractor refuses does not
/// reach the handler and is not counted.
#[derive(Clone)]
pub(super) struct Counted<H> {
    operation: &'static str,
    handler: H,
    metrics: web::Data<Metrics>,
}

impl<H> Counted<H> {
    pub(super) const fn new(
        operation: &'static str,
        handler: H,
        metrics: web::Data<Metrics>,
    ) -> Self {
        Self { operation, handler, metrics }
    }
}

impl<H, Args, T, E> Handler<Args> for Counted<H>
where
    H: Handler<Args, Output = Result<T, E>, Future: 'static>,
    T: 'static,
    E: 'static,
{
    type Output = Result<T, E>;
    type Future = LocalBoxFuture<'static, Self::Output>;

    fn call(&self, args: Args) -> Self::Future {
        let call = Call {
            operation: self.operation,
            metrics: self.metrics.clone(),
            began: Instant::now(),
            succeeded: false,
        };
        let result = self.handler.call(args);
        Box::pin(call.end_with(result))
    }
}

/// A call, which is counted when it is dropped. Without a result (the caller hung up, the deadline
/// passed, or the handler panicked) it counts as an error.
struct Call {
    operation: &'static str,
    metrics: web::Data<Metrics>,
    began: Instant,
    succeeded: bool,
}

impl Call {
    async fn end_with<T, E>(mut self, result: impl Future<Output = Result<T, E>>) -> Result<T, E> {
        let result = result.await;
        self.succeeded = result.is_ok();
        result
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let seconds = self.began.elapsed().as_secs_f64();
        self.metrics.operation(self.operation, self.succeeded, seconds);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn count(metrics: &Metrics, status: &str) -> u64 {
        metrics.operations.with_label_values(&["do_it", status]).get()
    }

    #[tokio::test]
    async fn a_call_is_counted_by_its_result_and_as_an_error_when_it_is_dropped() {
        async fn answer(succeeds: bool) -> Result<(), ()> {
            tokio::task::yield_now().await;
            if succeeds { Ok(()) } else { Err(()) }
        }
        let metrics = web::Data::new(Metrics::new().unwrap());
        let handler = Counted::new("do_it", answer, metrics.clone());
        assert_eq!(handler.call((true,)).await, Ok(()));
        assert_eq!((count(&metrics, "success"), count(&metrics, "error")), (1, 0));
        assert_eq!(handler.call((false,)).await, Err(()));
        assert_eq!((count(&metrics, "success"), count(&metrics, "error")), (1, 1));
        let mut cancelled = handler.call((true,));
        assert!(futures::poll!(&mut cancelled).is_pending());
        drop(cancelled);
        assert_eq!((count(&metrics, "success"), count(&metrics, "error")), (1, 2));
        drop(handler.call((true,)));
        assert_eq!((count(&metrics, "success"), count(&metrics, "error")), (1, 3));
    }
}
