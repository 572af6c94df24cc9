//! Lines of the log that a peer can cause: so many a second and no more, so that a flood of bad
//! peers is not a flood of lines as well. What is left out is counted and told.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long an allowance lasts.
const PERIOD: Duration = Duration::from_secs(1);

/// Lines in one period.
const LINES: u32 = 20;

/// Who has a line to write asks here first.
#[derive(Debug, Default)]
pub struct Ration {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    begun: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Ration {
    /// Whether a line may be written now; one that may not is counted.
    #[must_use]
    pub fn allows(&self, now: Instant) -> bool {
        let mut state = self.lock();
        if state.begun.is_none_or(|begun| now.saturating_duration_since(begun) >= PERIOD) {
            state.begun = Some(now);
            state.written = 0;
        }
        if state.written == LINES {
            state.left_out += 1;
            return false;
        }
        state.written += 1;
        true
    }

    /// How many lines were left out since this was asked last.
    #[must_use]
    pub fn take_left_out(&self) -> u64 {
        std::mem::take(&mut self.lock().left_out)
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Counters only: a panic elsewhere leaves nothing half done.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_beyond_the_allowance_of_a_second_is_counted() {
        let ration = Ration::default();
        let begin = Instant::now();
        let written = (0..100).filter(|_| ration.allows(begin)).count();
        assert_eq!(written, 20);
        assert_eq!(ration.take_left_out(), 80);
        assert_eq!(ration.take_left_out(), 0);
        assert!(ration.allows(begin + PERIOD));
    }
}
