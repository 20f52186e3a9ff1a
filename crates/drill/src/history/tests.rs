use std::time::Duration;

use tempfile::TempDir;

use super::super::dice::Dice;
use super::super::events::{Post, Span};
use super::super::fleet::Device;
use super::*;

const DUMP: &[u8] = b"a dump";

/// A history in which the first device has sent [`DUMP`].
fn history() -> History {
    let mut history = History::new(Material::new(&mut Dice::new(1)));
    history.fleet.models = vec![1, 2];
    history.fleet.devices = vec![Device { id: 1, key: "abcd2345".into(), model: 0 }];
    let Fact { sha256, size } = Fact::of(DUMP);
    let post = Post {
        device: 0,
        sha256,
        size,
        chip: "esp32s3".into(),
        version: "1.0.0".into(),
        span: Span { sent: Duration::ZERO, answered: None },
        id: None,
        is_rescued: false,
    };
    let events = Events { posts: vec![post], ..Events::default() };
    history.compare(&events, &Rows::default(), &mut Findings::default()).unwrap();
    history
}

#[test]
fn a_part_of_a_file_and_a_body_that_was_never_sent_are_found() {
    let (history, directory) = (history(), TempDir::new().unwrap());
    let place = |key: &str, bytes: &[u8]| {
        let path = directory.path().join(key);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    };
    let strange = || {
        let mut findings = Findings::default();
        history.check_whole(&Objects::read(directory.path()).unwrap(), &mut findings);
        findings.violations_of(Rule::WholeFiles)
    };
    place("coredumps/abcd2345/1.dmp", DUMP);
    place("coredock/owner", b"anything");
    assert_eq!(strange(), 0);
    place("coredumps/abcd2345/1.dmp", &DUMP[..4]);
    assert_eq!(strange(), 1);
    place("coredumps/22222222/2.dmp", DUMP);
    place("coredumps/notes", b"");
    let version = history.material.sets[0].version;
    place(&format!("firmware/{}/{version}/firmware.bin", MODELS[0]), b"half");
    assert_eq!(strange(), 4);
}
