use std::fmt::{self, Write};

use cpp_demangle::DemangleOptions;

/// In bytes. Demanglers recurse, so longer names are not demangled.
const MAX_NAME_BYTES: usize = 4096;

/// The demangled name of a C++ or Rust function; any other name unchanged. A short mangled name can
/// expand to a text without end, so the result is cut at 4 KiB; a name that is longer than that is
/// cut, but not demangled.
pub(crate) fn demangle(name: &[u8]) -> String {
    let cut = name.get(..MAX_NAME_BYTES).unwrap_or(name);
    let text = String::from_utf8_lossy(cut);
    if name.len() > MAX_NAME_BYTES {
        return text.into_owned();
    }
    let mut demangled = Bounded::default();
    if let Ok(rust) = rustc_demangle::try_demangle(&text) {
        // `#` leaves out the hash. An error means that the name was cut.
        let _ = write!(demangled, "{rust:#}");
    } else if text.starts_with("_Z")
        && let Ok(symbol) = cpp_demangle::Symbol::new(cut)
    {
        let _ = symbol.structured_demangle(&mut demangled, &DemangleOptions::default());
    }
    if demangled.0.is_empty() { text.into_owned() } else { demangled.0 }
}

/// Accepts at most 4 KiB.
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
        // Each level contains the one before twice; levels are numbered in base 36.
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
