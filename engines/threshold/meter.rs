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
mod tests;
