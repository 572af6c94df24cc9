//! CPU time of other processes, from `/proc`.

use std::path::PathBuf;
use std::time::Duration;

/// What one clock tick of `/proc/PID/stat` is on every Linux that Rust supports.
const TICK: Duration = Duration::from_millis(10);

/// User and system time of a process so far, all its threads; `None` if it does not run.
#[must_use]
pub fn time_of(process: u32) -> Option<Duration> {
    let directory = PathBuf::from(format!("/proc/{process}"));
    // The scheduler's own sum is exact to the nanosecond, but is kept for each thread.
    let mut total = Duration::ZERO;
    let mut exact = false;
    for task in std::fs::read_dir(directory.join("task")).ok()? {
        let schedstat = task.ok()?.path().join("schedstat");
        let Ok(text) = std::fs::read_to_string(schedstat) else { continue };
        let nanoseconds = text.split(' ').next()?.parse().ok()?;
        total += Duration::from_nanos(nanoseconds);
        exact = true;
    }
    if exact {
        return Some(total);
    }
    let stat = std::fs::read_to_string(directory.join("stat")).ok()?;
    // The name of the process stands in parentheses and may hold blanks.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let user: u32 = fields.next()?.parse().ok()?;
    let system: u32 = fields.next()?.parse().ok()?;
    Some(TICK * (user + system))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_busy_process_uses_time() {
        let own = std::process::id();
        let before = time_of(own).unwrap();
        let begin = Instant::now();
        while begin.elapsed() < Duration::from_millis(100) {
            std::hint::spin_loop();
        }
        assert!(time_of(own).unwrap() > before);
    }

    #[test]
    fn there_is_no_time_of_a_process_that_does_not_run() {
        assert_eq!(time_of(u32::MAX), None);
    }
}
