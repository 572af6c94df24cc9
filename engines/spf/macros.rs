//! Macros of SPF records (RFC 7208, section 7): texts that are parsed once and expanded for each
//! check.

use std::borrow::Cow;

use mppd_dns::Name;

use super::record::SyntaxError;

/// What a macro stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Letter {
    /// `s`: the sender.
    Sender,
    /// `l`: its local part.
    LocalPart,
    /// `o`: its domain.
    SenderDomain,
    /// `d`: the domain whose record this is.
    Domain,
    /// `i`: the client's address, in labels.
    Address,
    /// `p`: the client's validated name.
    ValidatedName,
    /// `v`: where addresses of its kind have their names.
    ReverseZone,
    /// `h`: the name given with HELO or EHLO.
    Helo,
    /// `c`: the client's address, for people.
    ReadableAddress,
    /// `r`: who checks.
    Receiver,
    /// `t`: seconds since 1970.
    Time,
}

impl Letter {
    fn of(letter: u8) -> Option<Self> {
        Some(match letter.to_ascii_lowercase() {
            b's' => Letter::Sender,
            b'l' => Letter::LocalPart,
            b'o' => Letter::SenderDomain,
            b'd' => Letter::Domain,
            b'i' => Letter::Address,
            b'p' => Letter::ValidatedName,
            b'v' => Letter::ReverseZone,
            b'h' => Letter::Helo,
            b'c' => Letter::ReadableAddress,
            b'r' => Letter::Receiver,
            b't' => Letter::Time,
            _ => return None,
        })
    }

    const fn is_for_explanations(self) -> bool {
        matches!(self, Letter::ReadableAddress | Letter::Receiver | Letter::Time)
    }
}

/// One macro with its transformers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Macro {
    letter: Letter,
    /// Whether what is not unreserved in a URI is escaped.
    escapes: bool,
    /// How many of the parts on the right are kept.
    keep: Option<usize>,
    reverse: bool,
    /// Where the value is split; at dots if this is empty.
    delimiters: Box<[u8]>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Piece {
    Text(Box<[u8]>),
    Macro(Macro),
}

/// Where a text stands, and so what may be in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// In a record: no blanks, none of the macros for people.
    Record,
    /// The text of an explanation.
    Explanation,
}

/// A text with macros: `macro-string`, or `explain-string`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MacroString {
    pieces: Box<[Piece]>,
    /// The domain that this is whatever the values are, as most of them have no macro.
    constant: Option<Name>,
}

/// The values of macros in one check.
pub(super) trait Values {
    /// The value of a letter.
    fn value(&self, letter: Letter) -> Cow<'_, [u8]>;
}

impl MacroString {
    /// Reads a text that is printable ASCII.
    pub(super) fn parse(text: &str, place: Use) -> Result<Self, SyntaxError> {
        let reader = Reader::read(text, place)?;
        Ok(MacroString { pieces: reader.pieces.into(), constant: None })
    }

    /// Reads a `domain-spec`: ends with a label that can be the highest, or with a macro.
    pub(super) fn parse_domain(text: &str) -> Result<Self, SyntaxError> {
        let reader = Reader::read(text, Use::Record)?;
        let tail = &text[reader.behind_last_macro..];
        let is_macro = tail.is_empty() && !text.is_empty();
        if !is_macro && !ends_with_top_label(tail) {
            return Err(SyntaxError::DomainSpec(text.to_owned()));
        }
        let constant = match &*reader.pieces {
            [Piece::Text(name)] => Name::parse(name).ok(),
            _ => None,
        };
        Ok(MacroString { pieces: reader.pieces.into(), constant })
    }

    /// The domain that this is in every check; `None` where that depends on values, or is too long
    /// and has to be shortened.
    pub(super) const fn constant(&self) -> Option<&Name> {
        self.constant.as_ref()
    }

    /// Whether any macro stands for this.
    pub(super) fn uses(&self, letter: Letter) -> bool {
        self.pieces.iter().any(|piece| matches!(piece, Piece::Macro(it) if it.letter == letter))
    }

    /// The beginning of the text with the values in place: at least so many octets, if there are.
    /// A domain can publish thousands of macros, and a peer long values for them.
    pub(super) fn expand(&self, values: &impl Values, enough: usize) -> Vec<u8> {
        let mut text = Vec::new();
        for piece in &self.pieces {
            if text.len() >= enough {
                break;
            }
            piece.expand(values, &mut text);
        }
        text
    }

    /// The end of the same text.
    pub(super) fn expand_end(&self, values: &impl Values, enough: usize) -> Vec<u8> {
        let mut parts = Vec::new();
        let mut length = 0;
        for piece in self.pieces.iter().rev() {
            if length >= enough {
                break;
            }
            let mut part = Vec::new();
            piece.expand(values, &mut part);
            length += part.len();
            parts.push(part);
        }
        parts.reverse();
        parts.concat()
    }
}

impl Piece {
    fn expand(&self, values: &impl Values, text: &mut Vec<u8>) {
        match self {
            Piece::Text(literal) => text.extend_from_slice(literal),
            Piece::Macro(it) => it.expand(&values.value(it.letter), text),
        }
    }
}

impl Macro {
    fn expand(&self, value: &[u8], text: &mut Vec<u8>) {
        let is_delimiter = |octet: &u8| match &*self.delimiters {
            [] => *octet == b'.',
            delimiters => delimiters.contains(octet),
        };
        if self.keep.is_none() && !self.reverse && self.delimiters.is_empty() {
            return self.append(value, text);
        }
        let mut parts: Vec<&[u8]> = value.split(is_delimiter).collect();
        if self.reverse {
            parts.reverse();
        }
        let left_out = self.keep.map_or(0, |keep| parts.len().saturating_sub(keep));
        self.append(&parts[left_out..].join(&b'.'), text);
    }

    fn append(&self, value: &[u8], text: &mut Vec<u8>) {
        if !self.escapes {
            return text.extend_from_slice(value);
        }
        for octet in value {
            if octet.is_ascii_alphanumeric() || b"-._~".contains(octet) {
                text.push(*octet);
            } else {
                text.extend_from_slice(format!("%{octet:02X}").as_bytes());
            }
        }
    }
}

/// `"." toplabel [ "." ]` at the end: letters, digits and hyphens, not digits alone.
fn ends_with_top_label(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let Some((_, label)) = text.rsplit_once('.') else { return false };
    let is_label = label.bytes().all(|octet| octet.is_ascii_alphanumeric() || octet == b'-');
    let has_letter = label.bytes().any(|octet| !octet.is_ascii_digit());
    is_label && has_letter && !label.starts_with('-') && !label.ends_with('-')
}

struct Reader {
    pieces: Vec<Piece>,
    literal: Vec<u8>,
    behind_last_macro: usize,
}

impl Reader {
    fn read(text: &str, place: Use) -> Result<Self, SyntaxError> {
        let mut reader = Reader { pieces: Vec::new(), literal: Vec::new(), behind_last_macro: 0 };
        let mut rest = text.as_bytes();
        while let [octet, behind @ ..] = rest {
            rest = match octet {
                b'%' => {
                    let behind = reader.percent(text, behind, place)?;
                    reader.behind_last_macro = text.len() - behind.len();
                    behind
                }
                b' ' if place == Use::Explanation => reader.octet(b' ', behind),
                b'!'..=b'~' => reader.octet(*octet, behind),
                _ => return Err(SyntaxError::NotAscii),
            };
        }
        reader.end_literal();
        Ok(reader)
    }

    fn octet<'a>(&mut self, octet: u8, behind: &'a [u8]) -> &'a [u8] {
        self.literal.push(octet);
        behind
    }

    fn end_literal(&mut self) {
        if !self.literal.is_empty() {
            let text = std::mem::take(&mut self.literal);
            self.pieces.push(Piece::Text(text.into()));
        }
    }

    /// What follows a percent sign.
    fn percent<'a>(
        &mut self,
        whole: &str,
        text: &'a [u8],
        place: Use,
    ) -> Result<&'a [u8], SyntaxError> {
        let fault = || SyntaxError::Macro(whole.to_owned());
        match text {
            [b'%', behind @ ..] => Ok(self.octet(b'%', behind)),
            [b'_', behind @ ..] => Ok(self.octet(b' ', behind)),
            [b'-', behind @ ..] => {
                self.literal.extend_from_slice(b"%20");
                Ok(behind)
            }
            [b'{', behind @ ..] => {
                let end = behind.iter().position(|octet| *octet == b'}').ok_or_else(fault)?;
                let it = read_macro(&behind[..end]).ok_or_else(fault)?;
                if place == Use::Record && it.letter.is_for_explanations() {
                    return Err(fault());
                }
                self.end_literal();
                self.pieces.push(Piece::Macro(it));
                Ok(&behind[end + 1..])
            }
            _ => Err(fault()),
        }
    }
}

/// What stands between the braces: a letter, transformers, delimiters.
fn read_macro(text: &[u8]) -> Option<Macro> {
    let (letter, rest) = text.split_first()?;
    let digits = rest.iter().take_while(|octet| octet.is_ascii_digit()).count();
    let (digits, rest) = rest.split_at(digits);
    let (reverse, delimiters) = match rest {
        [b'r' | b'R', rest @ ..] => (true, rest),
        rest => (false, rest),
    };
    let keep = match digits {
        [] => None,
        // More than fits is more parts than there can be.
        digits => Some(std::str::from_utf8(digits).ok()?.parse().unwrap_or(usize::MAX)),
    };
    let is_sound = keep != Some(0) && delimiters.iter().all(|octet| b".-+,/_=".contains(octet));
    is_sound.then_some(Macro {
        letter: Letter::of(*letter)?,
        escapes: letter.is_ascii_uppercase(),
        keep,
        reverse,
        delimiters: delimiters.into(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Examples;

    impl Values for Examples {
        fn value(&self, letter: Letter) -> Cow<'_, [u8]> {
            let value: &[u8] = match letter {
                Letter::Sender => b"strong-bad@email.example.com",
                Letter::LocalPart => b"strong-bad",
                Letter::SenderDomain | Letter::Domain => b"email.example.com",
                Letter::Address => b"192.0.2.3",
                Letter::ReverseZone => b"in-addr",
                Letter::ReadableAddress => b"a b/c",
                _ => b"unknown",
            };
            Cow::Borrowed(value)
        }
    }

    fn expanded(text: &str) -> String {
        let parsed = MacroString::parse(text, Use::Explanation).unwrap();
        String::from_utf8(parsed.expand(&Examples, usize::MAX)).unwrap()
    }

    /// Those of RFC 7208, section 7.4.
    #[test]
    fn macros_expand_as_the_examples_of_the_rfc() {
        for (text, expected) in [
            ("%{s}", "strong-bad@email.example.com"),
            ("%{o}", "email.example.com"),
            ("%{d}", "email.example.com"),
            ("%{d4}", "email.example.com"),
            ("%{d3}", "email.example.com"),
            ("%{d2}", "example.com"),
            ("%{d1}", "com"),
            ("%{dr}", "com.example.email"),
            ("%{d2r}", "example.email"),
            ("%{l}", "strong-bad"),
            ("%{l-}", "strong.bad"),
            ("%{lr}", "strong-bad"),
            ("%{lr-}", "bad.strong"),
            ("%{l1r-}", "strong"),
            ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
            ("%{lr-}.lp._spf.%{d2}", "bad.strong.lp._spf.example.com"),
            ("%{d2}.trusted-domains.example.net", "example.com.trusted-domains.example.net"),
        ] {
            assert_eq!(expanded(text), expected, "{text}");
        }
    }

    #[test]
    fn a_long_text_is_expanded_as_far_as_it_is_of_use() {
        let text = format!("%{{d}}{}.%{{d2}}", "%{l}".repeat(10_000));
        let parsed = MacroString::parse(&text, Use::Record).unwrap();
        let whole = parsed.expand(&Examples, usize::MAX);
        let (begin, end) = (parsed.expand(&Examples, 50), parsed.expand_end(&Examples, 50));
        assert!(whole.starts_with(&begin) && (50..100).contains(&begin.len()));
        assert!(whole.ends_with(&end) && (50..100).contains(&end.len()));
        assert_eq!(parsed.expand_end(&Examples, usize::MAX), whole);
    }

    #[test]
    fn a_domain_without_macros_is_read_once_and_is_what_it_expands_to() {
        for text in ["Mail.Example.ORG", "mail.example.org.", "a%-b.example.org", "100%%.example"] {
            let parsed = MacroString::parse_domain(text).unwrap();
            let expanded = Name::parse(&parsed.expand(&Examples, usize::MAX)).unwrap();
            assert_eq!(parsed.constant(), Some(&expanded), "{text}");
        }
        let too_long = format!("{}example.org", "a.".repeat(130));
        for text in ["%{d}", "%{l}.example.org", "a..example.org", &too_long] {
            assert_eq!(MacroString::parse_domain(text).unwrap().constant(), None, "{text}");
        }
    }

    #[test]
    fn escapes_and_capital_letters_are_for_uris() {
        assert_eq!(expanded("%%%_%-"), "% %20");
        assert_eq!(expanded("%{C}"), "a%20b%2Fc");
    }

    #[test]
    fn what_is_no_macro_is_an_error() {
        for text in ["%", "%a", "%{", "%{}", "%{x}", "%{d0}", "%{d", "%{dd}", "%{d2x}", "%{-}"] {
            assert!(MacroString::parse(text, Use::Explanation).is_err(), "{text}");
        }
        assert!(MacroString::parse("%{c}", Use::Record).is_err());
        assert!(MacroString::parse("a b", Use::Record).is_err());
    }

    #[test]
    fn a_domain_ends_with_a_label_that_can_be_the_highest() {
        for text in ["a.b", "a.b.", "%{d}", "_x.%{d2}", "a.xn--p1ai", "a.1x", "x%%", "a/b.c"] {
            assert!(MacroString::parse_domain(text).is_ok(), "{text}");
        }
        for text in ["", "a", "a.", ".", "a.1", "a.-b", "a.b-", "%{d}x", "a.b/c", "a.b_c"] {
            assert!(MacroString::parse_domain(text).is_err(), "{text}");
        }
    }
}
