//! The adapter against a real service on 127.0.0.1 and a real directory.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

mod answers;
mod files;
mod leftovers;
mod readiness;
mod service;
mod support;
