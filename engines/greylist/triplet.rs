//! What is remembered of one triplet, and what becomes of it at each attempt: functions of the time,
//! without a store.

use std::time::Duration;

use jiff::Timestamp;
use mppd_state::{Reader, Record, Writer};

/// The times that hold for all triplets.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    /// How long a triplet has to wait.
    pub(super) delay: Duration,
    /// How long a first attempt is remembered.
    pub(super) window: Duration,
    /// How long a triplet that has passed is remembered after it was last seen.
    pub(super) lifetime: Duration,
}

/// A triplet that has been seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Triplet {
    /// When it was seen first.
    pub(super) first: Timestamp,
    /// When it was last noted to have passed, if it ever has.
    pub(super) passed: Option<Timestamp>,
}

/// What an attempt is to its triplet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// The first one.
    New,
    /// It came before the delay was over.
    Early {
        /// Since the first attempt.
        waited: Duration,
        /// Until the delay is over.
        left: Duration,
    },
    /// The first one after the delay.
    Passed {
        /// Since the first attempt.
        waited: Duration,
    },
    /// The triplet has passed before.
    Known,
}

/// What is to be remembered, and until when; `None` where that is what was remembered before.
pub(super) type Next<R> = Option<(R, Timestamp)>;

impl Triplet {
    /// The next attempt of a triplet of which this is known.
    pub(super) fn attempt(
        known: Option<&Triplet>,
        now: Timestamp,
        terms: Terms,
    ) -> (Standing, Next<Triplet>) {
        // Of attempts at once, or on nodes whose clocks differ, the later one may be noted first. One
        // further in the future was noted under a wrong clock; nobody has to wait for that.
        let latest = after(now, terms.delay);
        let Some(known) = known.filter(|known| known.first <= latest) else {
            let triplet = Triplet { first: now, passed: None };
            return (Standing::New, Some((triplet, after(now, terms.window))));
        };
        if let Some(passed) = known.passed {
            let is_fresh = !is_over(passed, now, terms.refresh());
            return (Standing::Known, (!is_fresh).then(|| known.pass(now, terms)));
        }
        let waited = between(known.first, now);
        match terms.delay.checked_sub(waited) {
            Some(left) if !left.is_zero() => (Standing::Early { waited, left }, None),
            _ => (Standing::Passed { waited }, Some(known.pass(now, terms))),
        }
    }

    fn pass(&self, now: Timestamp, terms: Terms) -> (Triplet, Timestamp) {
        (Triplet { first: self.first, passed: Some(now) }, after(now, terms.lifetime))
    }
}

impl Terms {
    fn refresh(self) -> Duration {
        refresh(self.lifetime)
    }
}

impl Record for Triplet {
    const KIND: u8 = b'G';

    fn write(&self, writer: &mut Writer) {
        writer.time(self.first);
        match self.passed {
            // How long after the first attempt takes fewer octets than when.
            Some(passed) => writer.number(1 + milliseconds(between(self.first, passed))),
            None => writer.number(0),
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let first = reader.time()?;
        let passed = match reader.number()?.checked_sub(1) {
            Some(later) => Some(first.checked_add(Duration::from_millis(later)).ok()?),
            None => None,
        };
        Some(Triplet { first, passed })
    }
}

/// How old the note that something was seen may become before it is written anew: a store is spared
/// most of the writing, and what is remembered loses little of its time.
pub(super) fn refresh(lifetime: Duration) -> Duration {
    const MOST: Duration = Duration::from_hours(1);
    (lifetime / 50).min(MOST)
}

/// The time so much later.
pub(super) fn after(time: Timestamp, period: Duration) -> Timestamp {
    time.checked_add(period).unwrap_or(Timestamp::MAX)
}

/// How long it is from one time to another; nothing where that is not later.
pub(super) fn between(since: Timestamp, until: Timestamp) -> Duration {
    Duration::try_from(until.duration_since(since)).unwrap_or_default()
}

/// Whether a period that began then is over; one that begins in the future is.
pub(super) fn is_over(since: Timestamp, now: Timestamp, period: Duration) -> bool {
    since > now || between(since, now) >= period
}

fn milliseconds(period: Duration) -> u64 {
    u64::try_from(period.as_millis()).unwrap_or(u64::MAX - 1)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    const TERMS: Terms = Terms {
        delay: Duration::from_mins(5),
        window: Duration::from_mins(50),
        lifetime: Duration::from_mins(500),
    };

    fn second(count: i64) -> Timestamp {
        Timestamp::from_second(1_000_000 + count).unwrap()
    }

    fn attempt(known: Option<&Triplet>, at: i64) -> (Standing, Next<Triplet>) {
        Triplet::attempt(known, second(at), TERMS)
    }

    fn seconds(count: u64) -> Duration {
        Duration::from_secs(count)
    }

    #[test]
    fn a_first_attempt_is_remembered_for_the_window() {
        let (standing, next) = attempt(None, 0);
        assert_eq!(standing, Standing::New);
        assert_eq!(next, Some((Triplet { first: second(0), passed: None }, second(3_000))));
    }

    #[test]
    fn an_early_attempt_changes_nothing() {
        let first = Triplet { first: second(0), passed: None };
        let standing = Standing::Early { waited: seconds(299), left: seconds(1) };
        assert_eq!(attempt(Some(&first), 299), (standing, None));
    }

    #[test]
    fn the_first_attempt_after_the_delay_passes() {
        let first = Triplet { first: second(0), passed: None };
        let (standing, next) = attempt(Some(&first), 300);
        assert_eq!(standing, Standing::Passed { waited: seconds(300) });
        let passed = Triplet { first: second(0), passed: Some(second(300)) };
        assert_eq!(next, Some((passed, second(30_300))));
    }

    #[test]
    fn a_known_triplet_is_noted_anew_once_in_a_while() {
        let known = Triplet { first: second(0), passed: Some(second(300)) };
        assert_eq!(attempt(Some(&known), 899), (Standing::Known, None));
        let noted = Triplet { first: second(0), passed: Some(second(900)) };
        assert_eq!(attempt(Some(&known), 900), (Standing::Known, Some((noted, second(30_900)))));
    }

    #[test]
    fn an_attempt_that_came_a_little_before_the_one_that_is_noted_is_not_new() {
        let noted = Triplet { first: second(1_000), passed: None };
        let (standing, next) = attempt(Some(&noted), 999);
        assert!(matches!(standing, Standing::Early { waited: Duration::ZERO, .. }));
        assert_eq!(next, None);
    }

    #[test]
    fn a_clock_that_went_back_makes_nobody_wait_longer_than_the_delay() {
        let ahead = Triplet { first: second(1_000_000), passed: None };
        assert_eq!(attempt(Some(&ahead), 0).0, Standing::New);
    }

    #[test]
    fn a_record_is_read_as_it_was_written() {
        for passed in [None, Some(second(5)), Some(second(7))] {
            let triplet = Triplet { first: second(5), passed };
            assert_eq!(Triplet::from_octets(&triplet.to_octets()), Some(triplet));
        }
    }

    /// Looks at all that happened before, each time from the beginning.
    fn replayed(attempts: &[i64]) -> &'static str {
        let seconds = |period: Duration| i64::try_from(period.as_secs()).unwrap();
        let (delay, window) = (seconds(TERMS.delay), seconds(TERMS.window));
        let (lifetime, rest) = (seconds(TERMS.lifetime), seconds(TERMS.refresh()));
        let mut status = "";
        // The beginning, and from when on a passed one counts as seen.
        let (mut first, mut seen): (Option<i64>, Option<i64>) = (None, None);
        for at in attempts {
            let is_forgotten = match (first, seen) {
                (_, Some(seen)) => at - seen >= lifetime,
                (Some(first), None) => at - first >= window,
                (None, None) => true,
            };
            if is_forgotten {
                (first, seen, status) = (Some(*at), None, "new");
            } else if let Some(before) = seen {
                seen = Some(if at - before >= rest { *at } else { before });
                status = "known";
            } else if first.is_some_and(|first| at - first < delay) {
                status = "early";
            } else {
                (seen, status) = (Some(*at), "passed");
            }
        }
        status
    }

    fn word(standing: Standing) -> &'static str {
        match standing {
            Standing::New => "new",
            Standing::Early { .. } => "early",
            Standing::Passed { .. } => "passed",
            Standing::Known => "known",
        }
    }

    fn pause() -> impl Strategy<Value = i64> {
        prop_oneof![
            0..10_i64,
            290..310_i64,
            590..610_i64,
            2_600..3_100_i64,
            29_300..30_100_i64,
            0..100_000_i64,
        ]
    }

    proptest! {
        /// Several triplets, any pauses: the records say what the whole history says.
        #[test]
        fn records_say_what_the_whole_history_says(
            steps in prop::collection::vec((0..3_usize, pause()), 1..60)
        ) {
            let mut histories = [const { Vec::new() }; 3];
            let mut store: BTreeMap<usize, (Triplet, Timestamp)> = BTreeMap::new();
            let mut now = 0;
            for (key, pause) in steps {
                now += pause;
                let known = store.get(&key).filter(|(_, until)| *until > second(now));
                let known = known.map(|(triplet, _)| triplet.clone());
                let (standing, next) = attempt(known.as_ref(), now);
                if let Some(next) = next {
                    let octets = next.0.to_octets();
                    store.insert(key, (Triplet::from_octets(&octets).unwrap(), next.1));
                }
                histories[key].push(now);
                prop_assert_eq!(word(standing), replayed(&histories[key]));
            }
        }

        /// Whatever is remembered, nobody is told to wait longer than the delay.
        #[test]
        fn nobody_waits_longer_than_the_delay(first in -5_000..5_000_i64, now in -5_000..5_000_i64) {
            let known = Triplet { first: second(first), passed: None };
            if let Standing::Early { left, .. } = attempt(Some(&known), now).0 {
                prop_assert!(left <= TERMS.delay && !left.is_zero());
            }
        }
    }
}
