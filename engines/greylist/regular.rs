//! Clients of which so many triplets have passed that they need not wait any more.

use std::time::Duration;

use jiff::Timestamp;
use mppd_state::{Reader, Record, Writer};

use super::triplet::{Next, after, is_over, refresh};

/// When a client need not wait any more.
#[derive(Debug, Clone, Copy)]
pub(super) struct RegularTerms {
    /// After so many successes, at least one.
    pub(super) successes: u32,
    /// Between two that count. One connection with many recipients is one success.
    pub(super) interval: Duration,
    /// How long a client is remembered after it was last seen.
    pub(super) lifetime: Duration,
}

/// A client of which triplets have passed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Regular {
    /// How many that count.
    pub(super) successes: u32,
    /// When the last of them did.
    pub(super) counted: Timestamp,
    /// When it was last noted to have been here.
    pub(super) seen: Timestamp,
}

impl Regular {
    /// Whether a client need not wait, and what is then to be remembered of it.
    pub(super) fn visit(
        known: Option<&Regular>,
        now: Timestamp,
        terms: RegularTerms,
    ) -> (bool, Next<Regular>) {
        let Some(known) = known.filter(|known| known.successes >= terms.successes) else {
            return (false, None);
        };
        let is_fresh = !is_over(known.seen, now, refresh(terms.lifetime));
        let seen = || (Regular { seen: now, ..known.clone() }, after(now, terms.lifetime));
        (true, (!is_fresh).then(seen))
    }

    /// A triplet of a client has passed.
    pub(super) fn success(
        known: Option<&Regular>,
        now: Timestamp,
        terms: RegularTerms,
    ) -> Next<Regular> {
        let successes = match known {
            Some(known) if !is_over(known.counted, now, terms.interval) => return None,
            Some(known) => known.successes.saturating_add(1),
            None => 1,
        };
        Some((Regular { successes, counted: now, seen: now }, after(now, terms.lifetime)))
    }
}

impl Record for Regular {
    const KIND: u8 = b'R';

    fn write(&self, writer: &mut Writer) {
        writer.number(u64::from(self.successes));
        writer.time(self.counted);
        writer.time(self.seen);
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        Some(Regular {
            successes: u32::try_from(reader.number()?).ok()?,
            counted: reader.time()?,
            seen: reader.time()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const TERMS: RegularTerms = RegularTerms {
        successes: 3,
        interval: Duration::from_hours(1),
        lifetime: Duration::from_secs(100_000),
    };

    fn second(count: i64) -> Timestamp {
        Timestamp::from_second(count).unwrap()
    }

    #[test]
    fn successes_count_once_in_an_interval() {
        let (first, _) = Regular::success(None, second(0), TERMS).unwrap();
        assert_eq!(Regular::success(Some(&first), second(3_599), TERMS), None);
        let (second_one, until) = Regular::success(Some(&first), second(3_600), TERMS).unwrap();
        assert_eq!((second_one.successes, until), (2, second(103_600)));
    }

    #[test]
    fn enough_successes_are_enough() {
        let regular = |successes| Regular { successes, counted: second(0), seen: second(0) };
        assert!(!Regular::visit(Some(&regular(2)), second(1), TERMS).0);
        assert!(Regular::visit(Some(&regular(3)), second(1), TERMS).0);
        assert!(!Regular::visit(None, second(1), TERMS).0);
    }

    #[test]
    fn whoever_keeps_coming_stays() {
        let regular = Regular { successes: 3, counted: second(0), seen: second(0) };
        assert_eq!(Regular::visit(Some(&regular), second(1_999), TERMS).1, None);
        let (seen, until) = Regular::visit(Some(&regular), second(2_000), TERMS).1.unwrap();
        assert_eq!((seen.seen, until), (second(2_000), second(102_000)));
        assert_eq!(seen.counted, second(0));
    }

    /// Whether a client with this history need not wait: when it came, and whether what it brought
    /// would pass.
    fn replayed(history: &[(i64, bool)]) -> bool {
        const LIFETIME: i64 = 100_000;
        let (mut counted, mut noted, mut is_regular) = (Vec::new(), 0, false);
        for (at, passes) in history {
            if at - noted >= LIFETIME {
                counted.clear();
            }
            is_regular = counted.len() >= 3;
            let is_new = counted.last().is_none_or(|last| at - last >= 3_600);
            if is_regular && at - noted >= LIFETIME / 50 {
                noted = *at;
            } else if !is_regular && *passes && is_new {
                counted.push(*at);
                noted = *at;
            }
        }
        is_regular
    }

    fn pause() -> impl Strategy<Value = i64> {
        prop_oneof![0..10_i64, 1_990..2_010_i64, 3_590..3_610_i64, 97_900..100_100_i64]
    }

    proptest! {
        #[test]
        fn a_record_is_read_as_it_was_written(
            successes: u32, counted in 0..1_i64 << 40, seen in 0..1_i64 << 40
        ) {
            let time = |at| Timestamp::from_millisecond(at).unwrap();
            let regular = Regular { successes, counted: time(counted), seen: time(seen) };
            prop_assert_eq!(Regular::from_octets(&regular.to_octets()), Some(regular));
        }

        /// The record says what the whole history says: mail of the client comes, and passes or not.
        #[test]
        fn the_record_says_what_the_whole_history_says(
            steps in prop::collection::vec((any::<bool>(), pause()), 1..60)
        ) {
            let (mut history, mut now) = (Vec::new(), 0);
            let mut record: Option<(Regular, Timestamp)> = None;
            for (passes, pause) in steps {
                now += pause;
                history.push((now, passes));
                let known = record.clone().filter(|(_, until)| *until > second(now));
                let known = known.map(|(regular, _)| regular);
                let (is_regular, mut next) = Regular::visit(known.as_ref(), second(now), TERMS);
                prop_assert_eq!(is_regular, replayed(&history));
                if passes && !is_regular {
                    next = Regular::success(known.as_ref(), second(now), TERMS);
                }
                record = next.or(record);
            }
        }

        /// However the successes come, they are no more than the intervals they lie in.
        #[test]
        fn nobody_gets_more_successes_than_intervals(
            pauses in prop::collection::vec(0..9_000_i64, 1..50)
        ) {
            let (mut known, mut now) = (None, 0);
            for pause in &pauses {
                now += pause;
                if let Some((next, _)) = Regular::success(known.as_ref(), second(now), TERMS) {
                    known = Some(next);
                }
            }
            let most = 1 + (now - pauses[0]) / 3_600;
            prop_assert!(i64::from(known.unwrap().successes) <= most);
        }
    }
}
