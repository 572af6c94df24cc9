//! Instants in the records: microseconds since 1970, UTC.

use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::Offset;

/// Microseconds since 1970; finer parts are cut off.
#[must_use]
pub(super) fn microseconds(time: SystemTime) -> i64 {
    match time.duration_since(UNIX_EPOCH) {
        Ok(after) => i64::try_from(after.as_micros()).unwrap_or(i64::MAX),
        Err(before) => i64::try_from(before.duration().as_micros()).map_or(i64::MIN, |us| -us),
    }
}

/// Date and time of day. What the calendar cannot hold comes as its first or last instant.
#[must_use]
pub(super) fn civil(microseconds: i64) -> DateTime {
    let nearest = if microseconds < 0 { Timestamp::MIN } else { Timestamp::MAX };
    let timestamp = Timestamp::from_microsecond(microseconds).unwrap_or(nearest);
    Offset::UTC.to_datetime(timestamp)
}

/// The instant of a date and time of day.
#[must_use]
pub(super) fn from_civil(time: DateTime) -> Option<i64> {
    Offset::UTC.to_timestamp(time).ok().map(Timestamp::as_microsecond)
}

/// Appends the form that sorts like the instants: `2026-11-22 13:00:00.000000`.
pub(super) fn write(text: &mut String, microseconds: i64) {
    let time = civil(microseconds);
    let fraction = time.subsec_nanosecond() / 1_000;
    let (year, month, day) = (time.year(), time.month(), time.day());
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    // Writing to a String cannot fail.
    let _infallible = write!(
        text,
        "{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{fraction:06}"
    );
}

/// The form that sorts like the instants.
#[must_use]
pub(super) fn show(microseconds: i64) -> String {
    let mut text = String::with_capacity(26);
    write(&mut text, microseconds);
    text
}

/// Reads that form back.
#[must_use]
pub(super) fn read(text: &str) -> Option<i64> {
    from_civil(text.parse().ok()?)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_instant_is_read_back_from_its_text(us in -60_000_000_000_000_000..250_000_000_000_000_000_i64) {
            prop_assert_eq!(read(&show(us)), Some(us));
            prop_assert_eq!(from_civil(civil(us)), Some(us));
        }
    }

    #[test]
    fn the_text_is_what_mysql_prints() {
        assert_eq!(show(1_795_352_400_000_042), "2026-11-22 13:00:00.000042");
    }
}
