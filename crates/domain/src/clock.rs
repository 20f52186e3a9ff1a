//! Time and randomness as arguments, so that tests can set both.

use std::time::Duration;

use async_trait::async_trait;

use crate::timestamp::Timestamp;

/// The source of time.
#[async_trait]
pub trait Clock: Send + Sync {
    fn now(&self) -> Timestamp;

    /// Returns once `duration` has passed on this clock.
    async fn sleep(&self, duration: Duration);
}

/// The source of random bytes.
pub trait Entropy: Send + Sync {
    /// Fills `bytes` with unpredictable values.
    fn fill(&self, bytes: &mut [u8]);
}

/// `duration` ± at most `share` of it at random, so that many waits do not end at the same time.
pub fn spread(duration: Duration, share: f64, entropy: &dyn Entropy) -> Duration {
    let mut bytes = [0; 2];
    entropy.fill(&mut bytes);
    let fraction = f64::from(u16::from_le_bytes(bytes)) / f64::from(u16::MAX);
    duration.mul_f64(1.0 - share + 2.0 * share * fraction)
}

/// A random identifier of 128 bits as 32 lower-case hex digits.
pub fn random_id(entropy: &dyn Entropy) -> String {
    let mut bytes = [0; 16];
    entropy.fill(&mut bytes);
    hex::encode(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Constant(u8);

    impl Entropy for Constant {
        fn fill(&self, bytes: &mut [u8]) {
            bytes.fill(self.0);
        }
    }

    #[test]
    fn delays_spread_by_a_fifth() {
        let delay = |byte| spread(Duration::from_secs(10), 0.2, &Constant(byte)).as_secs_f64();
        assert!((delay(0) - 8.0).abs() < 1e-6 && (delay(255) - 12.0).abs() < 1e-6);
        assert_eq!(spread(Duration::ZERO, 0.2, &Constant(255)), Duration::ZERO);
    }
}
