//! How two values compare: as numbers if both are, else octet by octet.
//!
//! A number is an optional sign, digits, and perhaps a point with digits behind it: `0`, `-5`,
//! `+12`, `007`, `2.50`. `1e3`, `.5`, `5.`, `0x10`, the empty text and anything with a blank are
//! none. Numbers compare by their value, exactly and however long they are: nothing overflows and
//! nothing is rounded. `-0` is `0`, `2.50` is `2.5`.

use std::cmp::Ordering;

/// A number as it was written, without what does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Number<'a> {
    is_negative: bool,
    /// Without leading zeros.
    whole: &'a [u8],
    /// Without trailing zeros.
    fraction: &'a [u8],
}

impl<'a> Number<'a> {
    fn read(octets: &'a [u8]) -> Option<Self> {
        let (is_negative, digits) = match octets {
            [sign @ (b'-' | b'+'), digits @ ..] => (*sign == b'-', digits),
            digits => (false, digits),
        };
        let length = digits.iter().take_while(|octet| octet.is_ascii_digit()).count();
        let (whole, rest) = digits.split_at(length);
        let fraction = match rest {
            [] => rest,
            [b'.', fraction @ ..] if is_digits(fraction) => fraction,
            _ => return None,
        };
        if whole.is_empty() {
            return None;
        }
        let whole = &whole[leading_zeros(whole.iter())..];
        let fraction = &fraction[..fraction.len() - leading_zeros(fraction.iter().rev())];
        let is_zero = whole.is_empty() && fraction.is_empty();
        Some(Number { is_negative: is_negative && !is_zero, whole, fraction })
    }

    fn compare(self, other: Number<'_>) -> Ordering {
        match (self.is_negative, other.is_negative) {
            (false, true) => Ordering::Greater,
            (true, false) => Ordering::Less,
            (false, false) => self.compare_size(other),
            (true, true) => other.compare_size(self),
        }
    }

    fn compare_size(self, other: Number<'_>) -> Ordering {
        // Without leading zeros the longer one is the greater one.
        let whole = self.whole.len().cmp(&other.whole.len());
        whole
            .then_with(|| self.whole.cmp(other.whole))
            .then_with(|| self.fraction.cmp(other.fraction))
    }
}

fn is_digits(octets: &[u8]) -> bool {
    !octets.is_empty() && octets.iter().all(u8::is_ascii_digit)
}

fn leading_zeros<'a>(digits: impl Iterator<Item = &'a u8>) -> usize {
    digits.take_while(|digit| **digit == b'0').count()
}

/// Whether a value is a number.
pub(super) fn is_number(octets: &[u8]) -> bool {
    Number::read(octets).is_some()
}

/// An integer that fits into 64 bits however it is written: nearly every number there is.
fn small(octets: &[u8]) -> Option<i64> {
    const DIGITS: usize = 18;
    let (is_negative, digits) = match octets {
        [b'-', digits @ ..] => (true, digits),
        digits => (false, digits),
    };
    if digits.is_empty() || digits.len() > DIGITS {
        return None;
    }
    let mut value = 0;
    for digit in digits {
        let digit = digit.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + i64::from(digit);
    }
    Some(if is_negative { -value } else { value })
}

/// Compares two values.
pub(super) fn compare(left: &[u8], right: &[u8]) -> Ordering {
    if let (Some(left), Some(right)) = (small(left), small(right)) {
        return left.cmp(&right);
    }
    match (Number::read(left), Number::read(right)) {
        (Some(left), Some(right)) => left.compare(right),
        _ => left.cmp(right),
    }
}

/// Whether a value counts as true where a condition is nothing but a value.
pub(super) fn is_true(octets: &[u8]) -> bool {
    !matches!(octets, [] | [b'0'])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn order(left: &str, right: &str) -> Ordering {
        compare(left.as_bytes(), right.as_bytes())
    }

    #[test]
    fn integers_compare_by_value() {
        assert_eq!(order("9", "10"), Ordering::Less);
        assert_eq!(order("-9", "-10"), Ordering::Greater);
        assert_eq!(order("-1", "0"), Ordering::Less);
        assert_eq!(order("007", "+7"), Ordering::Equal);
    }

    #[test]
    fn integers_beyond_64_bits_compare_exactly() {
        assert_eq!(order("9223372036854775807", "9223372036854775808"), Ordering::Less);
        assert_eq!(order("18446744073709551616", "18446744073709551615"), Ordering::Greater);
        assert_eq!(order("-9223372036854775809", "-9223372036854775808"), Ordering::Less);
        let long = format!("1{}", "0".repeat(2000));
        assert_eq!(order(&long, &format!("{long}.0")), Ordering::Equal);
    }

    #[test]
    fn decimals_compare_exactly() {
        assert_eq!(order("0.1", "0.10"), Ordering::Equal);
        assert_eq!(order("1", "1.0"), Ordering::Equal);
        assert_eq!(order("2.5", "2.45"), Ordering::Greater);
        assert_eq!(order("-2.5", "-2.45"), Ordering::Less);
        assert_eq!(order("9007199254740993", "9007199254740992.9"), Ordering::Greater);
    }

    #[test]
    fn minus_zero_is_zero() {
        for zero in ["0", "-0", "+0", "00", "0.0", "-0.00"] {
            assert_eq!(order(zero, "0"), Ordering::Equal, "{zero}");
        }
    }

    #[test]
    fn what_is_no_number_compares_octet_by_octet() {
        for text in ["1e3", ".5", "5.", "0x10", "", " 5", "5 ", "--5", "-", "1.2.3", "1,5", "٣"] {
            assert!(!is_number(text.as_bytes()), "{text}");
        }
        assert_eq!(order("1e3", "1000"), Ordering::Greater);
        assert_eq!(order("10", "9a"), Ordering::Less);
        assert_eq!(order("", "0"), Ordering::Less);
        assert_eq!(order("a", "A"), Ordering::Greater);
        assert_eq!(compare(b"\xff", "ÿ".as_bytes()), Ordering::Greater);
        assert_eq!(compare(b"\xff", b"\xff"), Ordering::Equal);
    }

    #[test]
    fn a_value_is_true_unless_it_is_empty_or_zero() {
        assert!(!is_true(b""));
        assert!(!is_true(b"0"));
        assert!(is_true(b"00"));
        assert!(is_true(b"no"));
    }

    proptest! {
        #[test]
        fn numbers_compare_as_i128_do(left in any::<i128>(), right in any::<i128>()) {
            prop_assert_eq!(order(&left.to_string(), &right.to_string()), left.cmp(&right));
        }

        #[test]
        fn decimals_compare_as_their_thousandths_do(left in any::<i32>(), right in any::<i32>()) {
            let show = |thousandths: i32| crate::Score(i64::from(thousandths)).to_string();
            prop_assert_eq!(order(&show(left), &show(right)), left.cmp(&right));
        }

        #[test]
        fn the_short_way_and_the_long_way_agree(left in "-?[0-9]{1,3}", right in "-?[0-9]{1,3}") {
            let long = |text: &str| format!("{text}.{}", "0".repeat(20));
            prop_assert_eq!(order(&left, &right), order(&long(&left), &long(&right)));
        }

        #[test]
        fn comparing_the_other_way_round_is_the_reverse(
            left in "[-+]?[0-9.a]{0,4}", right in "[-+]?[0-9.a]{0,4}"
        ) {
            prop_assert_eq!(order(&left, &right), order(&right, &left).reverse());
        }
    }
}
