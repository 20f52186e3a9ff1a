//! Function names without the parts that differ between builds.

/// Suffixes that compilers give to clones of a function.
const CLONES: [&str; 4] = [".constprop.", ".isra.", ".part.", ".cold"];
/// Demanglers put this before such a suffix.
const CLONE: &str = " [clone ";

/// Without template arguments and suffixes of clones.
pub(super) fn plain(name: &str) -> String {
    let end = CLONES.iter().filter_map(|clone| name.find(clone)).min();
    let name = end.and_then(|end| name.get(..end)).unwrap_or(name);
    let name = name.trim_end_matches(CLONE);
    // The angle brackets of comparison operators and of Rust trait implementations are not template
    // arguments.
    let operator = name.starts_with("operator") || name.contains("::operator");
    if operator || name.starts_with('<') {
        return name.to_owned();
    }
    let mut depth = 0_usize;
    let mut plain_name = String::new();
    for char in name.chars() {
        match char {
            '<' => depth += 1,
            '>' if depth > 0 => depth -= 1,
            _ if depth == 0 => plain_name.push(char),
            _ => {}
        }
    }
    // Rust writes `::` between a function and its types.
    plain_name.trim_end_matches("::").to_owned()
}

#[cfg(test)]
mod tests {
    use super::plain;

    #[test]
    fn clones_and_templates_have_one_name() {
        assert_eq!(plain("connect.constprop.0"), "connect");
        assert_eq!(plain("parse.isra.0.part.1"), "parse");
        assert_eq!(plain("run.cold"), "run");
        assert_eq!(plain("app::run(int) [clone .isra.0]"), "app::run(int)");
        assert_eq!(plain("std::vector<int, std::allocator<int> >::at"), "std::vector::at");
        assert_eq!(plain("Clock::operator<(Clock const&)"), "Clock::operator<(Clock const&)");
        assert_eq!(plain("a>b"), "a>b");
        assert_eq!(plain("app::run::<u32, core::option::Option<u8>>"), "app::run");
    }
}
