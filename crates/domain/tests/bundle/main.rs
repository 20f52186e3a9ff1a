//! Every row of contract §5.3 that can be decided from the bytes of a bundle.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

mod accepted;
mod entries;
mod images;
mod names;
mod structure;
mod version_json;

use std::io::Write;

use coredock_domain::artifacts::spooled_file::{SpoolDirectory, SpooledFile};
use coredock_domain::firmware::archive::ArchiveError;
use coredock_domain::firmware::image::ImageError;
use coredock_domain::firmware::{BundleError, BundleRules, FirmwareBundle, ImageGate};
use coredock_domain::ids::ModelCode;
use coredock_testkit::firmware::{BundleBuilder, ImageBuilder, ZipEntry, bundle};

const MIB: u64 = 1 << 20;
const DEFAULTS: BundleRules =
    BundleRules { entry_bytes: 128 * MIB, total_bytes: 256 * MIB, gate: ImageGate::Standard };
const FULL: BundleRules = BundleRules { gate: ImageGate::Full, ..DEFAULTS };
const APPINFO: BundleRules = BundleRules { gate: ImageGate::AppInfo, ..DEFAULTS };
/// The entries of the bundle of model `demo`.
const ENTRIES: [&str; 5] = ["demo.bin", "demo.elf", "demo.map", "sdkconfig", "version.json"];

fn builder() -> BundleBuilder {
    BundleBuilder::new("demo", "1.2.3")
}

fn spool(bytes: &[u8]) -> (SpooledFile, SpoolDirectory) {
    let directory = SpoolDirectory::new(std::env::temp_dir());
    let mut writer = directory.create().unwrap();
    writer.write_all(bytes).unwrap();
    (writer.finish(), directory)
}

fn open_as(model: &str, bytes: &[u8], rules: BundleRules) -> Result<FirmwareBundle, BundleError> {
    let (body, directory) = spool(bytes);
    FirmwareBundle::open(&body, &ModelCode::parse(model).unwrap(), rules, &directory)
}

fn open_with(bytes: &[u8], rules: BundleRules) -> Result<FirmwareBundle, BundleError> {
    open_as("demo", bytes, rules)
}

fn open(bytes: &[u8]) -> Result<FirmwareBundle, BundleError> {
    open_with(bytes, DEFAULTS)
}

fn refusal(bytes: &[u8]) -> BundleError {
    refusal_with(bytes, DEFAULTS)
}

/// A refused bundle is never an outage.
fn refusal_with(bytes: &[u8], rules: BundleRules) -> BundleError {
    let error = open_with(bytes, rules).unwrap_err();
    assert!(!error.is_outage(), "{error:?}");
    error
}

/// The error text for the uploader.
fn message(bytes: &[u8]) -> String {
    refusal(bytes).to_string()
}

fn with_image(image: impl Into<Vec<u8>>) -> Vec<u8> {
    builder().bin(image).build()
}

fn img() -> ImageBuilder {
    ImageBuilder::new("1.2.3", 4096)
}

/// The offset of the header of `name` in the central directory.
fn central(zip: &[u8], name: &str) -> usize {
    (0..zip.len() - 46)
        .find(|at| {
            zip[*at..].starts_with(b"PK\x01\x02") && zip[at + 46..].starts_with(name.as_bytes())
        })
        .unwrap()
}

/// The offset of the local header of `name`.
fn local(zip: &[u8], name: &str) -> usize {
    let at = central(zip, name) + 42;
    u32::from_le_bytes(zip[at..at + 4].try_into().unwrap()) as usize
}

fn patch(zip: &mut [u8], at: usize, bytes: &[u8]) {
    zip[at..at + bytes.len()].copy_from_slice(bytes);
}

/// The plain bundle with `bytes` at `at(bundle)`.
fn patched(at: impl Fn(&[u8]) -> usize, bytes: &[u8]) -> Vec<u8> {
    let mut zip = bundle("1.2.3");
    let at = at(&zip);
    patch(&mut zip, at, bytes);
    zip
}

/// The offset of the end record in an archive without a comment.
fn end(zip: &[u8]) -> usize {
    zip.len() - 22
}

fn assert_same_set(opened: &FirmwareBundle) {
    let plain = open(&bundle("1.2.3")).unwrap();
    assert_eq!(opened.facts(), plain.facts());
    assert_eq!(opened.version(), plain.version());
}

#[test]
fn the_first_fault_in_the_order_of_the_contract_is_reported() {
    let no_elf = || img().elf_sha256([1; 32]);
    let wrong = || img().elf_sha256([1; 32]).version_bytes(b"-").descriptor_magic(0);
    let faults: [&dyn Fn(BundleBuilder) -> BundleBuilder; 11] = [
        &|bundle| bundle,
        &|bundle| bundle.bin(no_elf().build()),
        &|bundle| bundle.bin(no_elf().version_bytes(b"-").build()),
        &|bundle| bundle.bin(wrong().build()),
        &|bundle| bundle.bin(wrong().magic(0).build()),
        &|bundle| bundle.bin([0; 287]),
        &|bundle| bundle.version_json("[]"),
        &|bundle| bundle.change("sdkconfig", |entry| entry.crc32(1)),
        &|bundle| bundle.without("demo.map"),
        &|bundle| bundle.change("demo.elf", ZipEntry::encrypted),
        &|bundle| bundle.archive(|archive| archive.prefix(b"MZ")),
    ];
    // Each fault is added to the faults before it.
    let mut bundle = builder();
    for (fault, row) in faults.into_iter().zip((5..=15).rev()) {
        bundle = fault(bundle);
        assert_eq!(row_of(&refusal_with(&bundle.build(), FULL)), row);
    }
}

fn row_of(error: &BundleError) -> u8 {
    match error {
        BundleError::NotAZip => 5,
        BundleError::Archive(
            ArchiveError::Damaged(_)
            | ArchiveError::MultiDisk
            | ArchiveError::Encrypted(_)
            | ArchiveError::Method { .. },
        ) => 6,
        BundleError::Duplicates(_) | BundleError::Missing { .. } | BundleError::Unexpected(_) => 7,
        BundleError::Archive(_) | BundleError::TotalTooLarge { .. } => 8,
        BundleError::VersionJson(_) | BundleError::VersionJsonTooLong => 9,
        BundleError::Image(ImageError::TooShort { .. }) => 10,
        BundleError::Image(ImageError::Magic { .. }) => 11,
        BundleError::Image(ImageError::DescriptorMagic { .. }) => 12,
        BundleError::Version { .. } => 13,
        BundleError::BuildId { .. } => 14,
        BundleError::Image(_) => 15,
        BundleError::Spool(_) => 0,
    }
}
