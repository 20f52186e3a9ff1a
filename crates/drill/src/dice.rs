//! Random numbers that a seed determines.

use std::time::Duration;

/// A stream of numbers (splitmix64).
#[derive(Debug, Clone)]
pub(super) struct Dice(u64);

impl Dice {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// An independent stream, for another thread.
    pub(super) fn fork(&mut self) -> Self {
        Self(self.number())
    }

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

    /// True with a probability of `percent`.
    pub(super) fn chance(&mut self, percent: usize) -> bool {
        self.below(100) < percent
    }

    /// A number of at most `max` whose highest bit is one of `bits`; each bit is equally likely.
    pub(super) fn spread(&mut self, bits: std::ops::Range<usize>, max: usize) -> usize {
        let floor = 1 << (bits.start + self.below(bits.len()));
        (floor + self.below(floor)).min(max)
    }

    /// A duration of at most `max`; short durations are as likely as long ones.
    pub(super) fn moment(&mut self, max: Duration) -> Duration {
        let micros = self.spread(11..20, usize::try_from(max.as_micros()).unwrap_or(0));
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// A random element; `None` if there are no elements.
    pub(super) fn pick<'a, T>(&mut self, elements: &'a [T]) -> Option<&'a T> {
        elements.get(self.below(elements.len()))
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
