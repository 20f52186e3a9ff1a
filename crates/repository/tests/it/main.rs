//! The repository ports on a real `SQLite` file. The suites see a [`Bench`] only, so that another
//! database can be put under them.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test it helps")]

mod devices;
mod faults;
mod firmware;
mod models;
mod outbox;
mod publication;
mod retention;
mod start;
mod support;
mod sweep;
