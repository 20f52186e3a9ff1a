//! `deploy/env.example` lists the settings that have an effect.

#![expect(clippy::unwrap_used, reason = "helpers of tests, outside of test functions")]

use std::collections::BTreeMap;
use std::path::Path;

use coredock::config::settings::{Availability, SETTINGS, Setting};

/// The settings of the example by name, each with the value shown.
fn example() -> BTreeMap<String, String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/env.example");
    let text = std::fs::read_to_string(path).unwrap();
    let mut shown = BTreeMap::new();
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with("# ")) {
        let setting = line.strip_prefix('#').and_then(|setting| setting.split_once('='));
        let (name, value) = setting.unwrap_or_else(|| panic!("expected #NAME=value, found {line}"));
        let twice = shown.insert(name.to_owned(), value.to_owned());
        assert_eq!(twice, None, "{name} is listed twice");
    }
    shown
}

fn works(setting: &Setting) -> bool {
    matches!(setting.availability, Availability::Implemented | Availability::ImplementedSecret)
}

#[test]
fn the_example_shows_every_setting_that_works_with_its_default() {
    let shown = example();
    for setting in SETTINGS.iter().filter(|setting| works(setting)) {
        let value = shown.get(setting.name);
        let value = value.unwrap_or_else(|| panic!("{} is missing", setting.name));
        if !setting.default.is_empty() {
            assert_eq!(value, setting.default, "{}", setting.name);
        }
    }
}

#[test]
fn the_example_shows_nothing_that_does_not_work() {
    let working: Vec<&str> =
        SETTINGS.iter().filter(|setting| works(setting)).map(|setting| setting.name).collect();
    for name in example().keys() {
        assert!(working.contains(&name.as_str()), "{name} does not work or does not exist");
    }
}

#[test]
fn the_example_explains_every_setting() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy/env.example");
    let text = std::fs::read_to_string(path).unwrap();
    let mut above = "";
    for line in text.lines() {
        if line.starts_with('#') && !line.starts_with("# ") {
            assert!(above.starts_with("# "), "{line} has no comment");
        }
        above = line;
    }
}
