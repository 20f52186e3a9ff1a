//! The sources of settings: file, environment, command line; the last one wins.

use std::collections::BTreeMap;
use std::path::Path;

use config::{FileFormat, Map, Source, Value, ValueKind};

use super::settings::{SETTINGS, is_legacy};

/// Texts by upper-case name; an empty text counts as not set.
#[derive(Debug, Clone, Default)]
pub(super) struct Sources {
    texts: BTreeMap<String, String>,
}

impl Sources {
    /// Reads a TOML file; unknown names are faults.
    pub(super) fn read_file(&mut self, path: &Path, faults: &mut Vec<String>) {
        let shown = path.display();
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => return faults.push(format!("COREDOCK_CONFIG: {shown}: {error}")),
        };
        let file = config::File::from_str(&text, FileFormat::Toml);
        let values: Map<String, Value> = match file.collect() {
            Ok(values) => values,
            Err(error) => {
                let reason = without_source(&error.to_string());
                return faults.push(format!("COREDOCK_CONFIG: {shown}: {reason}"));
            }
        };
        for (name, value) in values {
            let known = name.to_ascii_uppercase();
            if !is_known(&known) {
                faults.push(format!("{known}: unknown setting in {shown}"));
            } else if let Some(text) = text_of(&value) {
                self.set(&known, text);
            } else {
                faults.push(format!("{known}: must be a text, number, boolean or list in {shown}"));
            }
        }
    }

    /// Reads the variables with known names and ignores the others.
    pub(super) fn read_environment(
        &mut self,
        variables: &BTreeMap<String, String>,
        faults: &mut Vec<String>,
    ) {
        for (name, value) in variables {
            if is_known(name) && value.contains(char::REPLACEMENT_CHARACTER) {
                faults.push(format!("{name}: must be UTF-8"));
            } else if is_known(name) && !value.is_empty() {
                self.set(name, value.clone());
            }
        }
    }

    pub(super) fn set(&mut self, name: &str, text: String) {
        self.texts.insert(name.to_owned(), text);
    }

    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(|text| text.trim()).filter(|text| !text.is_empty())
    }
}

/// The parser's message without the line it quotes, which may contain a secret.
fn without_source(error: &str) -> String {
    let is_quote = |line: &str| {
        line.trim_start_matches(|c: char| c == ' ' || c.is_ascii_digit()).starts_with('|')
    };
    error.lines().filter(|line| !is_quote(line)).collect::<Vec<_>>().join(": ")
}

fn is_known(name: &str) -> bool {
    SETTINGS.iter().any(|setting| setting.name == name) || is_legacy(name)
}

fn text_of(value: &Value) -> Option<String> {
    match &value.kind {
        ValueKind::String(text) => Some(text.clone()),
        ValueKind::Boolean(on) => Some(on.to_string()),
        ValueKind::I64(number) => Some(number.to_string()),
        ValueKind::U64(number) => Some(number.to_string()),
        ValueKind::Array(items) => {
            let items: Option<Vec<String>> = items.iter().map(text_of).collect();
            Some(items?.join(","))
        }
        ValueKind::Nil
        | ValueKind::I128(_)
        | ValueKind::U128(_)
        | ValueKind::Float(_)
        | ValueKind::Table(_) => None,
    }
}
