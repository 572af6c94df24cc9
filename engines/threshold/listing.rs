//! What is kept for a key, for people and programs that look at the state store.

use std::fmt;

use jiff::Timestamp;
use mppd_engine::config::Period;
use mppd_state::Record as _;

use super::account::{Account, Counter};
use super::limits::Per;
use super::meter::{Measure, Rule};

/// What is kept for one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Until when the key is blacklisted, if it is.
    pub blacklisted_until: Option<Timestamp>,
    /// What its limits have counted, in the order of the configuration.
    pub limits: Vec<Counted>,
}

/// What one limit has counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Counted {
    /// The period as the configuration writes it: `1h`, `day`.
    pub per: String,
    /// How much counts now.
    pub count: u64,
    /// How much may pass in each period, as it was when something was counted last; `None` where
    /// there was no limit.
    pub max: Option<u64>,
    /// How much may pass at once, if that is another number.
    pub burst: Option<u64>,
    /// How much more may pass now.
    pub remaining: Option<u64>,
}

/// As people read it: `6 of 10 per 1h`.
impl fmt::Display for Counted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counted { per, count, max, burst, .. } = self;
        match (max, burst) {
            (Some(max), Some(burst)) => write!(f, "{count} of {burst} at once, {max} per {per}"),
            (Some(max), None) => write!(f, "{count} of {max} per {per}"),
            (None, _) => write!(f, "no limit per {per}"),
        }
    }
}

/// Reads the record of a key of a `<threshold>`; `None` if it is none.
#[must_use]
pub fn listed(octets: &[u8], now: Timestamp) -> Option<Listed> {
    let account = Account::from_octets(octets)?;
    let at = u64::try_from(now.as_millisecond()).unwrap_or(0);
    let until = Some(account.blacklisted_until).filter(|until| *until > at);
    let until = until.and_then(|until| i64::try_from(until).ok());
    Some(Listed {
        blacklisted_until: until.and_then(|until| Timestamp::from_millisecond(until).ok()),
        limits: account.counters.into_iter().map(|counter| counted(counter, at)).collect(),
    })
}

fn counted(mut counter: Counter, now: u64) -> Counted {
    let rule = current(counter.rule(), now);
    counter.meter.advance(&rule, now);
    let count = counter.meter.count();
    let is_limited = !rule.is_unlimited();
    Counted {
        per: per(rule.measure).to_string(),
        count,
        max: is_limited.then_some(rule.max),
        burst: (is_limited && rule.burst != rule.max).then_some(rule.burst),
        remaining: is_limited.then(|| rule.capacity().saturating_sub(count)),
    }
}

/// The rule at a time that may lie behind the end of the period of the calendar that it knows.
fn current(rule: Rule, now: u64) -> Rule {
    match rule.measure {
        Measure::Calendar { unit, end, .. } if end <= now => {
            let measure = Measure::Calendar { unit, start: now, end: u64::MAX };
            Rule { measure, ..rule }
        }
        _ => rule,
    }
}

fn per(measure: Measure) -> Per {
    match measure {
        Measure::Sliding { per } | Measure::Bucket { per } => Per::Time(Period::milliseconds(per)),
        Measure::Calendar { unit, .. } => Per::Calendar(unit),
    }
}
