//! Times as people write them: `2h`, `yesterday`, `13:00`, `2026-11-22 13:00`.

use jiff::civil::{Date, DateTime, Time};
use jiff::{Span, Timestamp, ToSpan as _, Zoned};

use super::QuestionError;

/// A time, or a day, in microseconds since 1970; the end is not part of it.
pub(super) struct Moment {
    pub(super) begin: i64,
    pub(super) end: i64,
    pub(super) is_day: bool,
}

pub(super) fn moment(text: &str, now: &Zoned) -> Result<Moment, QuestionError> {
    let text = text.trim();
    let wrong = || QuestionError::Time(text.to_owned());
    if let Some(date) = day(text, now) {
        return whole_day(date, now).ok_or_else(wrong);
    }
    let instant = instant(text, now).ok_or_else(wrong)?;
    Ok(Moment { begin: instant, end: instant, is_day: false })
}

fn day(text: &str, now: &Zoned) -> Option<Date> {
    match text.to_ascii_lowercase().as_str() {
        "today" => Some(now.date()),
        "yesterday" => now.date().yesterday().ok(),
        // A date parser takes the date out of a date and time as well.
        text if text.len() > 10 => None,
        text => text.parse().ok(),
    }
}

fn whole_day(date: Date, now: &Zoned) -> Option<Moment> {
    let begin = date.to_zoned(now.time_zone().clone()).ok()?;
    let end = date.tomorrow().ok()?.to_zoned(now.time_zone().clone()).ok()?;
    let [begin, end] = [begin, end].map(|at| at.timestamp().as_microsecond());
    Some(Moment { begin, end, is_day: true })
}

fn instant(text: &str, now: &Zoned) -> Option<i64> {
    if text.eq_ignore_ascii_case("now") {
        return Some(now.timestamp().as_microsecond());
    }
    if let Ok(timestamp) = text.parse::<Timestamp>() {
        return Some(timestamp.as_microsecond());
    }
    let local = |time: DateTime| {
        let zoned = time.to_zoned(now.time_zone().clone()).ok()?;
        Some(zoned.timestamp().as_microsecond())
    };
    if let Ok(time) = text.parse::<DateTime>() {
        return local(time);
    }
    if text.contains(':')
        && let Ok(time) = text.parse::<Time>()
    {
        return local(now.date().to_datetime(time));
    }
    let ago: Span = text.trim_end_matches("ago").trim_end().parse().ok()?;
    let then = now.checked_sub(ago.abs()).ok()?;
    // "In the last 0 seconds" is no question.
    (ago.fieldwise() != 0.seconds().fieldwise()).then(|| then.timestamp().as_microsecond())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-22T13:00:00+01:00[Europe/Berlin]".parse().unwrap()
    }

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_microsecond()
    }

    fn begin(text: &str) -> i64 {
        moment(text, &now()).unwrap().begin
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        assert_eq!(begin("2h"), at("2026-11-22T10:00:00Z"));
        assert_eq!(begin("2 hours ago"), at("2026-11-22T10:00:00Z"));
        assert_eq!(begin("3 days"), at("2026-11-19T12:00:00Z"));
        assert_eq!(begin("yesterday"), at("2026-11-20T23:00:00Z"));
        assert_eq!(begin("today"), at("2026-11-21T23:00:00Z"));
        assert_eq!(begin("2026-11-22"), at("2026-11-21T23:00:00Z"));
        assert_eq!(begin("2026-11-22 12:30"), at("2026-11-22T11:30:00Z"));
        assert_eq!(begin("2026-11-22 12:30:15"), at("2026-11-22T11:30:15Z"));
        assert_eq!(begin("2026-11-22T12:30:00Z"), at("2026-11-22T12:30:00Z"));
        assert_eq!(begin("09:15"), at("2026-11-22T08:15:00Z"));
        assert_eq!(begin("now"), at("2026-11-22T12:00:00Z"));
        for wrong in ["", "soon", "25:00", "2026-13-01", "0s"] {
            assert!(moment(wrong, &now()).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_day_ends_where_the_next_begins() {
        assert_eq!(moment("yesterday", &now()).unwrap().end, at("2026-11-21T23:00:00Z"));
    }
}
