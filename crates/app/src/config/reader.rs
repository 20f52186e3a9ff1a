//! Checks texts against the table of settings and returns typed values; every fault is collected.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;

use super::settings::{Availability, Rule, SETTINGS, Setting, TEN_YEARS_SECONDS, lookup};
use super::sources::Sources;

/// Reads settings one by one. A faulty setting is recorded and read as its default; a name which is
/// not in the table panics, whether it is set or not.
pub(super) struct Reader<'a> {
    sources: &'a Sources,
    faults: Vec<String>,
}

impl<'a> Reader<'a> {
    /// Checks every row of the table at once.
    pub(super) fn new(sources: &'a Sources, mut faults: Vec<String>) -> Self {
        let testing = sources.get("COREDOCK_ENV") == Some("testing");
        for setting in SETTINGS {
            let Some(text) = sources.get(setting.name) else { continue };
            if let Err(fault) = check(setting.rule, text, testing) {
                faults.push(format!("{}: {fault}", setting.name));
            } else if let Some(part) = unbuilt_part(setting, text) {
                faults.push(not_built(setting.name, part));
            }
        }
        Self { sources, faults }
    }

    /// Records a fault which concerns several settings.
    pub(super) fn fault(&mut self, fault: impl Into<String>) {
        self.faults.push(fault.into());
    }

    pub(super) fn finish(self) -> Vec<String> {
        self.faults
    }

    /// Whether a source sets it; the default does not count.
    pub(super) fn is_set(&self, name: &str) -> bool {
        self.set(name).is_some()
    }

    /// `None` if it is not set and has no default.
    pub(super) fn optional(&self, name: &str) -> Option<String> {
        let default = lookup(name).default;
        let text = self.set(name).or_else(|| Some(default).filter(|text| !text.is_empty()));
        text.map(str::to_owned)
    }

    /// Empty if it is not set and has no default.
    pub(super) fn text(&self, name: &str) -> String {
        self.optional(name).unwrap_or_default()
    }

    pub(super) fn integer(&self, name: &str) -> u64 {
        self.parsed(name, parse_integer).unwrap_or_default()
    }

    /// `None` if it is not set and has no default.
    pub(super) fn optional_integer(&self, name: &str) -> Option<u64> {
        self.parsed(name, parse_integer)
    }

    pub(super) fn seconds(&self, name: &str) -> Duration {
        Duration::from_secs(self.integer(name))
    }

    pub(super) fn all_seconds(&self, name: &str) -> Vec<Duration> {
        let text = self.text(name);
        let seconds = split_list(&text).filter_map(parse_integer);
        seconds.map(Duration::from_secs).collect()
    }

    pub(super) fn boolean(&self, name: &str) -> bool {
        self.parsed(name, parse_bool).unwrap_or_default()
    }

    /// URLs without their trailing slashes.
    pub(super) fn urls(&self, name: &str) -> Vec<String> {
        split_list(&self.text(name)).map(|url| url.trim_end_matches('/').to_owned()).collect()
    }

    pub(super) fn networks(&self, name: &str) -> Vec<IpNet> {
        split_list(&self.text(name)).filter_map(parse_network).collect()
    }

    /// The set value if it can be read, else the default.
    fn parsed<T>(&self, name: &str, parse: fn(&str) -> Option<T>) -> Option<T> {
        self.set(name).and_then(parse).or_else(|| parse(lookup(name).default))
    }

    fn set(&self, name: &str) -> Option<&str> {
        self.sources.get(lookup(name).name)
    }
}

fn not_built(name: &str, part: &str) -> String {
    format!("{name}: enables {part}, which this version does not have; remove the setting")
}

fn unbuilt_part(setting: &Setting, text: &str) -> Option<&'static str> {
    match setting.availability {
        Availability::Implemented | Availability::ImplementedSecret | Availability::Inert => None,
        Availability::EnablesUnbuilt(part) => Some(part),
        Availability::ValuesEnableUnbuilt(values, part) => {
            let is_bool = matches!(setting.rule, Rule::Bool);
            let on =
                |value: &&str| text == *value || is_bool && parse_bool(text) == parse_bool(value);
            values.iter().any(on).then_some(part)
        }
    }
}

fn check(rule: Rule, text: &str, testing: bool) -> Result<(), String> {
    match rule {
        Rule::Text => Ok(()),
        Rule::Bool => parse_bool(text)
            .map(drop)
            .ok_or_else(|| format!("expected true or false, found {text}")),
        Rule::Integer { min, max } => check_integer(text, min, max),
        Rule::SweepSeconds(least) => {
            check_integer(text, if testing { 1 } else { least }, TEN_YEARS_SECONDS)
        }
        Rule::Choice(words) if words.contains(&text) => Ok(()),
        Rule::Choice(words) => Err(format!("expected one of {}; found {text}", words.join(", "))),
        Rule::HttpUrl => check_url(text),
        Rule::HttpUrls => split_list(text).try_for_each(check_url),
        Rule::Networks => split_list(text).try_for_each(check_network),
        Rule::Seconds => {
            split_list(text).try_for_each(|item| check_integer(item, 0, TEN_YEARS_SECONDS))
        }
    }
}

fn check_integer(text: &str, least: u64, most: u64) -> Result<(), String> {
    let range = match most {
        u64::MAX => format!("at least {least}"),
        most => format!("from {least} to {most}"),
    };
    match parse_integer(text) {
        Some(number) if (least..=most).contains(&number) => Ok(()),
        _ => Err(format!("expected a whole number {range}, found {text}")),
    }
}

fn check_url(text: &str) -> Result<(), String> {
    let rest = text.strip_prefix("http://").or_else(|| text.strip_prefix("https://"));
    let plausible = |rest: &str| {
        !rest.is_empty()
            && !rest.starts_with('/')
            && !rest.contains(|c: char| c.is_whitespace() || c.is_control() || c == '"')
    };
    // The text may contain a password.
    if rest.is_some_and(plausible) { Ok(()) } else { Err("expected an http or https URL".into()) }
}

fn check_network(text: &str) -> Result<(), String> {
    let expected = || format!("expected an IP address or a range such as 10.0.0.0/8, found {text}");
    parse_network(text).map(drop).ok_or_else(expected)
}

/// An address is the range of itself.
fn parse_network(text: &str) -> Option<IpNet> {
    let address = || text.parse::<IpAddr>().ok().map(IpNet::from);
    text.parse().ok().or_else(address)
}

fn parse_integer(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn parse_bool(text: &str) -> Option<bool> {
    match text.to_ascii_lowercase().as_str() {
        "true" | "1" | "yes" | "on" => Some(true),
        "false" | "0" | "no" | "off" => Some(false),
        _ => None,
    }
}

/// Items of a JSON array or of a comma-separated list.
fn split_list(text: &str) -> impl Iterator<Item = &str> {
    let text = text.trim();
    let inner = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(text);
    inner.split(',').map(|item| item.trim().trim_matches('"')).filter(|item| !item.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[should_panic = "NO_SUCH_SETTING is not in the table of settings"]
    fn a_name_which_is_not_in_the_table_is_a_mistake_in_the_code() {
        let sources = Sources::default();
        Reader::new(&sources, Vec::new()).is_set("NO_SUCH_SETTING");
    }
}
