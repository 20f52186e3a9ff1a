//! Row 8: the content of the entries.

use coredock_domain::artifacts::key::ArtifactName;
use coredock_domain::firmware::archive::{Archive, ArchiveError, OutputCaps};
use coredock_domain::firmware::{BundleError, BundleRules};
use coredock_testkit::firmware::{ZipBuilder, ZipEntry, bundle};

use crate::{
    DEFAULTS, ENTRIES, MIB, assert_same_set, builder, central, local, message, open, open_with,
    patch, patched, refusal, refusal_with, spool,
};

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
                let damage = "its length is not the one in the central directory";
                assert_eq!(entry_damage(&zip), (name.to_owned(), damage));
            }
        }
        // A length of 2^64 - 1.
        let huge = builder().change(name, |entry| entry.zip64().claimed_size(u64::MAX)).build();
        assert_eq!(entry_damage(&huge).0, name);
    }
}

#[test]
fn data_that_is_not_deflated_is_refused() {
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
fn entries_that_share_bytes_are_refused() {
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
fn a_bomb_that_states_ten_bytes_stops_at_the_limit() {
    let rules = BundleRules { entry_bytes: MIB, ..DEFAULTS };
    for name in ENTRIES {
        let error = refusal_with(&builder().entry(ZipEntry::bomb(name, 100 * MIB)).build(), rules);
        assert!(error.is_too_large());
        assert_eq!(error.to_string(), format!("entry {name} has more than {MIB} bytes"));
    }
}

#[test]
fn a_bomb_below_the_limit_is_refused_for_its_ratio() {
    let error = refusal(&builder().entry(ZipEntry::bomb("demo.map", 9 * MIB)).build());
    assert!(
        matches!(&error, BundleError::Archive(ArchiveError::Ratio(name)) if name == "demo.map")
    );
    assert!(!error.is_too_large());
    assert!(error.to_string().contains("200 : 1"));
}

#[test]
fn the_ratio_is_not_checked_up_to_eight_mib() {
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
fn an_entry_may_have_as_many_bytes_as_the_limit() {
    let zip = bundle("1.2.3");
    open_with(&zip, BundleRules { entry_bytes: 4096, ..DEFAULTS }).unwrap();
    let error = refusal_with(&zip, BundleRules { entry_bytes: 4095, ..DEFAULTS });
    assert_eq!(error.to_string(), "entry demo.bin has more than 4095 bytes");
    assert!(error.is_too_large());
}

#[test]
fn all_entries_together_may_have_as_many_bytes_as_the_limit() {
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
