//! Rows 10 to 15: the image.

use coredock_domain::digest::Sha256Digest;
use coredock_domain::firmware::BundleError;
use coredock_domain::firmware::image::ImageError;
use coredock_testkit::firmware::{ImageBuilder, bundle, elf0, full_image, image};

use crate::{
    APPINFO, DEFAULTS, FULL, builder, img, message, open, open_with, refusal, refusal_with,
    with_image,
};

#[test]
fn an_image_has_at_least_288_bytes() {
    open(&with_image(image("1.2.3", 288))).unwrap();
    for length in [0, 1, 32, 287] {
        for rules in [DEFAULTS, FULL, APPINFO] {
            let error = refusal_with(&with_image(image("1.2.3", length)), rules);
            assert!(
                matches!(error, BundleError::Image(ImageError::TooShort { actual }) if actual == length as u64)
            );
            assert!(error.to_string().contains("at least 288 bytes, found"));
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
fn the_descriptor_is_at_offset_32() {
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
            assert!(matches!(error, BundleError::Version { .. }), "{bad:?}");
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
fn an_image_without_a_build_id_is_accepted_with_any_elf() {
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

#[test]
fn only_the_full_gate_checks_the_whole_image() {
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
fn the_full_gate_names_the_fault() {
    let good = full_image("1.2.3", 4096);
    let checksum = good.len() - 33;
    let changes: [(usize, u8, &str); 6] = [
        (1, 0, "1 to 16 segments"),
        (1, 17, "1 to 16 segments"),
        (31, 0x7f, "a segment reaches beyond its end"),
        (checksum, good[checksum] ^ 1, "expected checksum"),
        (1000, good[1000] ^ 1, "expected checksum"),
        (good.len() - 1, good[good.len() - 1] ^ 1, "expected SHA-256"),
    ];
    for (at, byte, expected) in changes {
        let mut image = good.clone();
        image[at] = byte;
        let error = refusal_with(&with_image(image), FULL);
        assert!(matches!(error, BundleError::Image(_)));
        assert!(error.to_string().contains(expected), "{at}: {error}");
    }
    // Two changes which leave the checksum as it is.
    let mut image = good.clone();
    (image[1000], image[1001]) = (image[1000] ^ 1, image[1001] ^ 1);
    assert!(refusal_with(&with_image(image), FULL).to_string().contains("expected SHA-256"));
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
