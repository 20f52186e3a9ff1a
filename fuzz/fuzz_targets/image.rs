//! Any bytes as a firmware image. Start from the `.bin` of a bundle in
//! `crates/testkit/fixtures/firmware`.

#![no_main]

use coredock_domain::firmware::image::{ImageError, ImageHead, check_integrity};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    for strict_magic in [true, false] {
        let head = ImageHead::parse(bytes, bytes.len() as u64, strict_magic);
        assert!(!matches!(head, Err(ImageError::Io(_))));
    }
    assert!(!matches!(check_integrity(bytes), Err(ImageError::Io(_))));
});
