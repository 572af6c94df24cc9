//! What one limit has counted for one key: over a sliding window, in a calendar period, or in a
//! bucket that drains. Arithmetic only; times are milliseconds since 1970, and given.
//!
//! A sliding window keeps what was counted together with its time, so that sparse traffic is
//! counted exactly. What came within one [`PARTS`]th of the period is kept as one entry with the
//! time of the latest of it. So nothing is forgotten before its period is over, and everything at
//! most a part later: in no window of the period's length pass more than `max`, and whatever is
//! refused would also be refused by an exact window that is a part longer.

use mppd_state::{Reader, Writer};

/// Of how many parts a sliding window consists.
pub(super) const PARTS: u64 = 60;

/// How a limit counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    /// Over the last so many milliseconds.
    Sliding { per: u64 },
    /// In a period of the calendar, of which the current one is from `start` until before `end`.
    Calendar { unit: Unit, start: u64, end: u64 },
    /// In a bucket that drains by `max` in so many milliseconds.
    Bucket { per: u64 },
}

/// A period of the calendar.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unit {
    Day,
    Week,
    Month,
}

impl Unit {
    pub(super) const ALL: &'static [Unit] = &[Unit::Day, Unit::Week, Unit::Month];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Unit::Day => "day",
            Unit::Week => "week",
            Unit::Month => "month",
        }
    }
}

/// How much may pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rule {
    pub(super) measure: Measure,
    /// In each period; 0 where there is no limit.
    pub(super) max: u64,
    /// At once, for a bucket; else as `max`.
    pub(super) burst: u64,
}

impl Rule {
    pub(super) fn is_unlimited(&self) -> bool {
        self.max == 0
    }

    /// The same with another `max`, of which a burst is the same share.
    pub(super) fn with_max(self, max: u64) -> Self {
        let burst = u128::from(self.burst) * u128::from(max) / u128::from(self.max).max(1);
        let burst = u64::try_from(burst).unwrap_or(u64::MAX).max(1);
        Rule { max, burst, ..self }
    }

    /// How much can have been counted when nothing more may pass.
    pub(super) fn capacity(&self) -> u64 {
        self.burst
    }

    /// How long a period is.
    fn per(&self) -> u64 {
        match self.measure {
            Measure::Sliding { per } | Measure::Bucket { per } => per,
            Measure::Calendar { start, end, .. } => end.saturating_sub(start),
        }
    }
}

/// What a limit has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Meter {
    /// What came until when, oldest first.
    Sliding { per: u64, entries: Vec<Entry> },
    /// In the period from `start` until before `end`.
    Calendar { unit: Unit, start: u64, end: u64, count: u64 },
    /// What had not drained at a time, in units of which one of the amount is `per`.
    Bucket { per: u64, at: u64, level: u128 },
}

/// A part of what a sliding window has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    /// When the latest of it came.
    at: u64,
    amount: u64,
}

impl Meter {
    /// One that has counted nothing.
    pub(super) fn new(measure: Measure, now: u64) -> Self {
        match measure {
            Measure::Sliding { per } => Meter::Sliding { per, entries: Vec::new() },
            Measure::Calendar { unit, start, end } => {
                Meter::Calendar { unit, start, end, count: 0 }
            }
            Measure::Bucket { per } => Meter::Bucket { per, at: now, level: 0 },
        }
    }

    /// Whether it counts in this way.
    pub(super) fn is_of(&self, measure: Measure) -> bool {
        match (self, measure) {
            (Meter::Sliding { per, .. }, Measure::Sliding { per: other })
            | (Meter::Bucket { per, .. }, Measure::Bucket { per: other }) => *per == other,
            (Meter::Calendar { unit, .. }, Measure::Calendar { unit: other, .. }) => *unit == other,
            _ => false,
        }
    }

    /// Forgets what is no longer to be counted.
    pub(super) fn advance(&mut self, rule: &Rule, now: u64) {
        match (self, rule.measure) {
            (Meter::Sliding { per, entries }, _) => {
                // What lies far ahead was counted by a clock that has been set right since.
                let counts = |entry: &Entry| {
                    entry.at.saturating_add(*per) > now && entry.at <= now.saturating_add(*per)
                };
                entries.retain(counts);
            }
            // A node whose clock is behind counts in the period that another one has begun.
            (
                Meter::Calendar { start, end, count, .. },
                Measure::Calendar { start: current, end: ends, .. },
            ) if *start < current || now.saturating_add(ends - current) < *start => {
                (*start, *end, *count) = (current, ends, 0);
            }
            (Meter::Calendar { .. }, _) => {}
            (Meter::Bucket { at, level, .. }, _) => {
                let drained = u128::from(now.saturating_sub(*at)) * u128::from(rule.max);
                *level = level.saturating_sub(drained);
                // A clock that is behind must not have the same time drain twice.
                let is_far_ahead = *at > now.saturating_add(rule.per());
                *at = if is_far_ahead { now } else { now.max(*at) };
            }
        }
    }

    /// How much counts at this time.
    pub(super) fn count(&self) -> u64 {
        match self {
            Meter::Sliding { entries, .. } => {
                entries.iter().fold(0, |sum, entry| entry.amount.saturating_add(sum))
            }
            Meter::Calendar { count, .. } => *count,
            Meter::Bucket { per, level, .. } => {
                u64::try_from(level.div_ceil(u128::from(*per).max(1))).unwrap_or(u64::MAX)
            }
        }
    }

    /// How many milliseconds it is until so much more may pass; 0 if it may now. Where that is
    /// never, the length of the period.
    pub(super) fn wait(&self, rule: &Rule, amount: u64, now: u64) -> u64 {
        if amount > rule.capacity() {
            return rule.per().max(1);
        }
        match self {
            Meter::Sliding { per, entries } => {
                let mut count = self.count();
                let fits = |count: u64| count.saturating_add(amount) <= rule.max;
                if fits(count) {
                    return 0;
                }
                for entry in entries {
                    count = count.saturating_sub(entry.amount);
                    if fits(count) {
                        return entry.at.saturating_add(*per).saturating_sub(now).max(1);
                    }
                }
                (*per).max(1)
            }
            Meter::Calendar { end, count, .. } => {
                if count.saturating_add(amount) <= rule.max {
                    return 0;
                }
                end.saturating_sub(now).max(1)
            }
            Meter::Bucket { per, level, .. } => {
                let over = level.saturating_sub(room(rule.burst - amount, *per));
                let wait = over.div_ceil(u128::from(rule.max).max(1));
                u64::try_from(wait).unwrap_or(u64::MAX)
            }
        }
    }

    /// Counts so much.
    pub(super) fn add(&mut self, rule: &Rule, amount: u64, now: u64) {
        match self {
            Meter::Sliding { per, entries } => {
                let part = (*per / PARTS).max(1);
                match entries.last_mut() {
                    Some(last) if last.at >= now || last.at / part == now / part => {
                        last.at = last.at.max(now);
                        last.amount = last.amount.saturating_add(amount);
                    }
                    _ => entries.push(Entry { at: now, amount }),
                }
            }
            Meter::Calendar { count, .. } => *count = count.saturating_add(amount),
            Meter::Bucket { per, level, .. } => {
                // What was refused may be counted as well, but never for longer than a period.
                let most = room(rule.burst.saturating_add(rule.max), *per);
                *level = level.saturating_add(room(amount, *per)).min(most.max(*level));
            }
        }
    }

    /// When all that it has counted no longer counts.
    pub(super) fn until(&self, rule: &Rule, now: u64) -> u64 {
        match self {
            Meter::Sliding { per, entries } => {
                entries.last().map_or(now, |last| last.at.saturating_add(*per))
            }
            Meter::Calendar { end, .. } => *end,
            Meter::Bucket { level, .. } => {
                let drains = level.div_ceil(u128::from(rule.max).max(1));
                now.saturating_add(u64::try_from(drains).unwrap_or(u64::MAX))
            }
        }
    }

    /// How many octets it takes when it is written, about.
    pub(super) fn expected_size(&self) -> usize {
        match self {
            Meter::Sliding { entries, .. } => 16 + entries.len() * 5,
            Meter::Calendar { .. } | Meter::Bucket { .. } => 32,
        }
    }

    pub(super) fn write(&self, writer: &mut Writer) {
        match self {
            Meter::Sliding { per, entries } => {
                writer.number(SLIDING);
                writer.number(*per);
                writer.number(entries.len() as u64);
                let mut before = 0;
                for entry in entries {
                    // The first is a time, the others are distances, which are shorter.
                    writer.number(entry.at.saturating_sub(before));
                    writer.number(entry.amount);
                    before = entry.at;
                }
            }
            Meter::Calendar { unit, start, end, count } => {
                writer.number(CALENDAR + *unit as u64);
                writer.number(*start);
                writer.number(end.saturating_sub(*start));
                writer.number(*count);
            }
            Meter::Bucket { per, at, level } => {
                writer.number(BUCKET);
                writer.number(*per);
                writer.number(*at);
                writer.octets(&level.to_be_bytes());
            }
        }
    }

    pub(super) fn read(reader: &mut Reader<'_>) -> Option<Self> {
        match reader.number()? {
            SLIDING => {
                let (per, count) = (reader.number()?, reader.number()?);
                let mut at: u64 = 0;
                // There is rarely more than one for each part.
                let most = usize::try_from(count.min(PARTS + 2)).unwrap_or_default();
                let mut entries = Vec::with_capacity(most);
                for _ in 0..count {
                    at = at.checked_add(reader.number()?)?;
                    entries.push(Entry { at, amount: reader.number()? });
                }
                Some(Meter::Sliding { per, entries })
            }
            BUCKET => {
                let (per, at) = (reader.number()?, reader.number()?);
                let level = u128::from_be_bytes(reader.octets()?.try_into().ok()?);
                Some(Meter::Bucket { per, at, level })
            }
            kind => {
                let index = usize::try_from(kind.checked_sub(CALENDAR)?).ok()?;
                let (unit, start) = (*Unit::ALL.get(index)?, reader.number()?);
                let end = start.checked_add(reader.number()?)?;
                Some(Meter::Calendar { unit, start, end, count: reader.number()? })
            }
        }
    }
}

// How the records tell meters apart.
const SLIDING: u64 = 0;
const BUCKET: u64 = 1;
/// The first of one for each unit.
const CALENDAR: u64 = 2;

/// An amount in the units of a bucket.
fn room(amount: u64, per: u64) -> u128 {
    u128::from(amount) * u128::from(per)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PER: u64 = 6_000;

    fn sliding(max: u64) -> Rule {
        Rule { measure: Measure::Sliding { per: PER }, max, burst: max }
    }

    fn bucket(max: u64, burst: u64) -> Rule {
        Rule { measure: Measure::Bucket { per: PER }, max, burst }
    }

    /// Asks a meter, and has it count what it lets pass.
    fn pass(meter: &mut Meter, rule: &Rule, amount: u64, now: u64) -> bool {
        meter.advance(rule, now);
        let passes = meter.wait(rule, amount, now) == 0;
        if passes {
            meter.add(rule, amount, now);
        }
        passes
    }

    /// What came at which time: distances that are often none, amounts that are often one.
    fn traffic(steps: usize) -> impl Strategy<Value = Vec<(u64, u64)>> {
        let distance = prop_oneof![Just(0), 1_u64..20, 1_u64..PER / 4, 1_u64..PER * 2];
        let amount = prop_oneof![3 => Just(1_u64), 1 => 1_u64..12];
        prop::collection::vec((distance, amount), 1..steps).prop_map(|steps| {
            let mut at = 1_000_000;
            let step = |(distance, amount)| {
                at += distance;
                (at, amount)
            };
            steps.into_iter().map(step).collect()
        })
    }

    /// How much of what passed lies in the time before and at `now`, this far back.
    fn exact(passed: &[(u64, u64)], now: u64, back: u64) -> u64 {
        passed.iter().filter(|(at, _)| at + back > now).map(|(_, amount)| amount).sum()
    }

    proptest! {
        #[test]
        fn a_sliding_window_never_lets_more_pass_and_refuses_only_what_a_part_more_would(
            traffic in traffic(200),
            max in 1_u64..40,
        ) {
            let rule = sliding(max);
            let mut meter = Meter::new(rule.measure, 0);
            let mut passed: Vec<(u64, u64)> = Vec::new();
            for (now, amount) in traffic {
                if pass(&mut meter, &rule, amount, now) {
                    passed.push((now, amount));
                    prop_assert!(exact(&passed, now, PER) <= max);
                } else {
                    let longer = exact(&passed, now, PER + PER / PARTS);
                    prop_assert!(longer + amount > max, "refused at {longer} + {amount} of {max}");
                }
            }
        }

        #[test]
        fn sparse_traffic_is_counted_exactly(
            distances in prop::collection::vec(PER / PARTS..PER, 1..200),
            max in 1_u64..40,
        ) {
            let rule = sliding(max);
            let mut meter = Meter::new(rule.measure, 0);
            let (mut now, mut passed) = (1_000_000, Vec::new());
            for distance in distances {
                now += distance;
                let fits = exact(&passed, now, PER) < max;
                prop_assert_eq!(pass(&mut meter, &rule, 1, now), fits);
                if fits {
                    passed.push((now, 1));
                }
            }
        }

        #[test]
        fn a_bucket_is_exact(traffic in traffic(40), max in 1_u64..40, burst in 1_u64..80) {
            let rule = bucket(max, burst);
            let mut meter = Meter::new(rule.measure, 1_000_000);
            // The same over fractions, from the beginning each time: no more than `burst`, and what
            // drains in between, may pass from any moment to any other.
            let mut passed: Vec<(u64, u64)> = Vec::new();
            for (now, amount) in traffic {
                let fits = |passed: &[(u64, u64)]| {
                    passed.iter().all(|(from, _)| {
                        let since: u64 = passed.iter().filter(|(at, _)| at >= from).map(|p| p.1).sum();
                        since * PER <= burst * PER + (now - from) * max
                    })
                };
                let mut with = passed.clone();
                with.push((now, amount));
                prop_assert_eq!(pass(&mut meter, &rule, amount, now), fits(&with));
                if fits(&with) {
                    passed = with;
                }
            }
        }

        #[test]
        fn what_was_refused_passes_after_the_wait(
            traffic in traffic(200),
            max in 1_u64..40,
            burst in prop::option::of(1_u64..80),
        ) {
            let rule = burst.map_or(sliding(max), |burst| bucket(max, burst));
            let mut meter = Meter::new(rule.measure, 1_000_000);
            for (now, amount) in traffic {
                meter.advance(&rule, now);
                let wait = meter.wait(&rule, amount, now);
                if amount <= rule.capacity() {
                    let later = now + wait;
                    let mut then = meter.clone();
                    then.advance(&rule, later);
                    prop_assert_eq!(then.wait(&rule, amount, later), 0);
                    if wait > 0 {
                        let mut before = meter.clone();
                        before.advance(&rule, later - 1);
                        prop_assert!(before.wait(&rule, amount, later - 1) > 0);
                    }
                }
                pass(&mut meter, &rule, amount, now);
            }
        }

        #[test]
        fn what_is_kept_is_bounded(traffic in traffic(200)) {
            let rule = sliding(u64::MAX);
            let mut meter = Meter::new(rule.measure, 0);
            for (now, amount) in traffic {
                pass(&mut meter, &rule, amount, now);
                let Meter::Sliding { entries, .. } = &meter else { panic!() };
                prop_assert!(entries.len() as u64 <= PARTS + 2, "{}", entries.len());
            }
        }

        #[test]
        fn a_meter_is_read_as_it_was_written(traffic in traffic(200), kind in 0_usize..3) {
            let calendar = Measure::Calendar { unit: Unit::Week, start: 5, end: 9_999_999 };
            let measure = [sliding(1).measure, bucket(1, 1).measure, calendar][kind];
            let rule = Rule { measure, max: 1_000, burst: 1_000 };
            let mut meter = Meter::new(measure, 1_000_000);
            for (now, amount) in traffic {
                pass(&mut meter, &rule, amount, now);
            }
            let kept = Kept(meter);
            prop_assert_eq!(Kept::from_octets(&kept.to_octets()), Some(kept));
        }
    }

    #[derive(Debug, PartialEq)]
    struct Kept(Meter);

    impl mppd_state::Record for Kept {
        const KIND: u8 = b'k';

        fn write(&self, writer: &mut Writer) {
            self.0.write(writer);
        }

        fn read(reader: &mut Reader<'_>) -> Option<Self> {
            Meter::read(reader).map(Kept)
        }
    }

    use mppd_state::Record as _;

    #[test]
    fn a_period_of_the_calendar_begins_anew_at_its_end() {
        let rule = |start, end| Rule {
            measure: Measure::Calendar { unit: Unit::Day, start, end },
            max: 2,
            burst: 2,
        };
        let (today, tomorrow) = (rule(1_000, 2_000), rule(2_000, 3_000));
        let mut meter = Meter::new(today.measure, 1_500);
        assert!(pass(&mut meter, &today, 2, 1_500));
        assert_eq!(meter.wait(&today, 1, 1_500), 500);
        assert!(pass(&mut meter, &tomorrow, 1, 2_000));
        assert_eq!(meter.count(), 1);
    }

    #[test]
    fn a_node_whose_clock_is_behind_counts_in_the_period_that_has_begun() {
        let rule = |start, end| Rule {
            measure: Measure::Calendar { unit: Unit::Day, start, end },
            max: 2,
            burst: 2,
        };
        let mut meter = Meter::new(rule(2_000, 3_000).measure, 2_000);
        assert!(pass(&mut meter, &rule(2_000, 3_000), 2, 2_000));
        assert!(!pass(&mut meter, &rule(1_000, 2_000), 1, 1_999));
    }

    #[test]
    fn a_clock_that_is_set_back_lets_no_time_drain_twice() {
        let rule = bucket(6, 6);
        let mut meter = Meter::new(rule.measure, 10_000);
        assert!(pass(&mut meter, &rule, 6, 10_000));
        assert!(pass(&mut meter, &rule, 1, 11_000));
        assert!(!pass(&mut meter, &rule, 1, 10_000));
        assert!(!pass(&mut meter, &rule, 1, 11_000));
        assert!(pass(&mut meter, &rule, 1, 12_000));
    }

    #[test]
    fn what_was_counted_far_ahead_is_forgotten() {
        for rule in [sliding(1), bucket(1, 1)] {
            let mut meter = Meter::new(rule.measure, 900_000);
            assert!(pass(&mut meter, &rule, 1, 900_000));
            meter.advance(&rule, 100_000);
            meter.advance(&rule, 100_000 + PER);
            assert_eq!(meter.wait(&rule, 1, 100_000 + PER), 0, "{rule:?}");
        }
    }

    #[test]
    fn an_amount_above_a_limit_waits_for_a_period_and_never_passes() {
        assert_eq!(Meter::new(sliding(5).measure, 0).wait(&sliding(5), 6, 0), PER);
        assert_eq!(Meter::new(bucket(50, 5).measure, 0).wait(&bucket(50, 5), 6, 0), PER);
    }
}
