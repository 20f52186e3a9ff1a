//! Figures, their limits, and the table of them.

use std::fmt::Write;
use std::time::Duration;

use anyhow::Result;

/// The range in which the median of a figure must be.
#[derive(Debug, Clone, Copy)]
pub(super) enum Limit {
    /// Smaller than this.
    Below(f64),
    /// This or more.
    AtLeast(f64),
    /// The figure is only reported.
    None,
}

/// Whether the median of a figure is within its limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Pass,
    Fail,
    NoLimit,
}

/// A quantity measured several times; its median counts.
#[derive(Debug)]
pub(super) struct Figure {
    pub(super) name: &'static str,
    pub(super) unit: &'static str,
    /// One value per run.
    pub(super) runs: Vec<f64>,
    pub(super) limit: Limit,
}

impl Figure {
    pub(super) fn without_limit(name: &'static str, unit: &'static str, runs: Vec<f64>) -> Self {
        Self { name, unit, runs, limit: Limit::None }
    }

    /// A figure without a value is a failure.
    pub(super) fn verdict(&self) -> Verdict {
        let median = quantile(&self.runs, 50);
        match (self.limit, median) {
            (_, None) => Verdict::Fail,
            (Limit::None, _) => Verdict::NoLimit,
            (Limit::Below(limit), Some(median)) if median < limit => Verdict::Pass,
            (Limit::AtLeast(limit), Some(median)) if median >= limit => Verdict::Pass,
            (Limit::Below(_) | Limit::AtLeast(_), Some(_)) => Verdict::Fail,
        }
    }

    fn row(&self) -> String {
        let value = |percent| {
            quantile(&self.runs, percent).map_or("-".to_owned(), |value| format!("{value:.2}"))
        };
        let (low, median, high) = (value(0), value(50), value(100));
        let limit = match self.limit {
            Limit::Below(limit) => format!("< {limit}"),
            Limit::AtLeast(limit) => format!(">= {limit}"),
            Limit::None => String::new(),
        };
        let verdict = match self.verdict() {
            Verdict::Pass => "PASS",
            Verdict::Fail => "FAIL",
            Verdict::NoLimit => "",
        };
        let (name, unit) = (self.name, self.unit);
        let row =
            format!("{name:<58} {median:>9} {unit:<5} {low:>9} {high:>9}  {limit:<7} {verdict}");
        row.trim_end().to_owned()
    }
}

/// A line for each figure.
pub(super) fn table(figures: &[Figure]) -> String {
    let mut table = format!(
        "{:<58} {:>9} {:<5} {:>9} {:>9}  {:<7}\n",
        "figure", "median", "", "lowest", "highest", "limit"
    );
    for figure in figures {
        // Writing to a `String` cannot fail.
        let _ = writeln!(table, "{}", figure.row());
    }
    table
}

/// The smallest value which at least `percent` percent of all values do not exceed.
pub(super) fn quantile(values: &[f64], percent: usize) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (sorted.len() * percent).div_ceil(100);
    sorted.get(rank.saturating_sub(1)).copied()
}

pub(super) fn per_second(count: usize, elapsed: Duration) -> Result<f64> {
    Ok(f64::from(u32::try_from(count)?) / elapsed.as_secs_f64())
}

pub(super) fn mib(bytes: u64) -> f64 {
    f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX)) / 1024.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_values_that_occurred() {
        let values = [5.0, 1.0, 4.0, 2.0, 3.0];
        assert_eq!(quantile(&values, 0), Some(1.0));
        assert_eq!(quantile(&values, 50), Some(3.0));
        assert_eq!(quantile(&values, 99), Some(5.0));
        assert_eq!(quantile(&[], 50), None);
    }

    #[test]
    fn the_median_decides() {
        let figure = |limit| Figure { name: "x", unit: "", runs: vec![9.0, 1.0, 2.0], limit };
        assert_eq!(figure(Limit::Below(3.0)).verdict(), Verdict::Pass);
        assert_eq!(figure(Limit::Below(2.0)).verdict(), Verdict::Fail);
        assert_eq!(figure(Limit::AtLeast(2.0)).verdict(), Verdict::Pass);
        assert_eq!(figure(Limit::AtLeast(2.1)).verdict(), Verdict::Fail);
        assert_eq!(figure(Limit::None).verdict(), Verdict::NoLimit);
    }
}
