//! Saying of a trouble that it has begun, every now and then that it lasts, and that it is over:
//! what happens with every request must not be a line of the log each time.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use slog::{Logger, info, warn};

/// How often it is said again.
pub const REMINDED_EVERY: Duration = Duration::from_mins(1);

/// Something that goes wrong again and again. It writes nothing itself: it tells when something is
/// to be said.
///
/// ```
/// # use std::time::{Duration, Instant};
/// # use mppd_engine::trouble::{Trouble, Word};
/// let (trouble, now) = (Trouble::default(), Instant::now());
/// assert_eq!(trouble.happened(now), Some(Word::Begins));
/// assert_eq!(trouble.happened(now), None);
/// let lasted = Duration::from_secs(3);
/// assert_eq!(trouble.is_over(now + lasted), Some(Word::Ends { times: 2, lasted }));
/// assert_eq!(trouble.is_over(now + lasted), None);
/// ```
#[derive(Debug, Default)]
pub struct Trouble {
    /// Whether it lasts: all that is looked at while nothing is wrong.
    lasts: AtomicBool,
    course: Mutex<Option<Course>>,
}

#[derive(Debug, Clone, Copy)]
struct Course {
    began: Instant,
    told: Instant,
    times: u64,
}

/// What is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    /// It has happened for the first time.
    Begins,
    /// It was said a minute ago or longer, and goes on.
    Lasts {
        /// How often it has happened by now.
        times: u64,
        /// For how long.
        lasted: Duration,
    },
    /// It is over.
    Ends {
        /// How often it has happened.
        times: u64,
        /// How long it has lasted.
        lasted: Duration,
    },
}

impl Trouble {
    /// Counts it once more; what is to be said of it, if anything.
    pub fn happened(&self, now: Instant) -> Option<Word> {
        let mut course = self.lock();
        let Some(Course { began, told, times }) = &mut *course else {
            *course = Some(Course { began: now, told: now, times: 1 });
            self.lasts.store(true, Ordering::Relaxed);
            return Some(Word::Begins);
        };
        *times += 1;
        if now.saturating_duration_since(*told) < REMINDED_EVERY {
            return None;
        }
        *told = now;
        Some(Word::Lasts { times: *times, lasted: now.saturating_duration_since(*began) })
    }

    /// It has gone well; what is to be said of that, if it was the first time.
    pub fn is_over(&self, now: Instant) -> Option<Word> {
        if !self.lasts.load(Ordering::Relaxed) {
            return None;
        }
        let Course { began, times, .. } = self.lock().take()?;
        self.lasts.store(false, Ordering::Relaxed);
        Some(Word::Ends { times, lasted: now.saturating_duration_since(began) })
    }

    /// The same, said in the log: `what` goes wrong, and why.
    pub fn log(&self, logger: &Logger, what: &str, reason: &str) {
        match self.happened(Instant::now()) {
            Some(Word::Begins) => warn!(logger, "{}", what; "reason" => reason),
            Some(Word::Lasts { times, lasted }) => {
                warn!(logger, "{} as before", what; "reason" => reason, "times" => times,
                    "seconds" => lasted.as_secs());
            }
            Some(Word::Ends { .. }) | None => {}
        }
    }

    /// The same, said in the log: what works again.
    pub fn log_end(&self, logger: &Logger, what: &str) {
        if let Some(Word::Ends { times, lasted }) = self.is_over(Instant::now()) {
            info!(logger, "{}", what; "times" => times, "seconds" => lasted.as_secs());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Option<Course>> {
        // No panic can leave it half-way.
        self.course.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lasts_is_said_again_after_a_minute_with_its_count() {
        let (trouble, start) = (Trouble::default(), Instant::now());
        let said = (0..150).map(|second| trouble.happened(start + Duration::from_secs(second)));
        let said: Vec<Word> = said.flatten().collect();
        let lasts = |second| Word::Lasts { times: second + 1, lasted: Duration::from_secs(second) };
        assert_eq!(said, [Word::Begins, lasts(60), lasts(120)]);
    }

    #[test]
    fn what_comes_back_begins_anew() {
        let (trouble, now) = (Trouble::default(), Instant::now());
        assert_eq!(trouble.is_over(now), None);
        assert_eq!(trouble.happened(now), Some(Word::Begins));
        assert_eq!(trouble.is_over(now), Some(Word::Ends { times: 1, lasted: Duration::ZERO }));
        assert_eq!(trouble.happened(now), Some(Word::Begins));
    }
}
