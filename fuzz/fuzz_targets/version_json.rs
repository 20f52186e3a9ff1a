//! Any bytes as `version.json`.

#![no_main]

use coredock_domain::firmware::version_json::VersionJson;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    if let Ok(VersionJson { git_commit: Some(commit), .. }) = VersionJson::parse(bytes) {
        assert!(commit.chars().count() <= 64 && !commit.contains(char::is_control));
    }
});
