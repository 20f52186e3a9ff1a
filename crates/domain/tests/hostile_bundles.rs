//! Arbitrary uploads cause no panic, no outage and no more bytes than the limits allow.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::io::{self, Cursor, Write};

use coredock_domain::artifacts::key::ArtifactName;
use coredock_domain::artifacts::spooled_file::SpoolDirectory;
use coredock_domain::digest::Sha256Digest;
use coredock_domain::firmware::archive::{Archive, ArchiveError, OutputCaps};
use coredock_domain::firmware::image::{ImageError, ImageHead, check_integrity};
use coredock_domain::firmware::version_json::VersionJson;
use coredock_domain::firmware::{BundleError, BundleRules, FirmwareBundle, ImageGate};
use coredock_domain::ids::ModelCode;
use coredock_domain::ids::VersionText;
use coredock_testkit::firmware::{BundleBuilder, ImageBuilder, ZipEntry, full_image};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

/// Little more than the bundles below need.
const ENTRY_BYTES: u64 = 8 * 1024;
const TOTAL_BYTES: u64 = 10 * 1024;
const GATES: [ImageGate; 3] = [ImageGate::Standard, ImageGate::Full, ImageGate::AppInfo];

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn open(bytes: &[u8], gate: ImageGate) -> Result<FirmwareBundle, BundleError> {
    let spool = SpoolDirectory::new(std::env::temp_dir());
    let mut body = spool.create().unwrap();
    body.write_all(bytes).unwrap();
    let rules = BundleRules { entry_bytes: ENTRY_BYTES, total_bytes: TOTAL_BYTES, gate };
    let model = ModelCode::parse("demo").unwrap();
    FirmwareBundle::open(&body.finish(), &model, rules, &spool)
}

/// Counts the bytes written to it.
struct Counter(u64);

impl Write for Counter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The properties which hold for all bytes.
fn assert_harmless(bytes: &[u8], gate: ImageGate) {
    match open(bytes, gate) {
        Ok(bundle) => {
            let sizes = ArtifactName::ALL.map(|name| bundle.artifact(name).length());
            assert!(sizes.iter().all(|size| *size <= ENTRY_BYTES));
            assert!(sizes.iter().sum::<u64>() <= TOTAL_BYTES);
            assert!(VersionText::of_upload(bundle.version().as_str()).is_some());
        }
        Err(error) => {
            assert!(!error.is_outage(), "{error:?}");
            assert!(error.to_string().len() < 10_000);
        }
    }
    assert_bounded(bytes);
}

/// If the bytes are an archive, each entry can be unpacked within the limits.
fn assert_bounded(bytes: &[u8]) {
    let Ok(mut archive) = Archive::open(Cursor::new(bytes)) else { return };
    for entry in archive.entries().to_vec() {
        let caps = OutputCaps { bytes: 3000, ratio_from: 1000, ratio: 20 };
        let mut output = Counter(0);
        let result = archive.extract(&entry, caps, &mut output);
        assert!(output.0 <= caps.bytes);
        match result {
            Ok(produced) => assert_eq!(produced, output.0),
            Err(error) => assert!(!matches!(error, ArchiveError::Io(_)), "{error:?}"),
        }
    }
}

/// One change of a valid file.
#[derive(Debug, Clone)]
enum Change {
    Flip { at: Index, bit: u8 },
    Write { at: Index, value: u64, width: usize },
    Truncate { at: Index },
    Insert { at: Index, bytes: Vec<u8> },
    Remove { at: Index, length: usize },
    Repeat { from: Index, length: usize, at: Index },
}

impl Change {
    fn any() -> impl Strategy<Value = Self> {
        let at = any::<Index>;
        let edge = prop_oneof![
            select(vec![0, 1, 0x7f, 0xff, 0xffff, 0x7fff_ffff, 0xffff_ffff]),
            select(vec![u64::MAX, u64::MAX - 1, u64::MAX / 2, 1 << 63, 1 << 32]),
            0..10_000_u64,
        ];
        let width = select(vec![1, 2, 4, 8_usize]);
        prop_oneof![
            4 => (at(), 0..8_u8).prop_map(|(at, bit)| Self::Flip { at, bit }),
            6 => (at(), edge, width).prop_map(|(at, value, width)| Self::Write { at, value, width }),
            1 => at().prop_map(|at| Self::Truncate { at }),
            1 => (at(), vec(any::<u8>(), 1..40)).prop_map(|(at, bytes)| Self::Insert { at, bytes }),
            1 => (at(), 1..40_usize).prop_map(|(at, length)| Self::Remove { at, length }),
            1 => (at(), 1..300_usize, at())
                .prop_map(|(from, length, at)| Self::Repeat { from, length, at }),
        ]
    }

    /// Changes `bytes` at one of `places`, which are offsets into it.
    fn apply(&self, bytes: &mut Vec<u8>, places: &[usize]) {
        let place = |at: &Index| if places.is_empty() { 0 } else { *at.get(places) };
        let within = |at: &Index, bytes: &[u8]| place(at).min(bytes.len());
        match self {
            Self::Flip { at, bit } => {
                let at = within(at, bytes);
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << bit;
                }
            }
            Self::Write { at, value, width } => {
                let at = within(at, bytes);
                let bytes = bytes[at..].iter_mut();
                bytes.zip(&value.to_le_bytes()[..*width]).for_each(|(byte, new)| *byte = *new);
            }
            Self::Truncate { at } => bytes.truncate(within(at, bytes)),
            Self::Insert { at, bytes: new } => {
                let at = within(at, bytes);
                bytes.splice(at..at, new.iter().copied());
            }
            Self::Remove { at, length } => {
                let at = within(at, bytes);
                bytes.drain(at..(at + length).min(bytes.len()));
            }
            Self::Repeat { from, length, at } => {
                let (from, at) = (within(from, bytes), within(at, bytes));
                let again = bytes[from..(from + length).min(bytes.len())].to_vec();
                bytes.splice(at..at, again);
            }
        }
    }
}

/// The offsets of the records of an archive, where changes have the greatest effect.
fn records(zip: &[u8]) -> Vec<usize> {
    let records = (0..zip.len()).filter(|at| zip[*at..].starts_with(b"PK"));
    records.flat_map(|at| at..(at + 80).min(zip.len())).collect()
}

fn good_bundles() -> Vec<Vec<u8>> {
    let builder = || {
        let image = full_image("1.2.3", 2000);
        BundleBuilder::new("demo", "1.2.3").bin(image)
    };
    vec![
        builder().build(),
        builder().change_all(ZipEntry::stored).build(),
        builder().change_all(ZipEntry::data_descriptor).build(),
        builder().change_all(ZipEntry::zip64).build(),
        builder().change_all(|entry| entry.zip64().stored().data_descriptor()).build(),
        builder().archive(|archive| archive.comment(b"PK\x05\x06 comment")).build(),
        builder().entry(ZipEntry::bomb("demo.map", 1 << 20)).build(),
    ]
}

/// A changed bundle: at its records, or anywhere.
fn changed_bundle() -> impl Strategy<Value = Vec<u8>> {
    let changes = vec((any::<bool>(), Change::any()), 1..5);
    (select(good_bundles()), changes).prop_map(|(mut zip, changes)| {
        for (anywhere, change) in changes {
            let places = if anywhere { (0..zip.len()).collect() } else { records(&zip) };
            change.apply(&mut zip, &places);
        }
        zip
    })
}

#[test]
fn the_bundles_that_are_changed_are_valid_except_the_bomb() {
    let bundles = good_bundles();
    let (bomb, good) = bundles.split_last().unwrap();
    for (zip, gate) in good.iter().flat_map(|zip| GATES.map(|gate| (zip, gate))) {
        open(zip, gate).unwrap();
    }
    assert!(open(bomb, ImageGate::Standard).unwrap_err().is_too_large());
}

#[test]
fn any_single_byte_of_the_records_may_be_anything() {
    for good in [&good_bundles()[0], &good_bundles()[4]] {
        let mut zip = good.clone();
        for at in records(good) {
            for byte in [0, 0xff, good[at] ^ 0x01, good[at] ^ 0x80, good[at].wrapping_add(1)] {
                zip[at] = byte;
                assert_harmless(&zip, ImageGate::Full);
            }
            zip[at] = good[at];
        }
    }
}

proptest! {
    #![proptest_config(cases(1000))]

    #[test]
    fn any_bytes_are_harmless_as_a_bundle(bytes in vec(any::<u8>(), 0..600), zip in any::<bool>()) {
        let start: &[u8] = if zip { b"PK\x03\x04" } else { b"" };
        assert_harmless(&[start, &bytes].concat(), ImageGate::Full);
    }

    #[test]
    fn any_bytes_before_an_end_record_are_harmless(
        bytes in vec(any::<u8>(), 0..200),
        entries in 0..4_u16,
        length in 0..200_u32,
        offset in 0..200_u32,
    ) {
        let mut zip = [b"PK\x03\x04", bytes.as_slice()].concat();
        zip.extend(b"PK\x05\x06\0\0\0\0");
        zip.extend(entries.to_le_bytes().repeat(2));
        zip.extend(length.to_le_bytes());
        zip.extend(offset.to_le_bytes());
        zip.extend([0; 2]);
        assert_harmless(&zip, ImageGate::Full);
    }
}

proptest! {
    #![proptest_config(cases(4000))]

    #[test]
    fn a_changed_bundle_is_harmless(zip in changed_bundle(), gate in select(GATES.to_vec())) {
        assert_harmless(&zip, gate);
    }
}

/// How one entry is packed.
fn packing() -> impl Strategy<Value = fn(ZipEntry) -> ZipEntry> {
    select(vec![
        (|entry| entry) as fn(ZipEntry) -> ZipEntry,
        ZipEntry::stored,
        ZipEntry::data_descriptor,
        ZipEntry::zip64,
        |entry| entry.zip64().stored(),
        |entry| entry.zip64().data_descriptor(),
    ])
}

proptest! {
    #![proptest_config(cases(500))]

    #[test]
    fn a_good_bundle_opens_to_exactly_its_entries(
        version in "[A-Za-z0-9][A-Za-z0-9._+-]{0,31}",
        length in 288..2000_usize,
        contents in [vec(any::<u8>(), 0..1500), vec(any::<u8>(), 0..1500), vec(any::<u8>(), 0..1500)],
        packings in [packing(), packing(), packing(), packing(), packing()],
        order in Just([0, 1, 2, 3, 4_usize]).prop_shuffle(),
        comment in vec(any::<u8>(), 0..50),
    ) {
        let [elf, map, sdkconfig] = contents;
        let image = ImageBuilder::new(&version, length).of_elf(&elf).build_full();
        let version_json = br#"{"git_commit":"a","idf_version":"b","firmware_version":"c"}"#.to_vec();
        let names = ["demo.bin", "demo.elf", "demo.map", "sdkconfig", "version.json"];
        let contents = [image, elf, map, sdkconfig, version_json];
        let plain = names.iter().fold(BundleBuilder::new("demo", "x"), |bundle, name| bundle.without(name));
        let zip = order.iter().fold(plain, |bundle, at| {
            bundle.append(packings[*at](ZipEntry::new(names[*at], contents[*at].clone())))
        });
        // A comment may contain an end record; then it is another archive.
        let has_end = comment.windows(4).any(|bytes| bytes == b"PK\x05\x06");
        prop_assume!(!has_end);
        let zip = zip.archive(|archive| archive.comment(&comment)).build();
        let bundle = open(&zip, ImageGate::Full).unwrap();
        prop_assert_eq!(bundle.version().as_str(), version);
        let artifacts = [
            ArtifactName::Bin,
            ArtifactName::Elf,
            ArtifactName::Map,
            ArtifactName::Sdkconfig,
            ArtifactName::VersionJson,
        ];
        for (name, content) in artifacts.into_iter().zip(&contents) {
            let (file, facts) = (bundle.artifact(name), bundle.facts().of(name));
            prop_assert_eq!(file.sha256(), Sha256Digest::of(content));
            prop_assert_eq!(file.length(), content.len() as u64);
            prop_assert_eq!((facts.size, facts.sha256), (file.length(), file.sha256()));
            let mut bytes = Vec::new();
            io::copy(&mut file.reader(), &mut bytes).unwrap();
            prop_assert_eq!(&bytes, content);
        }
    }
}

fn assert_image_harmless(bytes: &[u8]) {
    for strict_magic in [true, false] {
        match ImageHead::parse(bytes, bytes.len() as u64, strict_magic) {
            Ok(head) => {
                let texts = [&head.project_name, &head.idf_version, &head.chip];
                assert!(texts.into_iter().all(|text| !text.contains(char::is_control)));
                assert!(head.version.len() <= 32 && !head.version.contains(&0));
            }
            Err(error) => assert!(!matches!(error, ImageError::Io(_))),
        }
    }
    assert!(!matches!(check_integrity(bytes), Err(ImageError::Io(_))));
}

proptest! {
    #![proptest_config(cases(2000))]

    #[test]
    fn any_bytes_are_harmless_as_an_image(bytes in vec(any::<u8>(), 0..700)) {
        assert_image_harmless(&bytes);
    }

    #[test]
    fn any_descriptor_is_harmless(bytes in vec(any::<u8>(), 288..700)) {
        let mut image = bytes;
        image[0] = 0xe9;
        image[32..36].copy_from_slice(&0xabcd_5432_u32.to_le_bytes());
        assert_image_harmless(&image);
    }

    #[test]
    fn a_changed_image_is_harmless(changes in vec((any::<bool>(), Change::any()), 1..5)) {
        let mut image = full_image("1.2.3", 1000);
        for (anywhere, change) in changes {
            let places: Vec<_> = (0..if anywhere { image.len() } else { 288 }).collect();
            change.apply(&mut image, &places);
        }
        assert_image_harmless(&image);
    }

    #[test]
    fn any_bytes_are_harmless_as_version_json(
        bytes in vec(any::<u8>(), 0..100),
        mark in select(vec![&b""[..], b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff"]),
    ) {
        let _ = VersionJson::parse(&[mark, &bytes].concat());
    }

    #[test]
    fn a_version_json_of_any_members_shows_a_short_printable_commit_or_none(
        commit in prop_oneof![any::<String>(), ".{0,80}", Just("\u{85}".to_owned())],
        encoding in 0..4_u8,
    ) {
        let commit = serde_json::Value::from(commit);
        let text = format!(r#"{{"git_commit":{commit},"idf_version":[],"firmware_version":{{}}}}"#);
        let units = |to_bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(to_bytes).collect();
        let bytes: Vec<u8> = match encoding {
            0 => text.clone().into_bytes(),
            1 => [b"\xef\xbb\xbf", text.as_bytes()].concat(),
            2 => [b"\xff\xfe".to_vec(), units(u16::to_le_bytes)].concat(),
            _ => [b"\xfe\xff".to_vec(), units(u16::to_be_bytes)].concat(),
        };
        let parsed = VersionJson::parse(&bytes).unwrap();
        if let Some(shown) = &parsed.git_commit {
            prop_assert!(shown.chars().count() <= 64 && !shown.contains(char::is_control));
            prop_assert_eq!(Some(shown.as_str()), commit.as_str());
        }
    }
}

#[test]
fn any_flipped_bit_of_a_full_image_is_noticed() {
    let good = full_image("1.2.3", 288);
    check_integrity(good.as_slice()).unwrap();
    let mut image = good.clone();
    // Byte 23 says whether there is a hash at all.
    for at in (0..good.len()).filter(|at| *at != 23) {
        for bit in 0..8 {
            image[at] ^= 1 << bit;
            assert!(check_integrity(image.as_slice()).is_err(), "bit {bit} of byte {at}");
            image[at] = good[at];
        }
    }
}
