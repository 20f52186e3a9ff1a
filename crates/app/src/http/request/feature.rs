//! What a handler works with: a feature, and the counting of its use.

use std::cell::Cell;
use std::future::{Ready, ready};
use std::ops::Deref;
use std::time::Instant;

use actix_web::dev::Payload;
use actix_web::{Error, FromRequest, HttpRequest, web};

use crate::metrics::Metrics;

/// The use cases of one feature.
pub struct Feature<F: 'static> {
    use_cases: web::Data<F>,
    metrics: web::Data<Metrics>,
}

impl<F> Feature<F> {
    /// Begins to time an operation (contract §14.2).
    pub fn begin(&self, name: &'static str) -> Operation {
        Operation::begin(name, &self.metrics)
    }
}

impl<F> Deref for Feature<F> {
    type Target = F;

    fn deref(&self) -> &F {
        &self.use_cases
    }
}

impl<F: 'static> FromRequest for Feature<F> {
    type Error = Error;
    type Future = Ready<Result<Self, Error>>;

    fn from_request(request: &HttpRequest, payload: &mut Payload) -> Self::Future {
        let from = |payload: &mut Payload| {
            Ok(Self {
                use_cases: web::Data::from_request(request, payload).into_inner()?,
                metrics: web::Data::from_request(request, payload).into_inner()?,
            })
        };
        ready(from(payload))
    }
}

/// Times a use case and counts it when the guard is told how it ended (contract §14.2).
pub struct Operation {
    name: &'static str,
    metrics: web::Data<Metrics>,
    began: Instant,
    ended: Cell<bool>,
}

impl Operation {
    /// Begins now. Dropped without [`Operation::end`] it counts as an error.
    pub fn begin(name: &'static str, metrics: &web::Data<Metrics>) -> Self {
        Self { name, metrics: metrics.clone(), began: Instant::now(), ended: Cell::new(false) }
    }

    /// Counts the operation and passes its outcome on.
    pub fn end<T, E>(self, outcome: Result<T, E>) -> Result<T, E> {
        self.count(outcome.is_ok());
        outcome
    }

    fn count(&self, succeeded: bool) {
        self.ended.set(true);
        self.metrics.operation(self.name, succeeded, self.began.elapsed().as_secs_f64());
    }
}

impl Drop for Operation {
    fn drop(&mut self) {
        if !self.ended.get() {
            self.count(false);
        }
    }
}
