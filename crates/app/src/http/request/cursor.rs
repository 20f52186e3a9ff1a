//! Cursors of the lists of all dumps and of their groups (contract §1.9): a place in the order, bound to the filter it
//! was made under. The checksum catches edited and foreign cursors; there is nothing in one worth
//! forging.

use coredock_domain::coredumps::coredump::CoredumpSummary;
use coredock_domain::coredumps::groups::{CrashGroupFilter, CrashGroupPlace};
use coredock_domain::coredumps::repository::{CoredumpFilter, CoredumpPlace};
use coredock_domain::timestamp::Timestamp;
use sha2::{Digest, Sha256};

/// Bytes of time, id and checksum.
const LENGTH: usize = 24;

/// A place between two pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor(CoredumpPlace);

impl Cursor {
    /// The place behind this dump.
    pub const fn behind(dump: &CoredumpSummary) -> Self {
        Self(CoredumpPlace { uploaded_at: dump.uploaded_at, id: dump.id })
    }

    /// The place.
    pub const fn place(self) -> CoredumpPlace {
        self.0
    }

    /// The text to be sent back with the same filter.
    pub fn text(self, filter: &CoredumpFilter) -> String {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&self.0.uploaded_at.micros().to_be_bytes());
        bytes[8..16].copy_from_slice(&self.0.id.to_be_bytes());
        let sum = checksum("coredump", &bytes[..16], filter);
        bytes[16..].copy_from_slice(&sum);
        hex::encode(bytes)
    }

    /// Reads a text made under the same filter.
    pub fn read(text: &str, filter: &CoredumpFilter) -> Option<Self> {
        let mut bytes = [0; LENGTH];
        hex::decode_to_slice(text, &mut bytes).ok()?;
        let (micros, rest) = bytes.split_first_chunk::<8>()?;
        let (id, sum) = rest.split_first_chunk::<8>()?;
        let uploaded_at = Timestamp::from_micros(i64::from_be_bytes(*micros));
        let cursor = Self(CoredumpPlace { uploaded_at, id: i64::from_be_bytes(*id) });
        (sum == checksum("coredump", &bytes[..16], filter) && cursor.text(filter) == text)
            .then_some(cursor)
    }
}

/// The text of a place in the list of groups, to be sent back with the same filter.
pub fn group_cursor(place: &CrashGroupPlace, filter: &CrashGroupFilter) -> String {
    let mut bytes = Vec::new();
    for time in [place.until, place.newest_at] {
        bytes.extend_from_slice(&time.micros().to_be_bytes());
    }
    bytes.extend_from_slice(place.signature.as_bytes());
    let sum = checksum("crash group", &bytes, filter);
    bytes.extend_from_slice(&sum);
    hex::encode(bytes)
}

/// Reads a text made under the same filter.
pub fn read_group_cursor(text: &str, filter: &CrashGroupFilter) -> Option<CrashGroupPlace> {
    let bytes = hex::decode(text).ok()?;
    let (place, _) = bytes.split_last_chunk::<8>()?;
    let (until, rest) = place.split_first_chunk::<8>()?;
    let (newest_at, signature) = rest.split_first_chunk::<8>()?;
    let time = |bytes: &[u8; 8]| Timestamp::from_micros(i64::from_be_bytes(*bytes));
    let signature = String::from_utf8(signature.to_vec()).ok()?;
    let place = CrashGroupPlace { until: time(until), newest_at: time(newest_at), signature };
    (group_cursor(&place, filter) == text).then_some(place)
}

/// Over a place in a list of `what`.
fn checksum(what: &str, place: &[u8], filter: &impl std::fmt::Debug) -> [u8; 8] {
    let mut hash = Sha256::new_with_prefix(format!("{what} cursor"));
    hash.update(place);
    hash.update(format!("{filter:?}"));
    let digest: [u8; 32] = hash.finalize().into();
    let mut sum = [0; 8];
    sum.copy_from_slice(&digest[..8]);
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cursor() -> Cursor {
        Cursor(CoredumpPlace { uploaded_at: Timestamp::from_micros(1_700_000_000_000_001), id: 17 })
    }

    #[test]
    fn a_cursor_reads_back_under_its_filter_only() {
        let filter = CoredumpFilter { model: Some("demo".into()), ..CoredumpFilter::default() };
        let text = cursor().text(&filter);
        assert_eq!(Cursor::read(&text, &filter), Some(cursor()));
        assert_eq!(Cursor::read(&text, &CoredumpFilter::default()), None);
    }

    #[test]
    fn a_cursor_of_groups_reads_back_unedited_under_its_filter_only() {
        let filter = CrashGroupFilter { model: Some("demo".into()), ..CrashGroupFilter::default() };
        let place = CrashGroupPlace {
            until: Timestamp::from_micros(1_700_000_000_000_001),
            newest_at: Timestamp::from_micros(1_600_000_000_000_001),
            signature: "9f86d081884c7d65".into(),
        };
        let text = group_cursor(&place, &filter);
        assert_eq!(read_group_cursor(&text, &filter), Some(place));
        assert_eq!(read_group_cursor(&text, &CrashGroupFilter::default()), None);
        for foreign in ["", "x", "00", &text.to_uppercase(), &text[2..], &format!("{text}00")] {
            assert_eq!(read_group_cursor(foreign, &filter), None, "{foreign}");
        }
        for position in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[position] = if edited[position] == b'0' { b'1' } else { b'0' };
            let edited = String::from_utf8(edited).unwrap();
            assert_eq!(read_group_cursor(&edited, &filter), None, "{edited}");
        }
    }

    #[test]
    fn edited_cursors_are_refused() {
        let filter = CoredumpFilter::default();
        let text = cursor().text(&filter);
        for position in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[position] = if edited[position] == b'0' { b'1' } else { b'0' };
            let edited = String::from_utf8(edited).unwrap();
            assert_eq!(Cursor::read(&edited, &filter), None, "{edited}");
        }
        for foreign in ["", "x", "00", &text.to_uppercase(), &format!("{text}00")] {
            assert_eq!(Cursor::read(foreign, &filter), None, "{foreign}");
        }
    }
}
