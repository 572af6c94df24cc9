//! The limits as the configuration writes them, and as they are at a time: periods of the calendar
//! begin and end in a time zone.

use std::cell::RefCell;
use std::fmt;
use std::sync::Arc;

use jiff::civil::{Date, Weekday};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan as _};
use mppd_engine::config::{FileSize, OptionValue, Period, Positive, nearest};
use mppd_engine::{BuildContext, Failure, Finding, Spanned, options};
use serde::de::value::{Error as NoValue, StrDeserializer};
use serde::de::{Deserialize, Deserializer, Error as _, IntoDeserializer as _};

use super::meter::{Measure, Rule, Unit};

/// The name of a limit that has no `id`.
pub(super) const DEFAULT_ID: &str = "max";

options! {
    /// `<limit>`
    pub(crate) struct LimitOptions {
        /// Its name, and the column of `<exceptions>` that has another `max`; `max` unless given.
        id: Option<Spanned<String>> = None,
        /// How much may pass in each period.
        max: Positive<Amount>,
        /// The period: a time, such as `1h`, that reaches back from each request (a sliding
        /// window); or `day`, `week` or `month`, a period of the calendar. A week begins on Monday.
        per: Spanned<Per>,
        /// How much may pass at once. With it the limit is a bucket that drains steadily, by `max`
        /// in each period; without, all of `max` may come at once.
        burst: Option<Spanned<Positive<Amount>>> = None,
    }
}

/// How much: a number, or a size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount(pub(crate) u64);

impl OptionValue for Amount {
    const TYPE: &'static str = "a number, such as 100, or a size, such as 50MiB";

    fn show(&self) -> String {
        self.0.to_string()
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match parsed::<FileSize>(&text) {
            Some(FileSize(amount)) => Ok(Amount(amount)),
            None => Err(D::Error::custom(format_args!("\"{text}\" is not {}", Amount::TYPE))),
        }
    }
}

/// A period of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Per {
    Time(Period),
    Calendar(Unit),
}

impl OptionValue for Per {
    const TYPE: &'static str = "a time, such as 1m or 1h, or `day`, `week` or `month`";

    fn show(&self) -> String {
        self.to_string()
    }
}

impl<'de> Deserialize<'de> for Per {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if let Some(unit) = Unit::ALL.iter().find(|unit| unit.name() == text) {
            return Ok(Per::Calendar(*unit));
        }
        match parsed::<Period>(&text) {
            Some(period) if !period.0.is_zero() => Ok(Per::Time(period)),
            Some(_) => Err(D::Error::custom("0 makes no sense here")),
            None => Err(D::Error::custom(format_args!("\"{text}\" is not {}", Per::TYPE))),
        }
    }
}

impl fmt::Display for Per {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Per::Time(period) => period.fmt(f),
            Per::Calendar(unit) => f.write_str(unit.name()),
        }
    }
}

/// A value of an option whose type reads itself from a text.
fn parsed<T: for<'de> Deserialize<'de>>(text: &str) -> Option<T> {
    let deserializer: StrDeserializer<'_, NoValue> = text.into_deserializer();
    T::deserialize(deserializer).ok()
}

/// One limit.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    pub(super) id: Spanned<String>,
    pub(super) per: Per,
    max: u64,
    burst: Option<u64>,
}

impl Limit {
    /// The rule at a time.
    fn rule(&self, now: Timestamp, zone: &TimeZone) -> Result<Rule, jiff::Error> {
        let measure = match (self.per, self.burst) {
            (Per::Time(period), None) => Measure::Sliding { per: milliseconds(period) },
            (Per::Time(period), Some(_)) => Measure::Bucket { per: milliseconds(period) },
            (Per::Calendar(unit), _) => {
                let (start, end) = unit.around(now, zone)?;
                Measure::Calendar { unit, start, end }
            }
        };
        Ok(Rule { measure, max: self.max, burst: self.burst.unwrap_or(self.max) })
    }
}

/// A time in whole milliseconds.
pub(super) fn milliseconds(period: Period) -> u64 {
    u64::try_from(period.0.as_millis()).unwrap_or(u64::MAX)
}

impl Unit {
    /// The period of the calendar that a time lies in: its first millisecond, and the one behind
    /// its last.
    fn around(self, now: Timestamp, zone: &TimeZone) -> Result<(u64, u64), jiff::Error> {
        let today = now.to_zoned(zone.clone()).date();
        let (first, behind) = match self {
            Unit::Day => (today, today.tomorrow()?),
            Unit::Week => {
                let monday = today.checked_sub(days_since_monday(today).days())?;
                (monday, monday.checked_add(1.week())?)
            }
            Unit::Month => {
                let first = today.first_of_month();
                (first, first.checked_add(1.month())?)
            }
        };
        let begin = |date: Date| -> Result<u64, jiff::Error> {
            let begin = date.to_zoned(zone.clone())?.timestamp();
            Ok(u64::try_from(begin.as_millisecond()).unwrap_or(0))
        };
        Ok((begin(first)?, begin(behind)?))
    }
}

fn days_since_monday(date: Date) -> i8 {
    date.weekday().since(Weekday::Monday)
}

/// All limits of an engine.
#[derive(Debug, Clone)]
pub(super) struct Limits {
    pub(super) all: Arc<[Limit]>,
    zone: TimeZone,
    /// The rules as they were last, since periods of the calendar rarely end.
    current: RefCell<Option<Current>>,
}

#[derive(Debug, Clone)]
struct Current {
    from: u64,
    before: u64,
    rules: Arc<[Rule]>,
}

impl Limits {
    /// Reads the limits.
    ///
    /// # Errors
    /// Limits that can't be, or that would be the same.
    pub(super) fn read(
        options: &[LimitOptions],
        written: Option<&Spanned<String>>,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        for (index, limit) in options.iter().enumerate() {
            findings.extend(check(limit, &options[..index]));
        }
        let found = time_zone(written).map_err(|finding| findings.push(finding));
        let Ok(zone) = found else { return Err(findings) };
        if !findings.is_empty() {
            return Err(findings);
        }
        warn_of_idle(options, cx);
        if let Some(written) = written.filter(|_| !options.iter().any(is_of_calendar)) {
            let message = "no limit is for a period of the calendar, so that the zone is of no use";
            cx.warn(Finding::warning(written.span, message));
        }
        let all = options.iter().map(|limit| Limit {
            id: limit
                .id
                .clone()
                .unwrap_or_else(|| Spanned { value: DEFAULT_ID.to_owned(), span: limit.per.span }),
            per: limit.per.value,
            max: limit.max.0.0,
            burst: limit.burst.as_ref().map(|burst| burst.value.0.0),
        });
        Ok(Limits { all: all.collect(), zone, current: RefCell::default() })
    }

    /// The rules at a time.
    ///
    /// # Errors
    /// The calendar has no such period.
    pub(super) fn rules(&self, now: Timestamp) -> Result<Arc<[Rule]>, Failure> {
        let at = u64::try_from(now.as_millisecond()).unwrap_or(0);
        if let Some(current) = &*self.current.borrow()
            && (current.from..current.before).contains(&at)
        {
            return Ok(current.rules.clone());
        }
        let rule = |limit: &Limit| limit.rule(now, &self.zone);
        let rules = self.all.iter().map(rule).collect::<Result<Arc<[Rule]>, _>>();
        let failed = |error| Failure::new("can't tell the period").with_source(error);
        let rules = rules.map_err(failed)?;
        let periods = || {
            rules.iter().filter_map(|rule| match rule.measure {
                Measure::Calendar { start, end, .. } => Some((start, end)),
                _ => None,
            })
        };
        let from = periods().map(|(start, _)| start).max().unwrap_or(0);
        let before = periods().map(|(_, end)| end).min().unwrap_or(u64::MAX);
        self.current.replace(Some(Current { from, before, rules: rules.clone() }));
        Ok(rules)
    }
}

fn is_of_calendar(limit: &LimitOptions) -> bool {
    matches!(limit.per.value, Per::Calendar(_))
}

/// What is wrong with a limit, also beside those before it.
fn check(limit: &LimitOptions, before: &[LimitOptions]) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(burst) = limit.burst.as_ref().filter(|_| is_of_calendar(limit)) {
        let message = "a period of the calendar has no burst";
        let help = "write the length of the period as a time: per=\"1d\"";
        findings.push(Finding::error(burst.span, message).with_help(help));
    }
    let is_same = |other: &&LimitOptions| {
        other.per.value == limit.per.value && other.burst.is_some() == limit.burst.is_some()
    };
    if let Some(first) = before.iter().find(is_same) {
        let message = format!("there is a limit per {} already", limit.per.value);
        let finding = Finding::error(limit.per.span, message);
        findings.push(finding.with_related(first.per.span, "first here"));
    }
    let named =
        |other: &&Spanned<String>| limit.id.as_ref().is_some_and(|id| id.value == other.value);
    if let (Some(id), Some(first)) =
        (&limit.id, before.iter().filter_map(|other| other.id.as_ref()).find(named))
    {
        let finding = Finding::error(id.span, format!("there is a limit \"{}\" already", id.value));
        findings.push(finding.with_related(first.span, "first here"));
    }
    findings
}

/// Warns of limits that are never reached, because another one is narrower.
fn warn_of_idle(options: &[LimitOptions], cx: &mut BuildContext<'_>) {
    for limit in options {
        let Per::Time(period) = limit.per.value else { continue };
        let is_narrower = |other: &&LimitOptions| match other.per.value {
            Per::Time(longer) => {
                other.burst.is_none() && longer > period && other.max.0.0 <= capacity(limit)
            }
            Per::Calendar(_) => false,
        };
        if let Some(other) = options.iter().find(is_narrower) {
            let message = "this limit is never reached, because another one comes first";
            let finding = Finding::warning(limit.per.span, message);
            cx.warn(finding.with_related(other.per.span, "no more in a longer time"));
        }
    }
}

fn capacity(limit: &LimitOptions) -> u64 {
    limit.burst.as_ref().map_or(limit.max.0.0, |burst| burst.value.0.0)
}

fn time_zone(name: Option<&Spanned<String>>) -> Result<TimeZone, Finding> {
    let Some(name) = name else { return Ok(TimeZone::system()) };
    TimeZone::get(&name.value).map_err(|_| {
        let finding = Finding::error(name.span, format!("unknown time zone \"{}\"", name.value));
        let known: Vec<String> =
            jiff::tz::db().available().map(|zone| zone.as_str().to_owned()).collect();
        match nearest(&name.value, known.iter().map(String::as_str)) {
            Some(nearest) => finding.with_help(format!("did you mean \"{nearest}\"?")),
            None => finding.with_help("a name of the IANA database, such as Europe/Berlin, or UTC"),
        }
    })
}
