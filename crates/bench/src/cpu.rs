//! Processor time of another process.

use std::time::Duration;

use anyhow::{Context, Result};
use rustix::param::clock_ticks_per_second;

/// Processor time of all threads of the process `pid` so far, ended threads included, without that
/// of its children.
pub(super) fn spent(pid: u32) -> Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let ticks = ticks(&stat).with_context(|| format!("no times in /proc/{pid}/stat: {stat}"))?;
    Ok(Duration::from_millis(ticks * 1000 / clock_ticks_per_second()))
}

/// User and system time, the 14th and 15th field. The second field is the name of the process in
/// parentheses, which may itself contain spaces and parentheses.
fn ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(") ")?;
    let mut times = fields.split(' ').skip(11);
    let [user, system] = [times.next()?, times.next()?];
    Some(user.parse::<u64>().ok()? + system.parse::<u64>().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spaces_and_parentheses_in_a_name_do_not_shift_the_fields() {
        let stat = "1 (a) b) R 0 1 1 0 -1 0 0 0 0 0 40 2 900 900 20 0 1";
        assert_eq!(ticks(stat), Some(42));
        assert!(spent(std::process::id()).is_ok());
    }
}
