//! Instants as Coredock stores and shows them.

use std::fmt;
use std::time::Duration;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};

/// An instant in UTC with the precision of every database: whole microseconds.
///
/// The text is RFC 3339 with exactly six fraction digits and `Z` (contract §1.3), so that texts
/// sort like times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// `micros` since 1970-01-01T00:00:00Z; clamped to the years 1–9999, which the text can show.
    pub const fn from_micros(micros: i64) -> Self {
        const FIRST: i64 = -62_135_596_800_000_000;
        const LAST: i64 = 253_402_300_799_999_999;
        if micros < FIRST {
            Self(FIRST)
        } else if micros > LAST {
            Self(LAST)
        } else {
            Self(micros)
        }
    }

    /// Microseconds since 1970-01-01T00:00:00Z.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// Whole seconds since 1970-01-01T00:00:00Z, rounded down: the resolution of HTTP dates.
    pub const fn seconds(self) -> i64 {
        self.0.div_euclid(1_000_000)
    }

    /// Parses RFC 3339; a text without a zone is in UTC (contract §1.3).
    pub fn parse(text: &str) -> Option<Self> {
        if let Ok(zoned) = DateTime::parse_from_rfc3339(text) {
            return Some(Self::from(zoned.with_timezone(&Utc)));
        }
        let naive = NaiveDateTime::parse_from_str(text, "%Y-%m-%dT%H:%M:%S%.f").ok()?;
        Some(Self::from(naive.and_utc()))
    }

    #[must_use]
    pub fn after(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_add(micros))
    }

    #[must_use]
    pub fn before(self, duration: Duration) -> Self {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::from_micros(self.0.saturating_sub(micros))
    }

    /// The time from `earlier` to this instant; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }
}

impl From<DateTime<Utc>> for Timestamp {
    fn from(time: DateTime<Utc>) -> Self {
        Self::from_micros(time.timestamp_micros())
    }
}

impl From<Timestamp> for DateTime<Utc> {
    fn from(time: Timestamp) -> Self {
        DateTime::from_timestamp_micros(time.0).unwrap_or_default()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = DateTime::<Utc>::from(*self);
        formatter.write_str(&time.to_rfc3339_opts(SecondsFormat::Micros, true))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_six_fraction_digits_and_z() {
        let time = Timestamp::parse("2026-11-20T15:35:09.457233Z").unwrap();
        assert_eq!(time.to_string(), "2026-11-20T15:35:09.457233Z");
        assert_eq!(Timestamp::from_micros(0).to_string(), "1970-01-01T00:00:00.000000Z");
    }

    #[test]
    fn every_text_has_27_characters_at_both_ends_of_the_range() {
        for micros in [i64::MIN, i64::MAX] {
            assert_eq!(Timestamp::from_micros(micros).to_string().len(), 27);
        }
    }

    #[test]
    fn a_time_without_a_zone_is_utc_and_offsets_are_converted() {
        let utc = Timestamp::parse("2026-01-01T10:00:00Z").unwrap();
        assert_eq!(Timestamp::parse("2026-01-01T10:00:00"), Some(utc));
        assert_eq!(Timestamp::parse("2026-01-01T12:00:00+02:00"), Some(utc));
        assert_eq!(Timestamp::parse("yesterday"), None);
    }
}
