//! Turns nested ranges into rows.

use std::cmp::Reverse;

/// The code of a scope: a function, or a call inlined into one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ScopeRange {
    pub(super) start: u32,
    pub(super) end: u32,
    /// Number of scopes around it.
    pub(super) depth: u32,
    pub(super) scope: u32,
}

/// Emits the innermost scope from each address on, `None` where no scope is. A scope is cut
/// where the scope around it ends.
pub(super) fn flatten(mut ranges: Vec<ScopeRange>, mut emit: impl FnMut(u32, Option<u32>)) {
    ranges.sort_by_key(|range| (range.start, range.depth, Reverse(range.end), range.scope));
    let mut open: Vec<ScopeRange> = Vec::new();
    for range in ranges {
        close(&mut open, range.start, &mut emit);
        let outer = open.last();
        if outer.is_some_and(|outer| outer.depth >= range.depth) {
            // Two functions at one address: the first one stays.
            continue;
        }
        let end = outer.map_or(range.end, |outer| range.end.min(outer.end));
        if end > range.start {
            emit(range.start, Some(range.scope));
            open.push(ScopeRange { end, ..range });
        }
    }
    close(&mut open, u32::MAX, &mut emit);
}

/// Ends the scopes that end at or before an address.
fn close(open: &mut Vec<ScopeRange>, address: u32, emit: &mut impl FnMut(u32, Option<u32>)) {
    while let Some(inner) = open.pop_if(|range| range.end <= address) {
        let outer = open.last().filter(|outer| outer.end > inner.end);
        emit(inner.end, outer.map(|outer| outer.scope));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(ranges: &[(u32, u32, u32)], expected: &[(u32, Option<u32>)]) {
        let ranges = ranges.iter().zip(0..);
        let ranges =
            ranges.map(|(&(start, end, depth), scope)| ScopeRange { start, end, depth, scope });
        let mut found: Vec<(u32, Option<u32>)> = Vec::new();
        flatten(ranges.collect(), |address, scope| {
            found.retain(|(known, _)| *known != address);
            found.push((address, scope));
        });
        assert_eq!(found, expected);
    }

    #[test]
    fn the_innermost_scope_counts() {
        check(
            &[(10, 50, 0), (20, 30, 1), (22, 24, 2)],
            &[
                (10, Some(0)),
                (20, Some(1)),
                (22, Some(2)),
                (24, Some(1)),
                (30, Some(0)),
                (50, None),
            ],
        );
    }

    #[test]
    fn scopes_that_begin_or_end_together_keep_their_order() {
        check(
            &[(10, 20, 0), (10, 20, 1), (10, 15, 2)],
            &[(10, Some(2)), (15, Some(1)), (20, None)],
        );
        check(&[(10, 20, 0), (20, 30, 0)], &[(10, Some(0)), (20, Some(1)), (30, None)]);
    }

    #[test]
    fn a_scope_that_reaches_beyond_its_outer_scope_is_cut() {
        check(&[(10, 20, 0), (15, 40, 1)], &[(10, Some(0)), (15, Some(1)), (20, None)]);
        check(&[(10, 20, 0), (15, 40, 0)], &[(10, Some(0)), (20, None)]);
    }
}
