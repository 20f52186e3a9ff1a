//! Names as people write them.

use std::fmt::{self, Write};

use cpp_demangle::DemangleOptions;

/// Demanglers recurse: longer names are left as they are, in bytes.
const MAX_NAME_BYTES: usize = 4096;

/// The name of a C++ or Rust function; any other as it is. Short names can stand for texts without
/// end: they are cut at 4 KiB, and those that are longer by themselves are left as they are.
pub(crate) fn demangle(name: &[u8]) -> String {
    let cut = name.get(..MAX_NAME_BYTES).unwrap_or(name);
    let text = String::from_utf8_lossy(cut);
    if name.len() > MAX_NAME_BYTES {
        return text.into_owned();
    }
    let mut demangled = Bounded::default();
    if let Ok(rust) = rustc_demangle::try_demangle(&text) {
        // Without the hash. An error says that it was cut.
        let _ = write!(demangled, "{rust:#}");
    } else if text.starts_with("_Z")
        && let Ok(symbol) = cpp_demangle::Symbol::new(cut)
    {
        let _ = symbol.structured_demangle(&mut demangled, &DemangleOptions::default());
    }
    if demangled.0.is_empty() { text.into_owned() } else { demangled.0 }
}

/// Takes no more than 4 KiB.
#[derive(Default)]
struct Bounded(String);

impl Write for Bounded {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        if self.0.len() + part.len() > MAX_NAME_BYTES {
            return Err(fmt::Error);
        }
        self.0.push_str(part);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_three_languages() {
        assert_eq!(demangle(b"app_main"), "app_main");
        assert_eq!(
            demangle(b"_ZN4wifi7Station7connectEPKc"),
            "wifi::Station::connect(char const*)"
        );
        assert_eq!(
            demangle(b"_ZN4core9panicking5panic17h0123456789abcdefE"),
            "core::panicking::panic"
        );
        assert_eq!(demangle(b"_Znonsense"), "_Znonsense");
        assert_eq!(demangle(b"_ZN\xff"), "_ZN\u{fffd}");
    }

    #[test]
    fn short_names_of_endless_texts_are_cut() {
        // Each level names the one before twice; levels are numbered in base 36.
        let digit = |number: u32| char::from_digit(number, 36).unwrap().to_ascii_uppercase();
        let number = |level: u32| match level {
            0..36 => digit(level).to_string(),
            _ => format!("{}{}", digit(level / 36), digit(level % 36)),
        };
        let levels = (0..60).map(|level| format!("S_IS{0}_S{0}_E", number(level)));
        let hostile = format!("_Z1f1AIiiE{}", levels.collect::<String>());
        assert!(demangle(hostile.as_bytes()).len() <= MAX_NAME_BYTES);
    }

    #[test]
    fn long_names_are_cut_and_not_demangled() {
        let hostile = ["_Z".as_bytes(), &vec![b'P'; 100_000]].concat();
        assert_eq!(demangle(&hostile).len(), MAX_NAME_BYTES);
    }
}
