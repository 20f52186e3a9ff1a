//! The order in which dumps are parsed (contract §6.5): fair between devices and causes, and the
//! first dump of a new cause goes first.
//!
//! Each dump gets a position when it arrives: a time by which workers sort. It is the present, or
//! one step behind the last position of the same device or the same cause. So the positions of a
//! device or a cause with thousands of dumps extend into the future, and a single dump gets a
//! position between them. A position is not a delay: when nothing else is due, the last position is
//! worked on at once. No dump waits for ever, because the present reaches every position.
//!
//! Each replica has its own memory of positions, which is empty after a start.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use crate::coredumps::body::CauseHint;
use crate::coredumps::coredump::BuildId;
use crate::ids::DeviceKey;
use crate::timestamp::Timestamp;

/// The distance of two positions of one device or one cause.
const STEP: Duration = Duration::from_secs(1);
/// No position is later than this from now; at that limit dumps are in the order of their arrival.
const MAX_AHEAD: Duration = Duration::from_hours(1);
/// How long before the present the position of a new cause is.
const HEAD_START: Duration = Duration::from_hours(1);
/// Positions remembered in each of the two generations.
const MAX_REMEMBERED: usize = 50_000;

/// A sequence of dumps whose positions are one step apart.
#[derive(Hash)]
enum Flow<'a> {
    /// Dumps of one device.
    Device(&'a DeviceKey),
    /// Dumps of one build and crash site.
    Cause(&'a BuildId, u64),
    /// The first dumps of new causes of one build, of which there may be thousands, too.
    NewCauses(&'a BuildId),
}

impl Flow<'_> {
    fn hashed(&self) -> u64 {
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        hasher.finish()
    }
}

/// Gives each dump its position.
#[derive(Debug, Default)]
pub(super) struct FairQueue {
    last: Mutex<LastPositions>,
}

impl FairQueue {
    /// The position of a dump which arrived at `now`.
    pub(super) fn position(
        &self,
        now: Timestamp,
        device: &DeviceKey,
        hint: &CauseHint,
    ) -> Timestamp {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let of_device = last.next(&Flow::Device(device), now);
        let Some((build, site)) = hint.build_id.as_ref().zip(hint.crash_site) else {
            return of_device;
        };
        let cause = Flow::Cause(build, site);
        let is_new = last.find(&cause).is_none();
        let of_cause = last.next(&cause, now);
        if is_new {
            return last.next(&Flow::NewCauses(build), now).before(HEAD_START);
        }
        of_device.max(of_cause)
    }
}

/// The last position of each flow, in two generations: when the younger one is full, it replaces
/// the older.
#[derive(Debug, Default)]
struct LastPositions {
    younger: HashMap<u64, Timestamp>,
    older: HashMap<u64, Timestamp>,
}

impl LastPositions {
    fn find(&self, flow: &Flow<'_>) -> Option<Timestamp> {
        let flow = flow.hashed();
        self.younger.get(&flow).or_else(|| self.older.get(&flow)).copied()
    }

    /// The next position of a flow.
    fn next(&mut self, flow: &Flow<'_>, now: Timestamp) -> Timestamp {
        let after_last = self.find(flow).map_or(now, |last| last.after(STEP));
        let position = after_last.max(now).min(now.after(MAX_AHEAD));
        if self.younger.len() >= MAX_REMEMBERED {
            self.older = std::mem::take(&mut self.younger);
        }
        self.younger.insert(flow.hashed(), position);
        position
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(number: usize) -> DeviceKey {
        DeviceKey::parse(&format!("abcd{:04}", number + 2222)).unwrap()
    }

    fn crash(build: &str, site: u64) -> CauseHint {
        CauseHint { build_id: BuildId::parse(build), crash_site: Some(site) }
    }

    fn second(second: i64) -> Timestamp {
        Timestamp::from_micros((100_000 + second) * 1_000_000)
    }

    const BUILD: &str = "64d3738c1";

    #[test]
    fn dumps_of_other_causes_get_positions_within_a_storm_of_one_cause() {
        let queue = FairQueue::default();
        let storm: Vec<_> =
            (0..1000).map(|n| queue.position(second(0), &device(n), &crash(BUILD, 1))).collect();
        assert!(storm.is_sorted(), "in the order of arrival");
        queue.position(second(0), &device(1001), &crash(BUILD, 2));
        let known = queue.position(second(10), &device(1002), &crash(BUILD, 2));
        assert_eq!(storm.iter().filter(|position| **position < known).count(), 10);
    }

    #[test]
    fn a_device_that_crashes_in_a_loop_waits_behind_others_whatever_it_sends() {
        let queue = FairQueue::default();
        let loops: Vec<_> = (0..100)
            .map(|_| queue.position(second(0), &device(0), &CauseHint::default()))
            .collect();
        assert_eq!((loops[0], loops[99]), (second(0), second(99)));
        assert_eq!(queue.position(second(5), &device(1), &CauseHint::default()), second(5));
        assert_eq!(queue.position(second(500), &device(0), &CauseHint::default()), second(500));
    }

    #[test]
    fn the_first_dump_of_a_new_cause_goes_first() {
        let queue = FairQueue::default();
        let storm: Vec<_> =
            (0..1000).map(|n| queue.position(second(0), &device(n), &crash(BUILD, 1))).collect();
        let new = queue.position(second(60), &device(0), &crash(BUILD, 7));
        assert!(storm[1..].iter().all(|position| new < *position));
        let again = queue.position(second(60), &device(1), &crash(BUILD, 7));
        assert_eq!(again, second(61), "it is known now");
    }

    #[test]
    fn a_device_with_only_new_causes_does_not_always_go_first() {
        let queue = FairQueue::default();
        let all_new: Vec<_> =
            (0..5000).map(|n| queue.position(second(0), &device(0), &crash(BUILD, n))).collect();
        assert!(all_new.is_sorted());
        let of_other_build = queue.position(second(1), &device(1), &crash("a0b1c2d3e", 1));
        assert!(all_new[2..].iter().all(|position| of_other_build < *position));
        let known = queue.position(second(1), &device(2), &crash("a0b1c2d3e", 1));
        assert!(*all_new.last().unwrap() <= second(0) && known > second(0));
    }

    #[test]
    fn the_present_reaches_every_position() {
        let queue = FairQueue::default();
        let all = (0..50_000).map(|_| queue.position(second(0), &device(0), &CauseHint::default()));
        assert_eq!(all.max(), Some(second(3600)));
    }

    #[test]
    fn memory_of_positions_is_bounded() {
        let queue = FairQueue::default();
        for site in 0..150_000 {
            queue.position(second(0), &device(0), &crash(BUILD, site));
        }
        let last = queue.last.lock().unwrap();
        assert!(last.younger.len() + last.older.len() <= 2 * MAX_REMEMBERED);
        assert!(last.find(&Flow::Device(&device(0))).is_some());
    }
}
