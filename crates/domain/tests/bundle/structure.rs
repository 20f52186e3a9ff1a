//! Rows 5 and 6: the first four bytes and the structure of the archive.

use coredock_domain::firmware::BundleError;
use coredock_domain::firmware::archive::ArchiveError;
use coredock_testkit::firmware::{BundleBuilder, ZipBuilder, ZipEntry, bundle, image};

use crate::{builder, central, end, message, patch, patched, refusal};

#[test]
fn a_body_that_does_not_start_like_a_zip_is_refused() {
    let junk_before = builder().archive(|archive| archive.prefix(b"#!/bin/sh\n")).build();
    let empty = ZipBuilder::new().build();
    for bytes in [&b""[..], b"PK", b"PK\x03", &image("1.2.3", 4096), &empty, &junk_before] {
        assert!(matches!(refusal(bytes), BundleError::NotAZip));
        assert!(message(bytes).contains("50 4B 03 04"));
    }
}

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
fn a_directory_that_contradicts_the_end_record_is_refused() {
    let wrong: [(usize, &[u8]); 7] = [
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
    for (at, bytes) in wrong {
        let zip = patched(|zip| end(zip) + at, bytes);
        let error = refusal(&zip);
        assert!(matches!(error, BundleError::Archive(ArchiveError::Damaged(_))), "{at} {bytes:?}");
    }
}

#[test]
fn wrong_zip64_records_are_refused() {
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
    // Sizes that refer to a missing extra field.
    for at in [20, 24, 42] {
        let zip = patched(|zip| central(zip, "demo.bin") + at, &[0xff; 4]);
        assert!(matches!(refusal(&zip), BundleError::Archive(ArchiveError::Damaged(_))));
    }
}

#[test]
fn a_huge_directory_is_refused_without_reading_it() {
    let long = |n: u8| ZipEntry::new(vec![b'a' + n; 60_000], "");
    let zip = (0..20).map(long).fold(builder(), BundleBuilder::append).build();
    assert!(message(&zip).contains("larger than 1 MiB"));
}
