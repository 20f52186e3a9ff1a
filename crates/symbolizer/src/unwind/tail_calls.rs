//! Frames of functions that jumped away instead of calling.

use std::ops::Range;

use super::{Frame, MOST_FRAMES, Trust};
use crate::code::Code;

/// Functions in between, at most.
const MOST_HOPS: usize = 3;
/// Functions that are looked through for one gap.
const MOST_FUNCTIONS: usize = 64;

/// Where a frame called another function than the one below it, the called one must have jumped
/// there. If that is possible in one way only, its frames are put in between.
pub(super) fn insert(frames: &mut Vec<Frame>, code: &dyn Code) {
    let mut index = 1;
    while index < frames.len() && frames.len() < MOST_FRAMES {
        let (Some(below), Some(caller)) = (frames.get(index - 1), frames.get(index)) else {
            return;
        };
        let between = if matches!(caller.trust, Trust::Cfi | Trust::Prologue | Trust::Leaf) {
            between(below, caller, code)
        } else {
            Vec::new()
        };
        let room = MOST_FRAMES - frames.len();
        let between: Vec<_> = between.into_iter().take(room).collect();
        let count = between.len();
        frames.splice(index..index, between);
        index += count + 1;
    }
}

/// Innermost first. Where there are several ways only what they have in common is certain: the
/// jumps from the caller on, and those up to the function below.
fn between(below: &Frame, caller: &Frame, code: &dyn Code) -> Vec<Frame> {
    let target = code.call_before(caller.pc).and_then(|call| call.target);
    let function = code.function_around(below.lookup());
    let (Some(target), Some(function)) = (target, function) else { return Vec::new() };
    if function.contains(&target) {
        return Vec::new();
    }
    let Some(first) = code.function_around(target).filter(|first| first.start == target) else {
        return Vec::new();
    };
    let mut search =
        Search { code, wanted: function.start, functions: MOST_FUNCTIONS, ways: Vec::new() };
    if search.from(first, &mut Vec::new()).is_none() {
        return Vec::new();
    }
    let frame = |end| Frame::new(end, caller.sp, Trust::TailCall);
    in_common(&search.ways).into_iter().rev().map(frame).collect()
}

/// The jumps that all ways begin with, then those that all end with.
fn in_common(ways: &[Vec<u32>]) -> Vec<u32> {
    let Some((first, others)) = ways.split_first() else { return Vec::new() };
    let same = |at: &dyn Fn(&[u32]) -> Option<u32>| others.iter().all(|way| at(way) == at(first));
    let beginning = (0..first.len()).take_while(|n| same(&|way| way.get(*n).copied())).count();
    let shortest = ways.iter().map(Vec::len).min().unwrap_or_default();
    let ending = (0..shortest - beginning.min(shortest))
        .take_while(|n| same(&|way| way.iter().rev().nth(*n).copied()))
        .count();
    let (beginning, ending) =
        (first.iter().take(beginning), first.iter().skip(first.len() - ending));
    beginning.chain(ending).copied().collect()
}

struct Search<'a> {
    code: &'a dyn Code,
    /// First instruction of the function that is on the stack.
    wanted: u32,
    /// That may still be looked through.
    functions: usize,
    /// Ends of the jumps, outermost first.
    ways: Vec<Vec<u32>>,
}

impl Search<'_> {
    /// `None` when not all ways can be found: none is certain then. Recursion ends after
    /// [`MOST_HOPS`] functions in between.
    fn from(&mut self, function: Range<u32>, way: &mut Vec<u32>) -> Option<()> {
        self.functions = self.functions.checked_sub(1)?;
        for jump in self.code.jumps_out_of(function) {
            way.push(jump.end);
            if jump.target == self.wanted {
                self.ways.push(way.clone());
            } else if way.len() <= MOST_HOPS
                && let Some(next) = self.code.function_around(jump.target)
                && next.start == jump.target
            {
                self.from(next, way)?;
            }
            way.pop();
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::in_common;

    #[test]
    fn of_several_ways_only_the_common_part_is_certain() {
        assert!(in_common(&[]).is_empty());
        assert_eq!(in_common(&[vec![1, 2]]), [1, 2]);
        assert_eq!(in_common(&[vec![1, 2], vec![1, 3, 4]]), [1]);
        assert_eq!(in_common(&[vec![1, 2, 9], vec![1, 3, 9]]), [1, 9]);
        assert_eq!(in_common(&[vec![1, 9], vec![1, 3, 9]]), [1, 9]);
        assert!(in_common(&[vec![1], vec![2]]).is_empty());
    }
}
