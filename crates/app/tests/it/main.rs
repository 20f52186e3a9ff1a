//! Tests of the whole server over HTTP. One file per subject; `support` has one verb per action.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_input;
mod device_safety;
mod invariants;
mod openapi;
mod operation;
mod real_bundles;
mod records;
mod routing;
mod support;
mod sweep;
mod transfers;
mod vectors;
