//! Bundles that are accepted.

use coredock_domain::artifacts::key::ArtifactName;
use coredock_testkit::firmware::{ZipEntry, bundle, elf0, image};

use crate::{APPINFO, DEFAULTS, FULL, assert_same_set, builder, img, open, open_as};

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
        .append(ZipEntry::new("demo.elf", elf0()))
        .append(ZipEntry::new("demo.bin", image("1.2.3", 4096)));
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
fn empty_entries_are_allowed_if_their_content_is_not_read() {
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
            include_bytes!("../../../testkit/fixtures/firmware/thermostat-1.4.2.zip"),
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
            include_bytes!("../../../testkit/fixtures/firmware/thermostat-1.5.0.zip"),
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
