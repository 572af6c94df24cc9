//! Whether a list is asked at all: one that fails again and again, or lists everything, is left
//! alone for a while.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// How long nobody else tries a list that somebody is trying after its pause.
const TRIAL: Duration = Duration::from_secs(30);

/// When a list is suspended, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Patience {
    /// So many failures in a row.
    pub(super) failures: u32,
    /// How long the list is not asked then.
    pub(super) pause: Duration,
}

/// Whose turn it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Turn {
    /// The list is asked.
    Ask,
    /// It is not.
    Suspended,
}

/// What has become of a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing new.
    None,
    /// It is not asked from now on.
    Suspended,
    /// It is asked again.
    Resumed,
}

/// How a list has done lately; shared by everybody who asks it.
#[derive(Debug, Default)]
pub(super) struct Health {
    failures: AtomicU32,
    last_failure: Mutex<Option<Instant>>,
    /// In milliseconds since 1970; 0 while the list is in use.
    suspended_until: AtomicU64,
    why: Mutex<String>,
}

impl Health {
    /// Whether the list is left alone for now. When the pause is over it is not any more, though
    /// nobody may have tried it yet.
    pub(super) fn is_suspended(&self, now: SystemTime) -> bool {
        self.suspended_until.load(Ordering::Relaxed) > milliseconds(now)
    }

    /// Whether to ask now. After the pause one asker tries the list for all.
    pub(super) fn turn(&self, now: SystemTime) -> Turn {
        let until = self.suspended_until.load(Ordering::Relaxed);
        if until == 0 {
            return Turn::Ask;
        }
        let trial = milliseconds(now + TRIAL);
        let is_over = until <= milliseconds(now);
        let store = |from| {
            let (atomic, order) = (&self.suspended_until, Ordering::Relaxed);
            atomic.compare_exchange(from, trial, order, order).is_ok()
        };
        if is_over && store(until) { Turn::Ask } else { Turn::Suspended }
    }

    /// The list has answered.
    pub(super) fn answered(&self) -> Change {
        if self.failures.load(Ordering::Relaxed) == 0 {
            return Change::None;
        }
        self.failures.store(0, Ordering::Relaxed);
        match self.suspended_until.swap(0, Ordering::Relaxed) {
            0 => Change::None,
            _ => Change::Resumed,
        }
    }

    /// The list, which was asked at this instant, has failed, for this reason. Of questions that
    /// wait at the same time one counts: a moment without a network is one failure, however many
    /// requests there were in it.
    pub(super) fn failed(
        &self,
        asked: Instant,
        now: SystemTime,
        patience: Patience,
        why: &str,
    ) -> Change {
        if !self.is_next_failure(asked) {
            return Change::None;
        }
        let failures = self.failures.fetch_add(1, Ordering::Relaxed).saturating_add(1);
        if failures < patience.failures {
            return Change::None;
        }
        let why = match failures {
            1 => why.to_owned(),
            _ => format!("{why}, {failures} times in a row"),
        };
        self.suspend(now, patience, why)
    }

    fn is_next_failure(&self, asked: Instant) -> bool {
        let mut last = self.last_failure.lock().unwrap_or_else(PoisonError::into_inner);
        let is_next = last.is_none_or(|last| asked >= last);
        if is_next {
            *last = Some(Instant::now());
        }
        is_next
    }

    /// The list is of no use, for this reason.
    pub(super) fn suspend(&self, now: SystemTime, patience: Patience, why: String) -> Change {
        // That it has failed is what an answer after the pause ends.
        self.failures.fetch_max(patience.failures, Ordering::Relaxed);
        let until = milliseconds(now + patience.pause).max(1);
        // Whoever sees that it is suspended, and wants to know why, waits for this.
        let mut shown = self.lock_why();
        if self.suspended_until.swap(until, Ordering::Relaxed) != 0 {
            return Change::None;
        }
        *shown = why;
        Change::Suspended
    }

    /// Why the list is suspended.
    pub(super) fn why(&self) -> String {
        self.lock_why().clone()
    }

    fn lock_why(&self) -> MutexGuard<'_, String> {
        // A text is exchanged as a whole, so a poisoned lock is as good as any.
        self.why.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn milliseconds(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Patience = Patience { failures: 3, pause: Duration::from_mins(5) };

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_000_000 + seconds)
    }

    fn fail(health: &Health, seconds: u64, times: u32) -> Vec<Change> {
        let fail = |_| health.failed(Instant::now(), at(seconds), PATIENCE, "no answer");
        (0..times).map(fail).collect()
    }

    #[test]
    fn those_who_asked_at_the_same_time_are_one_failure() {
        let health = Health::default();
        let asked = Instant::now();
        for _ in 0..10 {
            assert_eq!(health.failed(asked, at(0), PATIENCE, "no answer"), Change::None);
        }
        assert_eq!(fail(&health, 1, 2), [Change::None, Change::Suspended]);
    }

    #[test]
    fn a_list_is_suspended_after_so_many_failures_in_a_row() {
        let health = Health::default();
        assert_eq!(fail(&health, 0, 2), [Change::None, Change::None]);
        assert_eq!(health.turn(at(0)), Turn::Ask);
        assert_eq!(fail(&health, 0, 1), [Change::Suspended]);
        assert_eq!(health.turn(at(1)), Turn::Suspended);
        assert_eq!(health.why(), "no answer, 3 times in a row");
    }

    #[test]
    fn an_answer_between_failures_ends_the_row() {
        let health = Health::default();
        for _ in 0..5 {
            fail(&health, 0, 2);
            assert_eq!(health.answered(), Change::None);
        }
        assert_eq!(health.turn(at(0)), Turn::Ask);
    }

    #[test]
    fn after_the_pause_one_asker_tries_for_all() {
        let health = Health::default();
        fail(&health, 0, 3);
        assert_eq!(health.turn(at(299)), Turn::Suspended);
        assert_eq!(health.turn(at(300)), Turn::Ask);
        assert_eq!(health.turn(at(300)), Turn::Suspended);
        assert_eq!(health.answered(), Change::Resumed);
        assert_eq!(health.turn(at(300)), Turn::Ask);
    }

    #[test]
    fn a_trial_that_fails_suspends_again_without_another_word() {
        let health = Health::default();
        fail(&health, 0, 3);
        assert_eq!(health.turn(at(300)), Turn::Ask);
        assert_eq!(fail(&health, 303, 1), [Change::None]);
        assert_eq!(health.turn(at(602)), Turn::Suspended);
        assert_eq!(health.turn(at(603)), Turn::Ask);
    }

    #[test]
    fn a_trial_whose_end_nobody_saw_is_repeated() {
        let health = Health::default();
        fail(&health, 0, 3);
        assert_eq!(health.turn(at(300)), Turn::Ask);
        assert_eq!(health.turn(at(329)), Turn::Suspended);
        assert_eq!(health.turn(at(330)), Turn::Ask);
    }

    #[test]
    fn one_failure_after_the_list_has_come_back_is_only_one() {
        let health = Health::default();
        fail(&health, 0, 3);
        health.turn(at(300));
        health.answered();
        assert_eq!(fail(&health, 301, 1), [Change::None]);
        assert_eq!(health.turn(at(301)), Turn::Ask);
    }
}
