//! Lists that are read page by page (contract §1.9).
//!
//! A cursor is a position in the order of one list, bound to the filter it was made under. Its
//! checksum catches edited and foreign cursors; a cursor protects nothing, so the checksum needs no
//! secret.

use sha2::{Digest, Sha256};

use super::query::QueryFields;

const DEFAULT_LIMIT: u32 = 50;
const MAX_LIMIT: u32 = 200;
const CHECKSUM_BYTES: usize = 8;

/// The `limit` of a query.
pub fn page_limit(fields: &mut QueryFields<'_>) -> u32 {
    let rule = "must be a whole number from 1 to 200";
    let limit = fields.optional("limit", rule, |text| {
        let limit = text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?;
        limit.filter(|limit| (1..=MAX_LIMIT).contains(limit))
    });
    limit.unwrap_or(DEFAULT_LIMIT)
}

/// The position behind the `cursor` of a query, which must come from a page with this filter.
pub fn page_start<K: CursorKey>(fields: &mut QueryFields<'_>, filter: &K::Filter) -> Option<K> {
    let rule = "must be the next_cursor of a page with the same filter";
    fields.optional("cursor", rule, |text| Cursor::read(text, filter)).map(|Cursor(key)| key)
}

/// A position between two pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cursor<K>(pub K);

/// The sort key of a list.
pub trait CursorKey: Sized {
    /// The name of the list: a list refuses the cursors of other lists.
    const LIST: &'static str;
    type Filter;

    fn to_bytes(&self) -> Vec<u8>;

    fn from_bytes(bytes: &[u8]) -> Option<Self>;

    /// The members of the filter as texts, always in the same order.
    fn filter_texts(filter: &Self::Filter) -> Vec<Option<String>>;
}

impl<K: CursorKey> Cursor<K> {
    /// The text to be sent back with the same filter.
    pub fn text(&self, filter: &K::Filter) -> String {
        let mut bytes = self.0.to_bytes();
        let sum = checksum::<K>(&bytes, filter);
        bytes.extend_from_slice(&sum);
        hex::encode(bytes)
    }

    /// Reads a text made under the same filter.
    pub fn read(text: &str, filter: &K::Filter) -> Option<Self> {
        let bytes = hex::decode(text).ok()?;
        let (key, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>()?;
        let cursor = Self(K::from_bytes(key)?);
        // Upper case decodes to the same bytes, but is not a text that this server sent.
        (*sum == checksum::<K>(key, filter) && cursor.text(filter) == text).then_some(cursor)
    }
}

fn checksum<K: CursorKey>(key: &[u8], filter: &K::Filter) -> [u8; CHECKSUM_BYTES] {
    let mut hash = Sha256::new();
    add(&mut hash, K::LIST.as_bytes());
    add(&mut hash, key);
    for text in K::filter_texts(filter) {
        match text {
            Some(text) => add(&mut hash, text.as_bytes()),
            // No text is this long.
            None => hash.update(u64::MAX.to_be_bytes()),
        }
    }
    let digest: [u8; 32] = hash.finalize().into();
    let mut sum = [0; CHECKSUM_BYTES];
    sum.copy_from_slice(&digest[..CHECKSUM_BYTES]);
    sum
}

/// The length comes first, so that texts cannot be shifted into their neighbours.
fn add(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_be_bytes());
    hash.update(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Clone, PartialEq, Eq)]
    struct Key(u64);

    impl CursorKey for Key {
        const LIST: &'static str = "keys";
        type Filter = [Option<&'static str>; 2];

        fn to_bytes(&self) -> Vec<u8> {
            self.0.to_be_bytes().to_vec()
        }

        fn from_bytes(bytes: &[u8]) -> Option<Self> {
            Some(Self(u64::from_be_bytes(bytes.try_into().ok()?)))
        }

        fn filter_texts(filter: &Self::Filter) -> Vec<Option<String>> {
            filter.iter().map(|text| text.map(str::to_owned)).collect()
        }
    }

    #[test]
    fn a_cursor_reads_back_under_its_filter_only() {
        let filter = [Some("ab"), Some("c")];
        let text = Cursor(Key(17)).text(&filter);
        assert_eq!(Cursor::read(&text, &filter), Some(Cursor(Key(17))));
        for other in [[Some("a"), Some("bc")], [Some("ab"), None], [Some("abc"), Some("")]] {
            assert_eq!(Cursor::<Key>::read(&text, &other), None, "{other:?}");
        }
    }

    #[test]
    fn edited_cursors_are_refused() {
        let filter = [None, None];
        let text = Cursor(Key(17)).text(&filter);
        for position in 0..text.len() {
            let mut edited = text.clone().into_bytes();
            edited[position] = if edited[position] == b'0' { b'1' } else { b'0' };
            let edited = String::from_utf8(edited).unwrap();
            assert_eq!(Cursor::<Key>::read(&edited, &filter), None, "{edited}");
        }
        for foreign in ["", "x", "00", &text.to_uppercase(), &text[2..], &format!("{text}00")] {
            assert_eq!(Cursor::<Key>::read(foreign, &filter), None, "{foreign}");
        }
    }
}
