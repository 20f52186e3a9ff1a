//! Every row of contract §5.3 that can be decided from the bytes of a bundle.

#![expect(clippy::unwrap_used, reason = "what fails here fails the test it helps")]

use std::io::Write;

use coredock_domain::artifacts::key::ArtifactName;
use coredock_domain::artifacts::spooled_file::{SpoolDirectory, SpooledFile};
use coredock_domain::digest::Sha256Digest;
use coredock_domain::firmware::archive::{Archive, ArchiveError, OutputCaps};
use coredock_domain::firmware::image::ImageError;
use coredock_domain::firmware::version_json::VersionJsonError;
use coredock_domain::firmware::{BundleError, BundleRules, FirmwareBundle, ImageGate};
use coredock_domain::ids::ModelCode;
use coredock_testkit::firmware::{
    BundleBuilder, ImageBuilder, ZipBuilder, ZipEntry, bundle, elf0, full_image, image,
};

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

/// A refusal is never the fault of the server.
fn refusal_with(bytes: &[u8], rules: BundleRules) -> BundleError {
    let error = open_with(bytes, rules).unwrap_err();
    assert!(!error.is_outage(), "{error:?}");
    error
}

/// What the uploader is told.
fn message(bytes: &[u8]) -> String {
    refusal(bytes).to_string()
}

fn with_image(image: impl Into<Vec<u8>>) -> Vec<u8> {
    builder().bin(image).build()
}

fn img() -> ImageBuilder {
    ImageBuilder::new("1.2.3", 4096)
}

/// Where the header of `name` lies in the central directory.
fn central(zip: &[u8], name: &str) -> usize {
    (0..zip.len() - 46)
        .find(|at| {
            zip[*at..].starts_with(b"PK\x01\x02") && zip[at + 46..].starts_with(name.as_bytes())
        })
        .unwrap()
}

/// Where the local header of `name` lies.
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

/// Where the end record lies in an archive without a comment.
fn end(zip: &[u8]) -> usize {
    zip.len() - 22
}

fn assert_same_set(opened: &FirmwareBundle) {
    let plain = open(&bundle("1.2.3")).unwrap();
    assert_eq!(opened.facts(), plain.facts());
    assert_eq!(opened.version(), plain.version());
}

// What is accepted.

#[test]
fn the_bundle_of_the_contract_opens_to_the_facts_of_its_image() {
    let opened = open(&bundle("1.2.3")).unwrap();
    let facts = opened.facts();
    assert_eq!(opened.version().as_str(), "1.2.3");
    assert_eq!(facts.bin.size, 4096);
    assert_eq!(
        facts.bin.sha256.to_string(),
        "fe50d20daebeaf9b07b08e6826c0258cc016546badd13be527bfb3ee71d4e253"
    );
    assert_eq!(facts.elf.size, 104);
    assert_eq!(
        facts.build_id().to_string(),
        "f1b0a36cec27b90029c4cd36c1f9eb8cd40743ccbdf9e3d2a8773b92e86fdb4c"
    );
    assert_eq!(facts.chip, "esp32s3");
    assert_eq!(facts.project_name, "demo");
    assert_eq!(facts.idf_version, "v5.3.1");
    assert_eq!(facts.secure_version, 0);
    assert_eq!(facts.git_commit.as_deref(), Some("0123456789abcdef0123456789abcdef01234567"));
    for name in ArtifactName::ALL {
        let file = opened.artifact(name);
        assert_eq!((file.length(), file.sha256()), (facts.of(name).size, facts.of(name).sha256));
    }
}

#[test]
fn every_way_of_packing_gives_the_same_set() {
    let variants: [fn(ZipEntry) -> ZipEntry; 7] = [
        ZipEntry::stored,
        ZipEntry::data_descriptor,
        |entry| entry.stored().data_descriptor(),
        ZipEntry::zip64,
        |entry| entry.zip64().stored(),
        |entry| entry.zip64().data_descriptor(),
        |entry| entry.zip64().stored().data_descriptor(),
    ];
    for variant in variants {
        assert_same_set(&open(&builder().change_all(variant).build()).unwrap());
    }
    let mixed = builder().change("demo.elf", ZipEntry::stored).change("sdkconfig", ZipEntry::zip64);
    assert_same_set(&open(&mixed.build()).unwrap());
}

#[test]
fn the_order_of_the_entries_is_free() {
    let reversed = builder()
        .without("demo.bin")
        .without("demo.elf")
        .also(ZipEntry::new("demo.elf", elf0()))
        .also(ZipEntry::new("demo.bin", image("1.2.3", 4096)));
    assert_same_set(&open(&reversed.build()).unwrap());
}

#[test]
fn a_trailing_comment_is_allowed_whatever_it_says() {
    for comment in [b"good bye".to_vec(), vec![0; 65_535], b"PK\x05\x06".repeat(10)] {
        for zip64 in [false, true] {
            let entry = |entry: ZipEntry| if zip64 { entry.zip64() } else { entry };
            let zip = builder().change_all(entry).archive(|archive| archive.comment(&comment));
            assert_same_set(&open(&zip.build()).unwrap());
        }
    }
}

#[test]
fn empty_entries_are_allowed_where_nothing_is_read_of_them() {
    let image = img().of_elf(b"").build();
    for pack in [ZipEntry::stored, ZipEntry::zip64] {
        let zip = builder().bin(image.clone()).elf("").map("").sdkconfig("").change_all(pack);
        let opened = open(&zip.build()).unwrap();
        for name in [ArtifactName::Elf, ArtifactName::Map, ArtifactName::Sdkconfig] {
            assert_eq!(opened.facts().of(name).size, 0);
        }
    }
}

#[test]
fn the_real_bundles_open_to_the_facts_in_their_readme() {
    type Real<'a> = (&'a [u8], &'a str, &'a str, [(u64, &'a str); 5]);
    let bundles: [Real; 2] = [
        (
            include_bytes!("../../testkit/fixtures/firmware/thermostat-1.4.2.zip"),
            "1.4.2",
            "1420c0de1420c0de1420c0de1420c0de1420c0de",
            [
                (31_308, "a0d6eb237757d594c58de3cf7661d563404fc2347e226e4023370f942e3f0162"),
                (6291, "0386dadbf3fbc33e775f85cc2edec396d3878c6ff6c568a51bd49dabaeff27b5"),
                (339, "3165dd778ec9dbeecf3cd5f81a794c8f45d634b22fdc2a5a0136e0d4ad1cccba"),
                (121, "d939c6630339b36061658aed433794d3cba2c1d1b76f8c74acaa29e3bd24557f"),
                (9392, "d04a03b1b485a9c082f88ff16fe0f58c8c167490f8b64b137773cda9159da4a6"),
            ],
        ),
        (
            include_bytes!("../../testkit/fixtures/firmware/thermostat-1.5.0.zip"),
            "1.5.0",
            "1500c0de1500c0de1500c0de1500c0de1500c0de",
            [
                (31_768, "c6c21ecd01004571fbe36f1e03456d57cc19361dfc3b63370bcbfffff88590a8"),
                (6361, "7bea1262374b6c850372893fbc9e4e945a97f0a4bc627a333eea55b695d5bd8d"),
                (339, "8187b3f577d0cb4145975c1004b88e14f9aee545e0d38b24a20b6912053e36f6"),
                (121, "39353c7223c9d00e3d76fd592264011852bc061a2a8def00739338b228caa473"),
                (9424, "1c13e13ca19ac6b7a216db0dbcb9582360c7a693fcd83ae05f2c362154f26417"),
            ],
        ),
    ];
    for (zip, version, commit, artifacts) in bundles {
        for rules in [DEFAULTS, FULL, APPINFO] {
            let opened = open_as("thermostat", zip, rules).unwrap();
            let facts = opened.facts();
            assert_eq!(opened.version().as_str(), version);
            assert_eq!(facts.chip, "esp32c3");
            assert_eq!(facts.project_name, "thermostat");
            assert_eq!(facts.idf_version, "v5.3.2");
            assert_eq!(facts.secure_version, 3);
            assert_eq!(facts.git_commit.as_deref(), Some(commit));
            let found = ArtifactName::ALL.map(|name| facts.of(name));
            for (found, (size, sha256)) in found.into_iter().zip(artifacts) {
                assert_eq!((found.size, found.sha256.to_string()), (size, sha256.to_owned()));
            }
        }
    }
}

// Row 5: the first four bytes.

#[test]
fn what_does_not_start_like_a_zip_is_told_so() {
    let junk_before = builder().archive(|archive| archive.prefix(b"#!/bin/sh\n")).build();
    let empty = ZipBuilder::new().build();
    for bytes in [&b""[..], b"PK", b"PK\x03", &image("1.2.3", 4096), &empty, &junk_before] {
        assert!(matches!(refusal(bytes), BundleError::NotAZip));
        assert!(message(bytes).contains("50 4B 03 04"));
    }
}

// Row 6: the structure.

#[test]
fn junk_before_that_looks_like_a_zip_is_refused_too() {
    let zip = builder().archive(|archive| archive.prefix(b"PK\x03\x04")).build();
    assert!(matches!(refusal(&zip), BundleError::Archive(_)));
}

#[test]
fn junk_behind_the_end_record_is_refused() {
    for junk in [b"\0".to_vec(), b"junk".to_vec(), vec![0; 70_000]] {
        let zip = [bundle("1.2.3"), junk].concat();
        assert!(message(&zip).contains("no end of central directory"));
    }
}

#[test]
fn a_truncated_bundle_is_refused_wherever_it_ends() {
    for pack in [ZipEntry::data_descriptor, ZipEntry::zip64] {
        let zip = builder().change_all(pack).build();
        for length in 0..zip.len() {
            let error = refusal(&zip[..length]);
            assert!(matches!(error, BundleError::NotAZip | BundleError::Archive(_)), "{length}");
            assert!(!error.is_too_large());
        }
    }
}

#[test]
fn an_encrypted_entry_is_named() {
    let zip = builder().change("sdkconfig", ZipEntry::encrypted).build();
    assert!(
        matches!(refusal(&zip), BundleError::Archive(ArchiveError::Encrypted(name)) if name == "sdkconfig")
    );
    assert!(message(&zip).contains("sdkconfig is encrypted"));
    for flags in [1 << 6, 1 << 13_u16] {
        let zip = patched(|zip| central(zip, "demo.map") + 8, &u16::to_le_bytes(flags));
        assert!(message(&zip).contains("demo.map is encrypted"));
    }
}

#[test]
fn any_other_compression_method_is_named() {
    for method in [1, 9, 12, 93, u16::MAX] {
        let zip = builder().change("demo.elf", |entry| entry.method(method)).build();
        let BundleError::Archive(ArchiveError::Method { name, method: found }) = refusal(&zip)
        else {
            panic!("{method}")
        };
        assert_eq!((name.as_str(), found), ("demo.elf", method));
        assert!(message(&zip).contains(&format!("method {method}")));
    }
}

#[test]
fn an_archive_of_several_disks_is_refused() {
    let several = [
        builder().archive(|archive| archive.disk(1)).build(),
        builder().change_all(ZipEntry::zip64).archive(|archive| archive.disk(1)).build(),
        // The disk the directory begins on, the disk of one entry, fewer entries on this disk.
        patched(|zip| end(zip) + 6, &[1, 0]),
        patched(|zip| central(zip, "demo.bin") + 34, &[1, 0]),
        patched(|zip| end(zip) + 8, &[4, 0]),
    ];
    for zip in several {
        assert!(matches!(refusal(&zip), BundleError::Archive(ArchiveError::MultiDisk)));
        assert!(message(&zip).contains("several disks"));
    }
}

#[test]
fn a_directory_that_is_not_where_or_what_the_end_says_is_refused() {
    let lies: [(usize, &[u8]); 7] = [
        // One entry more, one fewer, none.
        (8, &[6, 0, 6, 0]),
        (8, &[4, 0, 4, 0]),
        (8, &[0, 0, 0, 0]),
        // Another length, another place.
        (12, &[1, 0, 0, 0]),
        (12, &[0xff, 0xff, 0xff, 0xff]),
        (16, &[0, 0, 0, 0]),
        (16, &[0xff, 0xff, 0xff, 0x7f]),
    ];
    for (at, bytes) in lies {
        let zip = patched(|zip| end(zip) + at, bytes);
        let error = refusal(&zip);
        assert!(matches!(error, BundleError::Archive(ArchiveError::Damaged(_))), "{at} {bytes:?}");
    }
}

#[test]
fn zip64_records_that_lie_are_refused() {
    let zip = builder().change_all(ZipEntry::zip64).build();
    let locator = end(&zip) - 20;
    let end64 = locator - 56;
    let places = [locator + 8, end64, end64 + 24, end64 + 32, end64 + 40, end64 + 48];
    for at in places {
        for value in [0, 1, u64::MAX - 55, u64::MAX - 1, u64::MAX] {
            let mut wrong = zip.clone();
            patch(&mut wrong, at, &value.to_le_bytes());
            assert!(matches!(refusal(&wrong), BundleError::Archive(_)), "{at} {value}");
        }
    }
    // Sizes said to be in an extra field that is not there.
    for at in [20, 24, 42] {
        let zip = patched(|zip| central(zip, "demo.bin") + at, &[0xff; 4]);
        assert!(matches!(refusal(&zip), BundleError::Archive(ArchiveError::Damaged(_))));
    }
}

#[test]
fn a_huge_directory_is_refused_unread() {
    let long = |n: u8| ZipEntry::new(vec![b'a' + n; 60_000], "");
    let zip = (0..20).map(long).fold(builder(), BundleBuilder::also).build();
    assert!(message(&zip).contains("larger than 1 MiB"));
}

// Row 7: the names.

#[test]
fn missing_entries_are_listed_sorted() {
    let zip = builder().without("sdkconfig").without("demo.elf").build();
    assert!(matches!(refusal(&zip), BundleError::Missing { .. }));
    assert!(message(&zip).contains("lacks entries: demo.elf, sdkconfig"));
    let none = ZipBuilder::new().entry(ZipEntry::new("zz", "")).build();
    assert!(message(&none).contains("demo.bin, demo.elf, demo.map, sdkconfig, version.json"));
}

#[test]
fn extra_entries_are_listed_sorted() {
    let zip = builder().also(ZipEntry::new("zz", "")).also(ZipEntry::new("dir/", "")).build();
    assert!(matches!(refusal(&zip), BundleError::Unexpected(_)));
    assert!(message(&zip).contains("unexpected entries: dir/, zz"));
}

#[test]
fn duplicate_entries_are_listed_sorted_and_once() {
    let zip = builder().duplicate("sdkconfig").duplicate("demo.bin").duplicate("demo.bin").build();
    assert!(matches!(refusal(&zip), BundleError::Duplicates(_)));
    assert!(message(&zip).ends_with("duplicate entries: demo.bin, sdkconfig"));
    let foreign = builder().also(ZipEntry::new("x", "")).also(ZipEntry::new("x", "y")).build();
    assert!(message(&foreign).ends_with("duplicate entries: x"));
}

#[test]
fn duplicates_come_before_missing_names_and_these_before_extras() {
    let zip = builder().without("demo.elf").also(ZipEntry::new("zz", ""));
    assert!(
        matches!(refusal(&zip.build()), BundleError::Missing { missing: names, .. } if names == ["demo.elf"])
    );
    let zip = zip.duplicate("demo.map");
    assert!(
        matches!(refusal(&zip.build()), BundleError::Duplicates(names) if names == ["demo.map"])
    );
}

#[test]
fn nothing_but_the_exact_names_counts() {
    let others = [
        "x/demo.bin",
        "/demo.bin",
        "./demo.bin",
        "../demo.bin",
        "x\\demo.bin",
        "\\demo.bin",
        "C:\\demo.bin",
        "demo.bin/",
        "DEMO.BIN",
        "demo.bin\0",
        "demo.bin ",
        "other.bin",
        "",
    ];
    for other in others {
        let extra = builder().also(ZipEntry::new(other, "")).build();
        assert!(
            matches!(refusal(&extra), BundleError::Unexpected(names) if names == [other]),
            "{other}"
        );
        let instead =
            builder().without("demo.bin").also(ZipEntry::new(other, image("1.2.3", 4096))).build();
        assert!(
            matches!(refusal(&instead), BundleError::Missing { missing: names, .. } if names == ["demo.bin"]),
            "{other}"
        );
    }
    assert!(matches!(
        open_as("other", &bundle("1.2.3"), DEFAULTS),
        Err(BundleError::Missing { missing: names, .. }) if names == ["other.bin", "other.elf", "other.map"]
    ));
}

#[test]
fn names_that_are_no_text_are_extras_too() {
    let zip = builder().also(ZipEntry::new(b"\xff\xfe", "")).build();
    assert!(message(&zip).contains('\u{fffd}'));
}

#[test]
fn a_message_names_twenty_entries_at_most_and_none_at_length() {
    let entry = |n: u16| ZipEntry::new(format!("{n:03}{}", "x".repeat(500)), "");
    let text = message(&(0..300).map(entry).fold(builder(), BundleBuilder::also).build());
    assert!(text.contains("000xxx") && text.contains("019xxx") && !text.contains("020xxx"));
    assert!(text.ends_with(" and 280 more"));
    assert!(text.len() < 2500);
}

// Row 8: the content of the entries.

fn entry_damage(zip: &[u8]) -> (String, &'static str) {
    match refusal(zip) {
        BundleError::Archive(ArchiveError::Entry { name, damage }) => (name, damage),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_wrong_crc_is_refused_in_every_entry() {
    for name in ENTRIES {
        let zip = builder().change(name, |entry| entry.crc32(1)).build();
        assert_eq!(entry_damage(&zip), (name.to_owned(), "its CRC-32 is wrong"));
        assert_eq!(message(&zip), format!("entry {name} is damaged: its CRC-32 is wrong"));
    }
}

#[test]
fn a_wrong_length_is_refused_in_every_entry() {
    for name in ENTRIES {
        for size in [0, 1, 5000, 0xffff_fffe] {
            for pack in [ZipEntry::stored, ZipEntry::data_descriptor] {
                let zip = builder().change(name, |entry| pack(entry).claimed_size(size)).build();
                let damage = "its length is not the one it claims";
                assert_eq!(entry_damage(&zip), (name.to_owned(), damage));
            }
        }
        // A length of 2^64 - 1.
        let huge = builder().change(name, |entry| entry.zip64().claimed_size(u64::MAX)).build();
        assert_eq!(entry_damage(&huge).0, name);
    }
}

#[test]
fn deflated_data_that_is_none_is_refused() {
    let data = |zip: &[u8]| local(zip, "demo.elf") + 30 + "demo.elf".len();
    // A block of the reserved type; a stream that goes on where the entry ends.
    assert_eq!(entry_damage(&patched(data, &[0xff; 8])).0, "demo.elf");
    let cut = patched(|zip| central(zip, "demo.elf") + 20, &[3, 0, 0, 0]);
    assert_eq!(entry_damage(&cut).0, "demo.elf");
}

#[test]
fn a_local_header_that_contradicts_the_directory_is_refused() {
    let contradictions: [(usize, &[u8]); 4] = [
        // Signature, encryption, method, name.
        (0, b"XX\x03\x04"),
        (6, &[1, 0]),
        (8, &[0, 0]),
        (30, b"demo.bad"),
    ];
    for (at, bytes) in contradictions {
        let zip = patched(|zip| local(zip, "demo.map") + at, bytes);
        assert_eq!(entry_damage(&zip).0, "demo.map", "{at}");
    }
    let other_length = patched(|zip| local(zip, "demo.map") + 26, &[7, 0]);
    assert_eq!(entry_damage(&other_length).0, "demo.map");
    // Bit 11 (the name is UTF-8) and the like are no contradiction.
    assert_same_set(&open(&patched(|zip| local(zip, "demo.map") + 7, &[8])).unwrap());
}

#[test]
fn a_central_name_that_is_not_the_local_one_is_refused() {
    let swapped = patched(|zip| central(zip, "demo.map") + 46, b"demo.elf");
    assert!(matches!(refusal(&swapped), BundleError::Duplicates(_)));
    let mut swapped = swapped;
    let second = central(&bundle("1.2.3"), "demo.elf");
    patch(&mut swapped, second + 46, b"demo.map");
    assert_eq!(entry_damage(&swapped).1, "its local header contradicts the central directory");
}

#[test]
fn entries_that_share_bytes_are_refused_or_stay_within_the_caps() {
    // Two entries with one local header.
    let bin = u32::try_from(local(&bundle("1.2.3"), "demo.bin")).unwrap();
    let shared = patched(|zip| central(zip, "demo.elf") + 42, &bin.to_le_bytes());
    assert_eq!(entry_damage(&shared).0, "demo.elf");
    // One entry whose stored bytes reach over all others.
    let stored = builder().change("demo.bin", ZipEntry::stored).build();
    let mut reaching = stored.clone();
    let at = central(&stored, "demo.bin");
    patch(&mut reaching, at + 20, &6000_u32.to_le_bytes());
    patch(&mut reaching, at + 24, &6000_u32.to_le_bytes());
    assert_eq!(entry_damage(&reaching).0, "demo.bin");
}

#[test]
fn an_entry_outside_the_archive_is_refused() {
    for offset in [0x7fff_ffff_u32, 0xffff_fffe, 4] {
        let zip = patched(|zip| central(zip, "demo.elf") + 42, &offset.to_le_bytes());
        assert_eq!(entry_damage(&zip).0, "demo.elf");
    }
    for compressed in [0x7fff_ffff_u32, 0xffff_fffe] {
        let zip = patched(|zip| central(zip, "demo.elf") + 20, &compressed.to_le_bytes());
        let damage = "it reaches into the central directory";
        assert_eq!(entry_damage(&zip), ("demo.elf".to_owned(), damage));
    }
    let zip = builder().change_all(ZipEntry::zip64).build();
    // The ZIP64 field: name, four bytes of header, then uncompressed, compressed, offset.
    let values = central(&zip, "demo.elf") + 46 + "demo.elf".len() + 4;
    for (at, value) in [(8, u64::MAX), (8, u64::MAX - 100), (16, u64::MAX), (16, u64::MAX - 29)] {
        let mut wrong = zip.clone();
        patch(&mut wrong, values + at, &value.to_le_bytes());
        assert_eq!(entry_damage(&wrong).0, "demo.elf");
    }
}

#[test]
fn a_bomb_that_claims_ten_bytes_stops_at_the_cap() {
    let rules = BundleRules { entry_bytes: MIB, ..DEFAULTS };
    for name in ENTRIES {
        let error = refusal_with(&builder().entry(ZipEntry::bomb(name, 100 * MIB)).build(), rules);
        assert!(error.is_too_large());
        assert_eq!(error.to_string(), format!("entry {name} has more than {MIB} bytes"));
    }
}

#[test]
fn a_bomb_below_the_cap_is_refused_for_its_ratio() {
    let error = refusal(&builder().entry(ZipEntry::bomb("demo.map", 9 * MIB)).build());
    assert!(
        matches!(&error, BundleError::Archive(ArchiveError::Ratio(name)) if name == "demo.map")
    );
    assert!(!error.is_too_large());
    assert!(error.to_string().contains("200 : 1"));
}

#[test]
fn the_ratio_does_not_count_up_to_eight_mib() {
    let size = usize::try_from(8 * MIB).unwrap();
    open(&builder().map(vec![0; size]).build()).unwrap();
    let error = refusal(&builder().map(vec![0; size + 1]).build());
    assert!(matches!(error, BundleError::Archive(ArchiveError::Ratio(_))));
    open(&builder().map(vec![0; size + 1]).change("demo.map", ZipEntry::stored).build()).unwrap();
}

#[test]
fn only_more_than_the_ratio_is_refused() {
    let zip = ZipBuilder::new().entry(ZipEntry::new("a", vec![7; 1000]).stored()).build();
    let mut archive = Archive::open(spool(&zip).0.reader()).unwrap();
    let entry = archive.entries()[0].clone();
    let caps = OutputCaps { bytes: 1000, ratio_from: 0, ratio: 1 };
    assert_eq!(archive.extract(&entry, caps, &mut Vec::new()).unwrap(), 1000);
}

#[test]
fn an_entry_may_have_as_many_bytes_as_the_cap() {
    let zip = bundle("1.2.3");
    open_with(&zip, BundleRules { entry_bytes: 4096, ..DEFAULTS }).unwrap();
    let error = refusal_with(&zip, BundleRules { entry_bytes: 4095, ..DEFAULTS });
    assert_eq!(error.to_string(), "entry demo.bin has more than 4095 bytes");
    assert!(error.is_too_large());
}

#[test]
fn all_entries_together_may_have_as_many_bytes_as_the_cap() {
    let zip = bundle("1.2.3");
    let opened = open(&zip).unwrap();
    let total = ArtifactName::ALL.into_iter().map(|name| opened.facts().of(name).size).sum();
    open_with(&zip, BundleRules { total_bytes: total, ..DEFAULTS }).unwrap();
    for limit in [total - 1, 4096, 10, 0] {
        let error = refusal_with(&zip, BundleRules { total_bytes: limit, ..DEFAULTS });
        assert!(matches!(error, BundleError::TotalTooLarge { limit: found } if found == limit));
        assert!(error.is_too_large());
        assert!(error.to_string().contains(&limit.to_string()));
    }
}

// Row 9: version.json.

fn with_version_json(content: impl Into<Vec<u8>>) -> Vec<u8> {
    builder().version_json(content).build()
}

#[test]
fn version_json_may_have_every_encoding_of_the_contract() {
    let text = r#"{"git_commit":"abc","idf_version":5,"firmware_version":[],"more":null}"#;
    let units = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect();
    let (little, big): (Vec<u8>, Vec<u8>) = (units(u16::to_le_bytes), units(u16::to_be_bytes));
    let marked = |mark: &[u8], text: &[u8]| [mark, text].concat();
    let encodings = [
        text.as_bytes().to_vec(),
        marked(b"\xef\xbb\xbf", text.as_bytes()),
        marked(b"\xff\xfe", &little),
        marked(b"\xfe\xff", &big),
    ];
    for bytes in encodings {
        let opened = open(&with_version_json(bytes)).unwrap();
        assert_eq!(opened.facts().git_commit.as_deref(), Some("abc"));
        assert_eq!(opened.version().as_str(), "1.2.3");
    }
}

#[test]
fn a_version_json_that_cannot_be_used_is_told_why() {
    let utf16 = |text: &str| text.encode_utf16().flat_map(u16::to_le_bytes).collect::<Vec<u8>>();
    let wrong: [(Vec<u8>, &str); 9] = [
        (b"".to_vec(), "not valid JSON"),
        (b"{".to_vec(), "not valid JSON"),
        (b"[1]".to_vec(), "must be a JSON object"),
        (b"5".to_vec(), "must be a JSON object"),
        (b"null".to_vec(), "must be a JSON object"),
        (b"{\"a\":\"\xff\"}".to_vec(), "neither UTF-8 nor UTF-16"),
        (b"\xff\xfe\x7b".to_vec(), "neither UTF-8 nor UTF-16"),
        // UTF-16 without a byte-order mark.
        (utf16("{}"), "not valid JSON"),
        ("[".repeat(100_000).into_bytes(), "not valid JSON"),
    ];
    for (content, expected) in wrong {
        let error = refusal(&with_version_json(content));
        assert!(matches!(error, BundleError::VersionJson(_)));
        assert!(error.to_string().contains(expected), "{error}");
    }
}

#[test]
fn missing_members_of_version_json_are_listed_sorted() {
    let cases: [(&str, &[&str]); 3] = [
        ("{}", &["firmware_version", "git_commit", "idf_version"]),
        (r#"{"idf_version":1,"IDF_VERSION":2}"#, &["firmware_version", "git_commit"]),
        (r#"{"git_commit":null,"firmware_version":null}"#, &["idf_version"]),
    ];
    for (content, members) in cases {
        let error = refusal(&with_version_json(content));
        assert!(error.to_string().ends_with(&format!("lacks {}", members.join(", "))));
        let BundleError::VersionJson(VersionJsonError::Missing(missing)) = error else {
            panic!("{error:?}")
        };
        assert_eq!(missing, members);
    }
}

#[test]
fn a_version_json_has_at_most_one_mebibyte() {
    let mut text = r#"{"git_commit":1,"idf_version":1,"firmware_version":1}"#.to_owned();
    text.push_str(&" ".repeat((1 << 20) - text.len()));
    open(&with_version_json(text.clone())).unwrap();
    let error = refusal(&with_version_json(text + " "));
    assert!(matches!(error, BundleError::VersionJsonTooLong));
    assert!(error.to_string().contains("1048576"));
}

#[test]
fn the_version_of_version_json_decides_nothing() {
    for version in [r#""9.9.9""#, "null", r#""../../x""#, "[[]]"] {
        let text = format!(r#"{{"git_commit":1,"idf_version":1,"firmware_version":{version}}}"#);
        assert_eq!(open(&with_version_json(text)).unwrap().version().as_str(), "1.2.3");
    }
}

// Rows 10 to 14: the image.

#[test]
fn an_image_has_at_least_288_bytes() {
    open(&with_image(image("1.2.3", 288))).unwrap();
    for length in [0, 1, 32, 287] {
        for rules in [DEFAULTS, FULL, APPINFO] {
            let error = refusal_with(&with_image(image("1.2.3", length)), rules);
            assert!(
                matches!(error, BundleError::Image(ImageError::TooShort { actual }) if actual == length as u64)
            );
            assert!(error.to_string().contains("the minimum is 288"));
        }
    }
}

#[test]
fn the_first_byte_of_an_image_is_e9() {
    for magic in [0x00, 0xe8, 0x7f] {
        let zip = with_image(img().magic(magic).build());
        assert!(matches!(refusal(&zip), BundleError::Image(ImageError::Magic { .. })));
        let text = message(&zip);
        assert!(text.contains("0xE9") && text.contains(&format!("0x{magic:02X}")), "{text}");
        open_with(&zip, APPINFO).unwrap();
    }
}

#[test]
fn the_descriptor_lies_at_offset_32() {
    for magic in [0, 0x3254_cdab, 0xabcd_5433] {
        let zip = with_image(img().descriptor_magic(magic).build());
        for rules in [DEFAULTS, FULL, APPINFO] {
            let text = refusal_with(&zip, rules).to_string();
            assert!(text.contains("0xABCD5432") && text.contains(&format!("0x{magic:08X}")));
        }
    }
    let mut shifted = image("1.2.3", 4096);
    shifted.insert(32, 0);
    assert!(matches!(
        refusal(&with_image(shifted)),
        BundleError::Image(ImageError::DescriptorMagic { .. })
    ));
}

#[test]
fn a_version_matches_the_pattern() {
    let longest = "a".repeat(32);
    for good in ["1", "1.0.0+5", "v1.2-rc.1_x", "1.0.0+5.gabc-dirty", "0..0", &longest] {
        let opened = open(&with_image(img().version_bytes(good.as_bytes()).build())).unwrap();
        assert_eq!(opened.version().as_str(), good);
    }
    let bad: [&[u8]; 14] = [
        b"",
        b" ",
        b"\t",
        b"1.0 0",
        b"../../x",
        b"a/b",
        b"a\\b",
        b"1.0\x07",
        b"1.0\n",
        b".1",
        b"-1",
        b"+1",
        b"1.0\xff",
        "1.0\u{fc}".as_bytes(),
    ];
    for bad in bad {
        let zip = with_image(img().version_bytes(bad).build());
        for rules in [DEFAULTS, FULL, APPINFO] {
            let error = refusal_with(&zip, rules);
            assert!(matches!(error, BundleError::Version), "{bad:?}");
            assert!(error.to_string().contains("^[A-Za-z0-9][A-Za-z0-9._+-]{0,31}$"));
        }
    }
}

#[test]
fn a_version_ends_at_its_first_nul() {
    let opened = open(&with_image(img().version_bytes(b"1.2\0../../x").build())).unwrap();
    assert_eq!(opened.version().as_str(), "1.2");
}

#[test]
fn an_image_that_knows_no_elf_goes_with_any() {
    let zip = with_image(img().elf_sha256([0; 32]).build());
    assert_eq!(open(&zip).unwrap().facts().build_id(), Sha256Digest::of(&elf0()));
}

#[test]
fn an_image_of_another_elf_is_refused_with_both_hashes() {
    let right = *Sha256Digest::of(&elf0()).bytes();
    for (at, bit) in [(0, 0), (15, 3), (31, 7)] {
        let mut wrong = right;
        wrong[at] ^= 1 << bit;
        let zip = with_image(img().elf_sha256(wrong).build());
        assert!(matches!(refusal(&zip), BundleError::BuildId { .. }));
        let text = message(&zip);
        assert!(text.contains(&Sha256Digest::from(right).to_string()));
        assert!(text.contains(&Sha256Digest::from(wrong).to_string()));
        open_with(&zip, APPINFO).unwrap();
    }
    let other_elf = builder().elf("another").build();
    assert!(matches!(refusal(&other_elf), BundleError::BuildId { .. }));
}

#[test]
fn texts_of_the_image_are_cleaned_and_chips_named() {
    let image = ImageBuilder::new("1.2.3", 288).secure_version(u32::MAX).project("a\u{7}b");
    let mut image = image.idf_version(&"v".repeat(40)).chip_id(0xabcd).build();
    image[81] = 0xff;
    let opened = open(&with_image(image)).unwrap();
    let facts = opened.facts();
    assert_eq!(facts.project_name, "a\u{fffd}b");
    assert_eq!(facts.idf_version, "v".repeat(32));
    assert_eq!(facts.secure_version, u32::MAX);
    assert_eq!(facts.chip, "0xabcd");
    let chips = [
        (0x0000, "esp32"),
        (0x0002, "esp32s2"),
        (0x0005, "esp32c3"),
        (0x0009, "esp32s3"),
        (0x000c, "esp32c2"),
        (0x000d, "esp32c6"),
        (0x0010, "esp32h2"),
        (0x0012, "esp32p4"),
        (0x0014, "esp32c61"),
        (0x0017, "esp32c5"),
        (0x0019, "esp32h21"),
        (0x001c, "esp32h4"),
        (0x0020, "esp32s31"),
        (0x0001, "0x0001"),
        (0xffff, "0xffff"),
    ];
    for (id, name) in chips {
        assert_eq!(open(&with_image(img().chip_id(id).build())).unwrap().facts().chip, name);
    }
}

// Row 15: the whole image.

#[test]
fn only_the_full_gate_looks_at_the_whole_image() {
    let hollow = bundle("1.2.3");
    open_with(&hollow, DEFAULTS).unwrap();
    open_with(&hollow, APPINFO).unwrap();
    assert!(matches!(
        refusal_with(&hollow, FULL),
        BundleError::Image(ImageError::Damaged(_) | ImageError::Checksum { .. })
    ));
    for length in [288, 289, 290, 291, 300, 4095, 4096, 20_000] {
        open_with(&with_image(full_image("1.2.3", length)), FULL).unwrap();
    }
}

#[test]
fn the_full_gate_tells_what_is_wrong() {
    let good = full_image("1.2.3", 4096);
    let checksum = good.len() - 33;
    let changes: [(usize, u8, &str); 6] = [
        (1, 0, "1 to 16 segments"),
        (1, 17, "1 to 16 segments"),
        (31, 0x7f, "a segment reaches beyond its end"),
        (checksum, good[checksum] ^ 1, "checksum must be"),
        (1000, good[1000] ^ 1, "checksum must be"),
        (good.len() - 1, good[good.len() - 1] ^ 1, "hash must be"),
    ];
    for (at, byte, expected) in changes {
        let mut image = good.clone();
        image[at] = byte;
        let error = refusal_with(&with_image(image), FULL);
        assert!(matches!(error, BundleError::Image(_)));
        assert!(error.to_string().contains(expected), "{at}: {error}");
    }
    // Two changes the checksum does not see.
    let mut image = good.clone();
    (image[1000], image[1001]) = (image[1000] ^ 1, image[1001] ^ 1);
    assert!(refusal_with(&with_image(image), FULL).to_string().contains("hash must be"));
    for length in 288..good.len() {
        if length % 97 == 0 || length + 40 > good.len() {
            let error = refusal_with(&with_image(&good[..length]), FULL);
            assert!(matches!(error, BundleError::Image(ImageError::Damaged(_))), "{length}");
        }
    }
}

#[test]
fn an_image_may_lack_the_appended_hash_and_carry_a_signature() {
    let good = full_image("1.2.3", 4096);
    open_with(&with_image([good.as_slice(), &[7; 500]].concat()), FULL).unwrap();
    let mut bare = good[..good.len() - 32].to_vec();
    bare[23] = 0;
    open_with(&with_image(bare), FULL).unwrap();
}

// First failure wins.

#[test]
fn the_first_failure_of_the_contract_wins() {
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
    // Every fault is added to those before it.
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
        BundleError::Version => 13,
        BundleError::BuildId { .. } => 14,
        BundleError::Image(_) => 15,
        BundleError::Spool(_) => 0,
    }
}
