//! Row 7: the names of the entries.

use coredock_domain::firmware::BundleError;
use coredock_testkit::firmware::{BundleBuilder, ZipBuilder, ZipEntry, bundle, image};

use crate::{DEFAULTS, builder, message, open_as, refusal};

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
    let zip = builder().append(ZipEntry::new("zz", "")).append(ZipEntry::new("dir/", "")).build();
    assert!(matches!(refusal(&zip), BundleError::Unexpected(_)));
    assert!(message(&zip).contains("unexpected entries: dir/, zz"));
}

#[test]
fn duplicate_entries_are_listed_sorted_and_once() {
    let zip = builder().duplicate("sdkconfig").duplicate("demo.bin").duplicate("demo.bin").build();
    assert!(matches!(refusal(&zip), BundleError::Duplicates(_)));
    assert!(message(&zip).ends_with("duplicate entries: demo.bin, sdkconfig"));
    let foreign = builder().append(ZipEntry::new("x", "")).append(ZipEntry::new("x", "y")).build();
    assert!(message(&foreign).ends_with("duplicate entries: x"));
}

#[test]
fn duplicates_come_before_missing_names_and_these_before_extras() {
    let zip = builder().without("demo.elf").append(ZipEntry::new("zz", ""));
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
        let extra = builder().append(ZipEntry::new(other, "")).build();
        assert!(
            matches!(refusal(&extra), BundleError::Unexpected(names) if names == [other]),
            "{other}"
        );
        let instead = builder()
            .without("demo.bin")
            .append(ZipEntry::new(other, image("1.2.3", 4096)))
            .build();
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
fn names_that_are_not_utf8_count_as_extra_entries() {
    let zip = builder().append(ZipEntry::new(b"\xff\xfe", "")).build();
    assert!(message(&zip).contains('\u{fffd}'));
}

#[test]
fn a_message_names_at_most_twenty_entries_and_shortens_long_names() {
    let entry = |n: u16| ZipEntry::new(format!("{n:03}{}", "x".repeat(500)), "");
    let text = message(&(0..300).map(entry).fold(builder(), BundleBuilder::append).build());
    assert!(text.contains("000xxx") && text.contains("019xxx") && !text.contains("020xxx"));
    assert!(text.ends_with(" and 280 more"));
    assert!(text.len() < 2500);
}
