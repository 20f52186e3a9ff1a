//! Frames of functions that were left by a tail call.

use std::ops::Range;

use super::{Frame, MAX_FRAMES, Trust};
use crate::code::Code;

/// Functions between two frames.
const MAX_HOPS: usize = 3;
/// Functions that are examined for one gap.
const MAX_FUNCTIONS: usize = 64;

/// If a frame called another function than the one below it, the called function must have jumped
/// there. If only one path of jumps leads there, its frames are inserted.
pub(super) fn insert(frames: &mut Vec<Frame>, code: &dyn Code) {
    let mut index = 1;
    while index < frames.len() && frames.len() < MAX_FRAMES {
        let (Some(below), Some(caller)) = (frames.get(index - 1), frames.get(index)) else {
            return;
        };
        let frames_between = if matches!(caller.trust, Trust::Cfi | Trust::Prologue | Trust::Leaf) {
            frames_between(below, caller, code)
        } else {
            Vec::new()
        };
        let room = MAX_FRAMES - frames.len();
        let frames_between: Vec<_> = frames_between.into_iter().take(room).collect();
        let count = frames_between.len();
        frames.splice(index..index, frames_between);
        index += count + 1;
    }
}

/// Innermost first. If there are several paths, only the jumps that they share are certain: the
/// first ones from the caller, and the last ones before the function below.
fn frames_between(below: &Frame, caller: &Frame, code: &dyn Code) -> Vec<Frame> {
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
        Search { code, target_start: function.start, functions: MAX_FUNCTIONS, paths: Vec::new() };
    if search.from(first, &mut Vec::new()).is_none() {
        return Vec::new();
    }
    let frame = |end| Frame::new(end, caller.sp, Trust::TailCall);
    common_jumps(&search.paths).into_iter().rev().map(frame).collect()
}

/// The jumps that all paths begin with, then those that all paths end with.
fn common_jumps(paths: &[Vec<u32>]) -> Vec<u32> {
    let Some((first, others)) = paths.split_first() else { return Vec::new() };
    let same = |at: &dyn Fn(&[u32]) -> Option<u32>| others.iter().all(|path| at(path) == at(first));
    let beginning = (0..first.len()).take_while(|n| same(&|path| path.get(*n).copied())).count();
    let shortest = paths.iter().map(Vec::len).min().unwrap_or_default();
    let ending = (0..shortest - beginning.min(shortest))
        .take_while(|n| same(&|path| path.iter().rev().nth(*n).copied()))
        .count();
    let (beginning, ending) =
        (first.iter().take(beginning), first.iter().skip(first.len() - ending));
    beginning.chain(ending).copied().collect()
}

struct Search<'a> {
    code: &'a dyn Code,
    /// Start of the function that is on the stack.
    target_start: u32,
    /// How many may still be examined.
    functions: usize,
    /// Ends of the jumps, outermost first.
    paths: Vec<Vec<u32>>,
}

impl Search<'_> {
    /// `None` if not all paths can be found, because then none is certain. Recursion ends after
    /// [`MAX_HOPS`] functions.
    fn from(&mut self, function: Range<u32>, path: &mut Vec<u32>) -> Option<()> {
        self.functions = self.functions.checked_sub(1)?;
        for jump in self.code.jumps_out_of(function) {
            path.push(jump.end);
            if jump.target == self.target_start {
                self.paths.push(path.clone());
            } else if path.len() <= MAX_HOPS
                && let Some(next) = self.code.function_around(jump.target)
                && next.start == jump.target
            {
                self.from(next, path)?;
            }
            path.pop();
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::common_jumps;

    #[test]
    fn of_several_paths_only_the_common_part_is_certain() {
        assert!(common_jumps(&[]).is_empty());
        assert_eq!(common_jumps(&[vec![1, 2]]), [1, 2]);
        assert_eq!(common_jumps(&[vec![1, 2], vec![1, 3, 4]]), [1]);
        assert_eq!(common_jumps(&[vec![1, 2, 9], vec![1, 3, 9]]), [1, 9]);
        assert_eq!(common_jumps(&[vec![1, 9], vec![1, 3, 9]]), [1, 9]);
        assert!(common_jumps(&[vec![1], vec![2]]).is_empty());
    }
}
