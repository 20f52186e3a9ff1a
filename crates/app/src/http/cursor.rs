//! Cursors of the list of all dumps (contract §1.9): a place in the order, bound to the filter it
//! was made under. The checksum catches edited and foreign cursors; there is nothing in one worth
//! forging.

use coredock_domain::coredump::CoredumpSummary;
use coredock_domain::repository::coredumps::{CoredumpFilter, CoredumpPlace};
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
        let sum = checksum(&bytes[..16], filter);
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
        (sum == checksum(&bytes[..16], filter) && cursor.text(filter) == text).then_some(cursor)
    }
}

fn checksum(place: &[u8], filter: &CoredumpFilter) -> [u8; 8] {
    let mut hash = Sha256::new_with_prefix(b"coredump cursor");
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
