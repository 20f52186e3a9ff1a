//! The store in a bucket, on two servers of different make and on servers that misbehave.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

mod bucket;
mod faults;
mod servers;
mod support;
