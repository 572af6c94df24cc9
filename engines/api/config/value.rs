//! Kinds of values that options have: times, sizes, and any value with its place.

use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, Visitor};

use super::options::OptionValue;
use super::source::{SourceId, Span};

/// A stretch of time, written as a number with its unit: `250ms`, `5s`, `10m`, `2h`, `1d`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

const PERIOD_UNITS: &[(&str, u64)] =
    &[("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];

impl Period {
    /// So many milliseconds.
    #[must_use]
    pub const fn milliseconds(count: u64) -> Self {
        Period(Duration::from_millis(count))
    }

    /// So many seconds.
    #[must_use]
    pub const fn seconds(count: u64) -> Self {
        Period(Duration::from_secs(count))
    }

    fn parse(text: &str) -> Option<Self> {
        parse_with_unit(text, PERIOD_UNITS).map(Period::milliseconds)
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX);
        show_with_unit(milliseconds, PERIOD_UNITS, f)
    }
}

/// A number of octets, written as `4096`, `64KiB`, `1MiB`, `2GiB`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct FileSize(pub u64);

const SIZE_UNITS: &[(&str, u64)] = &[("", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

impl FileSize {
    /// So many KiB.
    #[must_use]
    pub const fn kib(count: u64) -> Self {
        FileSize(count << 10)
    }

    /// As a length in memory.
    #[must_use]
    pub fn octets(self) -> usize {
        usize::try_from(self.0).unwrap_or(usize::MAX)
    }

    fn parse(text: &str) -> Option<Self> {
        parse_with_unit(text, SIZE_UNITS).map(FileSize)
    }
}

impl fmt::Display for FileSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        show_with_unit(self.0, SIZE_UNITS, f)
    }
}

fn parse_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits)?;
    let unit = unit.trim();
    let (_, factor) = units.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit))?;
    number.parse::<u64>().ok()?.checked_mul(*factor)
}

fn show_with_unit(value: u64, units: &[(&str, u64)], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let whole = |(_, factor): &&(&str, u64)| value != 0 && value.is_multiple_of(*factor);
    let (name, factor) = units.iter().rev().find(whole).unwrap_or(&units[0]);
    write!(f, "{}{name}", value / factor)
}

macro_rules! from_text {
    ($type:ident, $expected:literal) => {
        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                $type::parse(&text).ok_or_else(|| {
                    D::Error::custom(format_args!("\"{text}\" is not {}", $expected))
                })
            }
        }

        impl OptionValue for $type {
            const TYPE: &'static str = $expected;

            fn show(&self) -> String {
                self.to_string()
            }
        }
    };
}

from_text!(Period, "a time, such as 250ms, 5s, 10m, 2h or 1d");
from_text!(FileSize, "a size, such as 4096, 64KiB or 1MiB");

/// A number, size or time of which 0 makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Positive<T>(pub T);

impl<'de, T: Deserialize<'de> + Default + PartialEq> Deserialize<'de> for Positive<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = T::deserialize(deserializer)?;
        if value == T::default() {
            return Err(D::Error::custom("0 makes no sense here"));
        }
        Ok(Positive(value))
    }
}

impl<T: OptionValue + Default + PartialEq> OptionValue for Positive<T> {
    const TYPE: &'static str = T::TYPE;

    fn show(&self) -> String {
        self.0.show()
    }
}

/// A value together with the place where it stands, for faults that are only found later.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Spanned<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub span: Span,
}

impl Spanned<&str> {
    /// The place of a part of the text, given by octets; that of the whole where the text does not
    /// stand in the source as it is (references were resolved, a comment was taken out).
    #[must_use]
    pub fn part(&self, range: Range<usize>) -> Span {
        let whole = self.span;
        if whole.end.saturating_sub(whole.start) != self.value.len() {
            return whole;
        }
        Span { start: whole.start + range.start, end: whole.start + range.end, ..whole }
    }
}

impl Spanned<String> {
    /// The same, borrowed.
    #[must_use]
    pub fn as_deref(&self) -> Spanned<&str> {
        Spanned { value: &self.value, span: self.span }
    }

    /// The words of the text, each with its place. Where the text does not stand in the source as
    /// it is (references were resolved, a comment was taken out), each gets the place of the whole.
    ///
    /// ```
    /// # use mppd_engine::config::{Origin, Source, SourceMap, Span, Spanned};
    /// # let mut sources = SourceMap::default();
    /// # let origin = Origin::CommandLine;
    /// # let source = sources.add(Source { origin, text: "spf greylist".to_owned() });
    /// # let span = Span { source, start: 0, end: 12 };
    /// let chain = Spanned { value: "spf greylist".to_owned(), span };
    /// let words: Vec<Spanned<&str>> = chain.words().collect();
    /// assert_eq!(words[1].value, "greylist");
    /// assert_eq!(words[1].span.start, 4);
    /// ```
    pub fn words(&self) -> impl Iterator<Item = Spanned<&str>> {
        let whole = self.span;
        let verbatim = whole.end.saturating_sub(whole.start) == self.value.len();
        self.value.split_whitespace().map(move |word| {
            let start = whole.start + (word.as_ptr().addr() - self.value.as_ptr().addr());
            let part = Span { start, end: start + word.len(), ..whole };
            Spanned { value: word, span: if verbatim { part } else { whole } }
        })
    }
}

impl<'a> Spanned<&'a str> {
    /// A part of the text, with its place. Where the text does not stand in the source as it is,
    /// the part gets the place of the whole.
    ///
    /// ```
    /// # use mppd_engine::config::{Origin, Source, SourceMap, Span, Spanned};
    /// # let mut sources = SourceMap::default();
    /// # let origin = Origin::CommandLine;
    /// # let source = sources.add(Source { origin, text: "REJECT no".to_owned() });
    /// let text = Spanned { value: "REJECT no", span: Span { source, start: 0, end: 9 } };
    /// let behind = text.cut(7..9);
    /// assert_eq!((behind.value, behind.span.start), ("no", 7));
    /// ```
    ///
    /// # Panics
    /// If the range does not lie in the text, at characters' ends.
    #[must_use]
    pub fn cut(&self, range: Range<usize>) -> Spanned<&'a str> {
        Spanned { value: &self.value[range.clone()], span: self.part(range) }
    }

    /// The text without white space at its ends.
    #[must_use]
    pub fn trimmed(&self) -> Spanned<&'a str> {
        let start = self.value.len() - self.value.trim_start().len();
        let length = self.value.trim().len();
        self.cut(start..start + length)
    }
}

// The names by which the deserializer of elements knows that it is asked for a place as well. No
// XML name can hold a blank, so no option can be mistaken for one of them.
pub(super) const SPANNED: &str = "a value with its place";
pub(super) const SPANNED_FIELDS: &[&str] = &["the source", "the start", "the end", "the value"];

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Spanned<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_struct(
            SPANNED,
            SPANNED_FIELDS,
            SpannedVisitor(std::marker::PhantomData),
        )
    }
}

struct SpannedVisitor<T>(std::marker::PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for SpannedVisitor<T> {
    type Value = Spanned<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value of the configuration")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
        let mut number = || match map.next_entry::<String, u64>()? {
            Some((_, number)) => usize::try_from(number).map_err(A::Error::custom),
            None => Err(A::Error::custom("a place has three numbers")),
        };
        let (source, start, end) = (number()?, number()?, number()?);
        let source = SourceId::from_index(source).map_err(A::Error::custom)?;
        let Some((_, value)) = map.next_entry::<String, T>()? else {
            return Err(A::Error::custom("a place comes with its value"));
        };
        Ok(Spanned { value, span: Span { source, start, end } })
    }
}

impl<T: OptionValue> OptionValue for Spanned<T> {
    const TYPE: &'static str = T::TYPE;

    fn show(&self) -> String {
        self.value.show()
    }

    fn nested() -> Vec<super::OptionDoc> {
        T::nested()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sizes_are_read_with_their_unit() {
        assert_eq!(Period::parse("250ms"), Some(Period::milliseconds(250)));
        assert_eq!(Period::parse("2 h"), Some(Period::seconds(7200)));
        assert_eq!(Period::parse("5"), None);
        assert_eq!(Period::parse("s"), None);
        assert_eq!(Period::parse("99999999999999999d"), None);
        assert_eq!(FileSize::parse("64KiB"), Some(FileSize::kib(64)));
        assert_eq!(FileSize::parse("64kb"), None);
    }

    #[test]
    fn times_and_sizes_are_shown_in_the_largest_whole_unit() {
        assert_eq!(Period::seconds(90).to_string(), "90s");
        assert_eq!(Period::seconds(7200).to_string(), "2h");
        assert_eq!(Period::seconds(0).to_string(), "0ms");
        assert_eq!(FileSize::kib(64).to_string(), "64KiB");
        assert_eq!(FileSize(1000).to_string(), "1000");
    }
}
