//! Any bytes as an uploaded bundle: refused as invalid, or unpacked within the limits.
//! Start from `crates/testkit/fixtures/firmware/*.zip`.

#![no_main]

use std::io::Write;
use std::sync::LazyLock;

use coredock_domain::artifacts::key::ArtifactName;
use coredock_domain::artifacts::spooled_file::SpoolDirectory;
use coredock_domain::firmware::{BundleRules, FirmwareBundle, ImageGate};
use coredock_domain::ids::ModelCode;
use libfuzzer_sys::fuzz_target;

const RULES: BundleRules =
    BundleRules { entry_bytes: 128 * 1024, total_bytes: 192 * 1024, gate: ImageGate::Full };
static MODEL: LazyLock<ModelCode> =
    LazyLock::new(|| ModelCode::parse("thermostat").expect("a valid model code"));

fuzz_target!(|bytes: &[u8]| {
    let spool = SpoolDirectory::new(std::env::temp_dir());
    let mut body = spool.create().expect("the temporary directory works");
    body.write_all(bytes).expect("the temporary directory works");
    match FirmwareBundle::open(&body.finish(), &MODEL, RULES, &spool) {
        Ok(bundle) => {
            let sizes = ArtifactName::ALL.map(|name| bundle.artifact(name).length());
            assert!(sizes.iter().all(|size| *size <= RULES.entry_bytes));
            assert!(sizes.iter().sum::<u64>() <= RULES.total_bytes);
        }
        Err(error) => assert!(!error.is_outage(), "{error:?}"),
    }
});
