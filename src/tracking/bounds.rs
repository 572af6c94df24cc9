//! What becomes of requests whose rows can be kept nowhere: the spool has reached its bound, or no
//! file can be written.

use std::time::{Duration, SystemTime};

use mppd_engine::tracking::TrackingError;
use mppd_engine::{Action, RequestKey};
use tokio::time::Instant;

use super::key;
use super::time::microseconds;
use crate::config::settings::AtBound;

/// Bounds of what waits to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bounds {
    /// Most octets in the spool; a batch that is written may go beyond.
    pub max_size: u64,
    /// How long a row may wait in the spool.
    pub max_age: Option<Duration>,
    /// What happens when the spool is full, or no file can be written.
    pub at_bound: AtBound,
}

impl Bounds {
    /// The first key that may still wait.
    pub(super) fn oldest(&self, now: SystemTime) -> Option<RequestKey> {
        let end = now.checked_sub(self.max_age?)?;
        Some(key::floor(microseconds(end)))
    }

    /// What those are told whose rows could not be kept.
    pub(super) fn verdict(&self) -> Result<(), TrackingError> {
        match self.at_bound {
            AtBound::Answer | AtBound::DropOldest => Ok(()),
            AtBound::Defer => Err(deferred()),
        }
    }
}

/// What requests are told that are put off because they could not be put on record.
fn deferred() -> TrackingError {
    let reply = Action::DeferIfPermit(Some("Service is unavailable".to_owned()));
    TrackingError::new("there is no room for its row").with_reply(reply)
}

/// Requests that are not on record, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// Answered, and not put on record.
    pub(super) lost: u64,
    /// Removed from what waited, to make room or because they waited too long.
    pub(super) dropped: u64,
    /// Put off, and not put on record.
    pub(super) deferred: u64,
}

impl Losses {
    /// What has come since an earlier count.
    pub(super) fn since(self, earlier: Losses) -> Losses {
        Losses {
            lost: self.lost - earlier.lost,
            dropped: self.dropped - earlier.dropped,
            deferred: self.deferred - earlier.deferred,
        }
    }
}

const REMINDED_EVERY: Duration = Duration::from_mins(1);

/// Something bad that lasts: it is said when it begins, every minute while it lasts, and when it is
/// over.
#[derive(Debug, Default)]
pub(super) struct Alarm {
    running: Option<Running>,
}

#[derive(Debug)]
struct Running {
    began: Instant,
    said: Instant,
    losses: Losses,
}

/// What is to be said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Say {
    Began,
    Lasts(Losses),
    Over(Duration, Losses),
}

impl Alarm {
    /// What is to be said, now that it is so or is not so, with what was lost since it began.
    pub(super) fn observe(&mut self, is_so: bool, losses: Losses) -> Option<Say> {
        let now = Instant::now();
        let Some(running) = &mut self.running else {
            if is_so {
                self.running = Some(Running { began: now, said: now, losses });
            }
            return is_so.then_some(Say::Began);
        };
        if !is_so {
            let over = Say::Over(now - running.began, losses.since(running.losses));
            self.running = None;
            return Some(over);
        }
        if now - running.said < REMINDED_EVERY {
            return None;
        }
        running.said = now;
        Some(Say::Lasts(losses.since(running.losses)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_alarm_is_said_at_its_begin_each_minute_and_at_its_end() {
        let mut alarm = Alarm::default();
        let lost = |lost| Losses { lost, ..Losses::default() };
        assert_eq!(alarm.observe(false, lost(1)), None);
        assert_eq!(alarm.observe(true, lost(1)), Some(Say::Began));
        assert_eq!(alarm.observe(true, lost(2)), None);
        tokio::time::advance(Duration::from_secs(61)).await;
        assert_eq!(alarm.observe(true, lost(4)), Some(Say::Lasts(lost(3))));
        assert_eq!(alarm.observe(true, lost(4)), None);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(
            alarm.observe(false, lost(5)),
            Some(Say::Over(Duration::from_secs(62), lost(4)))
        );
        assert_eq!(alarm.observe(false, lost(5)), None);
    }
}
