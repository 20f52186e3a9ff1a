//! Reads percent-encoded texts exactly once; `+` stays a plus (contract §1.1).

use coredock_domain::fields::FieldFault;

/// The decoded text, or `None` when a percent sequence is broken or the bytes are not UTF-8.
pub fn percent_decode(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        if *first == b'%' {
            let (digits, tail) = tail.split_first_chunk::<2>()?;
            let mut byte = [0];
            hex::decode_to_slice(digits, &mut byte).ok()?;
            bytes.push(byte[0]);
            rest = tail;
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8(bytes).ok()
}

/// The parameters of a query.
pub struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// Reads the part of a URL behind `?`.
    pub const fn new(query: &'a str) -> Self {
        Self(query)
    }

    /// The decoded value of `name`; the first one counts. A fault when it cannot be decoded.
    pub fn get(&self, name: &str) -> Result<Option<String>, FieldFault> {
        let raw = self.0.split('&').find_map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decode(key).as_deref() == Some(name)).then_some(value)
        });
        let Some(raw) = raw else { return Ok(None) };
        let not_text = || FieldFault::new(name, "is not percent-encoded UTF-8");
        percent_decode(raw).map(Some).ok_or_else(not_text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_decoded_once_and_plus_stays() {
        let query = Query::new("a=1.0.0+5&a=2&b=%2525&c&d=a%20b");
        assert_eq!(query.get("a").unwrap().as_deref(), Some("1.0.0+5"));
        assert_eq!(query.get("b").unwrap().as_deref(), Some("%25"));
        assert_eq!(query.get("c").unwrap().as_deref(), Some(""));
        assert_eq!(query.get("d").unwrap().as_deref(), Some("a b"));
        assert_eq!(query.get("e").unwrap(), None);
    }

    #[test]
    fn broken_sequences_and_foreign_bytes_are_faults() {
        for query in ["a=%", "a=%4", "a=%zz", "a=%ff"] {
            assert_eq!(Query::new(query).get("a").unwrap_err().field, "a", "{query}");
        }
    }
}
