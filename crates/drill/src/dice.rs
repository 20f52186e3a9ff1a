//! Chance that a seed determines.

use std::time::Duration;

/// A stream of numbers (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    /// The stream of a seed.
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// A stream of its own, for a thread of its own.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.number())
    }

    /// Any number.
    pub(super) fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `end`, which is at least 1.
    pub(super) fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end).unwrap_or(1).max(1);
        usize::try_from(self.number() % end).unwrap_or(0)
    }

    /// Whether something that happens `percent` of all times happens now.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A number of up to `bits` bits and at most `most`; every length of it is as likely.
    pub(super) fn spread(&mut self, bits: std::ops::Range<usize>, most: usize) -> usize {
        let floor = 1 << (bits.start + self.below(bits.len()));
        (floor + self.below(floor)).min(most)
    }

    /// A moment up to `most`; short ones are as likely as long ones.
    pub(super) fn moment(&mut self, most: Duration) -> Duration {
        let micros = self.spread(11..20, usize::try_from(most.as_micros()).unwrap_or(0));
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// One of `things`, which are not empty.
    pub(super) fn pick<'a, T>(&mut self, things: &'a [T]) -> Option<&'a T> {
        things.get(self.below(things.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_numbers_again() {
        let numbers = |seed| {
            let mut dice = Dice::new(seed);
            (0..5).map(|_| dice.number()).collect::<Vec<_>>()
        };
        assert_eq!(numbers(7), numbers(7));
        assert_ne!(numbers(7), numbers(8));
    }

    #[test]
    fn spread_numbers_stay_in_their_bounds() {
        let mut dice = Dice::new(1);
        for _ in 0..1000 {
            let number = dice.spread(0..18, 200 << 10);
            assert!((1..=200 << 10).contains(&number), "{number}");
            assert!(dice.moment(Duration::from_millis(600)) <= Duration::from_millis(600));
        }
    }
}
