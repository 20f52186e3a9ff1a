//! Frames of functions that jumped away instead of calling.

use std::collections::HashSet;
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
        let between = if caller.trust == Trust::Cfi || caller.trust == Trust::Leaf {
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

/// Innermost first.
fn between(below: &Frame, caller: &Frame, code: &dyn Code) -> Vec<Frame> {
    let target = code.call_before(caller.pc).and_then(|call| call.target);
    let function = code.function_around(below.lookup());
    let (Some(target), Some(function)) = (target, function) else { return Vec::new() };
    if function.contains(&target) {
        return Vec::new();
    }
    let mut search =
        Search { code, wanted: function.start, seen: HashSet::new(), ways: Vec::new() };
    let Some(first) = code.function_around(target).filter(|first| first.start == target) else {
        return Vec::new();
    };
    search.from(first, &mut Vec::new());
    match &search.ways[..] {
        [way] => {
            let frame = |end: &u32| Frame { pc: *end, sp: caller.sp, trust: Trust::TailCall };
            way.iter().rev().map(frame).collect()
        }
        _ => Vec::new(),
    }
}

struct Search<'a> {
    code: &'a dyn Code,
    /// First instruction of the function that is on the stack.
    wanted: u32,
    seen: HashSet<u32>,
    /// Ends of the jumps, outermost first.
    ways: Vec<Vec<u32>>,
}

impl Search<'_> {
    /// Recursion ends after [`MOST_HOPS`] functions in between.
    fn from(&mut self, function: Range<u32>, way: &mut Vec<u32>) {
        if self.ways.len() > 1 || self.seen.len() >= MOST_FUNCTIONS {
            // Not all ways are known: none is certain.
            self.ways.resize(2, Vec::new());
            return;
        }
        self.seen.insert(function.start);
        for jump in self.code.jumps_out_of(function) {
            way.push(jump.end);
            if jump.target == self.wanted {
                self.ways.push(way.clone());
            } else if way.len() <= MOST_HOPS
                && !self.seen.contains(&jump.target)
                && let Some(next) = self.code.function_around(jump.target)
                && next.start == jump.target
            {
                self.from(next, way);
            }
            way.pop();
        }
    }
}
