//! Any bytes as the body of a dump: unwrapped, or left as they are. Start from a few dumps of
//! devices, raw, as console text and compressed.

#![no_main]

use std::io::Cursor;

use bytes::Bytes;
use coredock_domain::coredumps::body::{build_id, unwrap};
use libfuzzer_sys::fuzz_target;

/// A body with this magic number may be a raw image too: the result depends on its container.
const GZIP_MAGIC: &[u8] = &[0x1F, 0x8B];

fuzz_target!(|bytes: &[u8]| {
    let body = Bytes::copy_from_slice(bytes);
    let build = build_id(&mut Cursor::new(bytes));
    let read = unwrap(&body);
    if !read.container.is_dump() {
        assert!(!read.salvaged && read.bytes == body);
    } else if ![bytes, &read.bytes].iter().any(|bytes| bytes.starts_with(GZIP_MAGIC)) {
        let again = unwrap(&read.bytes);
        assert!(again.container.is_dump() && again.bytes == read.bytes);
        assert!(build.is_none() || build == build_id(&mut Cursor::new(&read.bytes)));
    }
});
