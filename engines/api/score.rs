//! How much speaks against a request: what `score N` adds up.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::de::{Deserialize, Deserializer, Error as _};

use crate::config::OptionValue;

const FRACTION_DIGITS: usize = 3;
const UNIT: i64 = 1_000;

/// A number with up to three decimals, kept exactly: in thousandths.
///
/// ```
/// # use mppd_engine::Score;
/// let score: Score = "-2.5".parse()?;
/// assert_eq!(score, Score(-2_500));
/// assert_eq!(score.to_string(), "-2.5");
/// # Ok::<(), mppd_engine::score::NoScore>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Score(pub i64);

/// What one engine has added to the score of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contribution {
    /// The engine's full ID.
    pub engine: Arc<str>,
    /// What it came to.
    pub status: &'static str,
    /// How much it added.
    pub score: Score,
}

impl<'de> Deserialize<'de> for Score {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }
}

impl OptionValue for Score {
    const TYPE: &'static str = "a number with up to three decimals, such as 5 or -2.5";

    fn show(&self) -> String {
        self.to_string()
    }
}

/// A text is no score.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("\"{0}\" is not a number with up to {FRACTION_DIGITS} decimals, such as 5 or -2.5")]
pub struct NoScore(String);

impl FromStr for Score {
    type Err = NoScore;

    fn from_str(text: &str) -> Result<Self, NoScore> {
        let (is_negative, digits) = match text.as_bytes().first() {
            Some(b'-') => (true, &text[1..]),
            Some(b'+') => (false, &text[1..]),
            _ => (false, text),
        };
        let thousandths = thousandths(digits).ok_or_else(|| NoScore(text.to_owned()))?;
        Ok(Score(if is_negative { -thousandths } else { thousandths }))
    }
}

fn thousandths(digits: &str) -> Option<i64> {
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, "0"));
    let are_digits = |text: &str| !text.is_empty() && text.bytes().all(|o| o.is_ascii_digit());
    if !are_digits(whole) || !are_digits(fraction) || fraction.len() > FRACTION_DIGITS {
        return None;
    }
    let fraction: i64 = format!("{fraction:0<FRACTION_DIGITS$}").parse().ok()?;
    whole.parse::<i64>().ok()?.checked_mul(UNIT)?.checked_add(fraction)
}

impl fmt::Display for Score {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let (whole, fraction) = (
            self.0.unsigned_abs() / UNIT.unsigned_abs(),
            self.0.unsigned_abs() % UNIT.unsigned_abs(),
        );
        if fraction == 0 {
            return write!(f, "{sign}{whole}");
        }
        let decimals = format!("{fraction:0>FRACTION_DIGITS$}");
        write!(f, "{sign}{whole}.{}", decimals.trim_end_matches('0'))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_is_read_and_shown_exactly() {
        for text in ["0", "5", "-5", "0.5", "-0.125", "1000000"] {
            assert_eq!(text.parse::<Score>().unwrap().to_string(), text);
        }
        assert_eq!("+1.50".parse(), Ok(Score(1_500)));
    }

    #[test]
    fn what_is_no_score_is_refused() {
        for text in ["", "-", "1.", ".5", "1.2345", "1e3", "five", "99999999999999999999", "--1"] {
            assert!(text.parse::<Score>().is_err(), "{text}");
        }
    }
}
