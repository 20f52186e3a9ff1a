//! Objects are compared with their rows before the first byte, and read to the last (contract
//! §5.12).

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

mod harness;
mod memory_store;
mod resuming;
mod verifying;

use std::ops::Range;

use bytes::Bytes;
use coredock_domain::artifacts::key::ArtifactKey;
use coredock_domain::artifacts::store::ArtifactFacts;
use coredock_domain::digest::Sha256Digest;
use coredock_testkit::faulty_store::Fault;

const SIZE: u64 = 10_000;
const PIECE: usize = 1000;

fn offsets(range: Range<u64>) -> Range<usize> {
    range.start.try_into().unwrap()..range.end.try_into().unwrap()
}

fn key() -> ArtifactKey {
    "firmware/demo/1.2.3/firmware.bin".parse().unwrap()
}

/// Bytes which differ from their neighbours.
fn content() -> Bytes {
    (0..SIZE).map(|n| u8::try_from((n * n / 7 + n) % 251).unwrap()).collect()
}

fn other_content() -> Bytes {
    content().iter().map(|byte| byte ^ 0xff).collect()
}

fn facts(content: &Bytes) -> ArtifactFacts {
    ArtifactFacts { size: content.len() as u64, sha256: Sha256Digest::of(content) }
}

const fn cut(after_bytes: u64) -> Fault {
    Fault::CutStream { after_bytes }
}

const fn short(after_bytes: u64) -> Fault {
    Fault::ShortRead { after_bytes }
}
