//! `<traces>` as written: where traces of requests go, and of how many.

use std::fmt;

use mppd_engine::config::{OptionValue, Period, Positive, Spanned};
use mppd_engine::options;
use serde::de::{Deserialize, Deserializer, Error as _};

options! {
    /// `<traces>`: sends traces of requests to a collector of OpenTelemetry, by OTLP over HTTP. Only
    /// an mppd that is built with the feature `otel` can.
    pub struct TracesOptions {
        /// The collector, `http://HOST:PORT`; its path is `/v1/traces` unless given.
        endpoint: Spanned<String>,
        /// The share of messages whose requests are traced, from 0 to 1: all requests of a message,
        /// or none.
        sample_ratio: Ratio = Ratio::parts_per_million(10_000),
        /// Most requests whose traces wait to be sent; those of further ones are dropped.
        queue: Positive<u32> = Positive(2_048),
        /// How long the collector may take to take some in; they are dropped after that.
        timeout: Positive<Period> = Positive(Period::seconds(5)),
    }
}

/// A share, from 0 to 1, to a millionth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ratio(u32);

const WHOLE: u32 = 1_000_000;

impl Ratio {
    /// So many of a million.
    #[must_use]
    pub const fn parts_per_million(parts: u32) -> Self {
        Ratio(parts)
    }

    /// How many of a million.
    #[must_use]
    pub const fn millionths(self) -> u32 {
        self.0
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "what is not between 0 and 1 has been refused"
    )]
    fn parse(text: &str) -> Option<Self> {
        let share: f64 = text.trim().parse().ok()?;
        let is_share = (0.0..=1.0).contains(&share);
        is_share.then(|| Ratio((share * f64::from(WHOLE)).round() as u32))
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", f64::from(self.0) / f64::from(WHOLE))
    }
}

impl<'de> Deserialize<'de> for Ratio {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Ratio::parse(&text).ok_or_else(|| {
            D::Error::custom(format_args!("\"{text}\" is not {}", <Ratio as OptionValue>::TYPE))
        })
    }
}

impl OptionValue for Ratio {
    const TYPE: &'static str = "a share from 0 to 1, such as 0.01";

    fn show(&self) -> String {
        self.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_between_nothing_and_everything() {
        let parts = |text| Ratio::parse(text).map(Ratio::millionths);
        assert_eq!(parts("0"), Some(0));
        assert_eq!(parts(" 0.01 "), Some(10_000));
        assert_eq!(parts("1"), Some(1_000_000));
        for text in ["-0.1", "1.1", "NaN", "1%", "", "inf"] {
            assert_eq!(parts(text), None, "{text}");
        }
        assert_eq!(Ratio(10_000).to_string(), "0.01");
    }
}
