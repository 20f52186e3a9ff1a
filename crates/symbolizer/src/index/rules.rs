//! Unwind rules as bytes. A firmware has few different rules.

use std::collections::HashMap;

use crate::elf::{SavedAt, UnwindRule};
use crate::sources::NONE;
use crate::words::u32_at;

/// Registers of one rule.
const MAX_SAVED: usize = 64;

/// Each rule once.
#[derive(Default)]
pub(super) struct Rules {
    pub(super) bytes: Vec<u8>,
    offsets: HashMap<UnwindRule, u32>,
}

impl Rules {
    /// The offset of a rule; [`NONE`] without a rule.
    pub(super) fn add(&mut self, rule: Option<UnwindRule>) -> u32 {
        let Some(rule) = rule else { return NONE };
        if let Some(start) = self.offsets.get(&rule) {
            return *start;
        }
        let start = u32::try_from(self.bytes.len()).unwrap_or(NONE);
        let count = rule.saved.len().min(MAX_SAVED);
        self.bytes.extend([rule.cfa.0, u8::try_from(count).unwrap_or_default()]);
        self.bytes.extend(rule.cfa.1.to_le_bytes());
        self.add_saved(rule.return_address_register, rule.return_address);
        for (register, at) in rule.saved.iter().take(MAX_SAVED) {
            self.add_saved(*register, *at);
        }
        self.offsets.insert(rule, start);
        start
    }

    fn add_saved(&mut self, register: u8, at: SavedAt) {
        let (kind, value) = match at {
            SavedAt::Nowhere => (0, 0),
            SavedAt::Same => (1, 0),
            SavedAt::AtCfaOffset(offset) => (2, offset),
            SavedAt::CfaPlus(offset) => (3, offset),
            SavedAt::Register(other) => (4, other.into()),
        };
        self.bytes.extend([register, kind]);
        self.bytes.extend(value.to_le_bytes());
    }
}

/// The rule at an offset.
pub(super) fn read(bytes: &[u8], start: u32) -> Option<UnwindRule> {
    let bytes = bytes.get(usize::try_from(start).ok()?..)?;
    let [register, count, rest @ ..] = bytes else { return None };
    let offset = u32_at(rest, 0)?.cast_signed();
    let entries = rest.get(4..)?.as_chunks::<6>().0;
    let entries = entries.get(..=usize::from(*count).min(MAX_SAVED))?;
    let mut entries = entries.iter().copied().map(entry);
    let (return_address_register, return_address) = entries.next()??;
    let saved = entries.collect::<Option<_>>()?;
    Some(UnwindRule { cfa: (*register, offset), return_address_register, return_address, saved })
}

fn entry(bytes: [u8; 6]) -> Option<(u8, SavedAt)> {
    let [register, kind, value @ ..] = bytes;
    let value = i32::from_le_bytes(value);
    let at = match kind {
        0 => SavedAt::Nowhere,
        1 => SavedAt::Same,
        2 => SavedAt::AtCfaOffset(value),
        3 => SavedAt::CfaPlus(value),
        4 => SavedAt::Register(u8::try_from(value).ok()?),
        _ => return None,
    };
    Some((register, at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules_are_read_back() {
        let rule = |offset| UnwindRule {
            cfa: (2, offset),
            return_address_register: 5,
            return_address: SavedAt::AtCfaOffset(-4),
            saved: vec![
                (1, SavedAt::AtCfaOffset(-4)),
                (8, SavedAt::Register(31)),
                (9, SavedAt::CfaPlus(16)),
            ],
        };
        let mut rules = Rules::default();
        let offsets =
            [rules.add(Some(rule(16))), rules.add(Some(rule(32))), rules.add(Some(rule(16)))];
        assert_eq!(offsets[0], offsets[2]);
        assert_eq!(read(&rules.bytes, offsets[1]), Some(rule(32)));
        let none = rules.add(None);
        assert_eq!(read(&rules.bytes, none), None);
        for start in 0..rules.bytes.len() {
            let _ = read(&rules.bytes[..rules.bytes.len() - 1], u32::try_from(start).unwrap());
        }
    }
}
