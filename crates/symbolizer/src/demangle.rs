//! Names as people write them.

/// Demanglers recurse: longer names are left as they are, in bytes.
const LONGEST: usize = 4096;

/// The name of a C++ or Rust function; any other as it is, cut at 4 KiB.
pub(crate) fn demangle(name: &[u8]) -> String {
    let cut = name.get(..LONGEST).unwrap_or(name);
    let text = String::from_utf8_lossy(cut);
    if name.len() > LONGEST {
        return text.into_owned();
    }
    if let Ok(rust) = rustc_demangle::try_demangle(&text) {
        // Without the hash.
        return format!("{rust:#}").chars().take(LONGEST).collect();
    }
    if text.starts_with("_Z")
        && let Ok(symbol) = cpp_demangle::Symbol::new(cut)
        && let Ok(demangled) = symbol.demangle()
    {
        return demangled.chars().take(LONGEST).collect();
    }
    text.into_owned()
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
    fn long_names_are_cut_and_not_demangled() {
        let hostile = ["_Z".as_bytes(), &vec![b'P'; 100_000]].concat();
        assert_eq!(demangle(&hostile).len(), LONGEST);
    }
}
