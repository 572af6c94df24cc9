//! What a check came to, as header fields: `Received-SPF` (RFC 7208, section 9.1) and
//! `Authentication-Results` (RFC 8601), without their names. What a peer chose is quoted, and
//! octets that could not stand in a header become `?`.

use std::borrow::Cow;

use super::check::Evaluation;

/// Longest value of a key; what is longer is cut.
const LONGEST_VALUE: usize = 256;

/// About how long a field is besides its text.
const EXPECTED: usize = 256;

/// What the header fields tell.
pub(super) struct Report<'a> {
    pub(super) evaluation: &'a Evaluation,
    /// `helo` or `mailfrom`.
    pub(super) identity: &'static str,
    /// The domain that was checked.
    pub(super) domain: &'a [u8],
    /// The client's address.
    pub(super) client: &'a str,
    /// The envelope sender.
    pub(super) sender: &'a [u8],
    pub(super) helo: &'a [u8],
    pub(super) receiver: &'a str,
    /// The same in words.
    pub(super) text: &'a str,
}

impl Report<'_> {
    /// The body of `Received-SPF`.
    pub(super) fn received_spf(&self) -> String {
        let mut field = String::with_capacity(EXPECTED + self.text.len());
        field.extend([self.evaluation.verdict.word(), " ("]);
        push_comment(&mut field, self.receiver);
        field.push_str(": ");
        push_comment(&mut field, self.text);
        field.push(')');
        let mechanism = self.evaluation.mechanism.as_deref();
        let decided = mechanism.or((!self.is_undecided()).then_some("default"));
        let pairs: [(&str, Option<&[u8]>); 7] = [
            (" client-ip=", Some(self.client.as_bytes())),
            ("; envelope-from=", Some(self.sender)),
            ("; helo=", Some(self.helo)),
            ("; identity=", Some(self.identity.as_bytes())),
            ("; mechanism=", decided.map(str::as_bytes)),
            ("; problem=", self.evaluation.problem.as_deref().map(str::as_bytes)),
            ("; receiver=", Some(self.receiver.as_bytes())),
        ];
        for (key, value) in pairs {
            let Some(value) = value else { continue };
            field.push_str(key);
            push_word(&mut field, value);
        }
        field
    }

    /// The body of `Authentication-Results`.
    pub(super) fn authentication_results(&self) -> String {
        let property = if self.identity == "helo" { "helo=" } else { "mailfrom=" };
        let mut field = String::with_capacity(EXPECTED);
        push_word(&mut field, self.receiver.as_bytes());
        field.extend(["; spf=", self.evaluation.verdict.word(), " smtp.", property]);
        push_word(&mut field, self.domain);
        field
    }

    /// Whether no record was evaluated to its end.
    fn is_undecided(&self) -> bool {
        use super::check::Verdict::{None, PermError, TempError};
        matches!(self.evaluation.verdict, None | TempError | PermError)
    }
}

/// Appends a value as a `dot-atom` if it is one, else as a `quoted-string`.
fn push_word(field: &mut String, value: &[u8]) {
    if let Some(atom) = dot_atom(value) {
        return field.push_str(atom);
    }
    field.push('"');
    push_escaped(field, &printable(value), |letter| matches!(letter, '"' | '\\'));
    field.push('"');
}

/// The value as text, if it is a `dot-atom` that is not too long (RFC 5322, section 3.2.3).
fn dot_atom(value: &[u8]) -> Option<&str> {
    let mut before = b'.';
    for octet in value {
        let is_part = IS_ATEXT[usize::from(*octet)] || (*octet == b'.' && before != b'.');
        if !is_part {
            return None;
        }
        before = *octet;
    }
    let is_whole = before != b'.' && value.len() <= LONGEST_VALUE;
    std::str::from_utf8(value).ok().filter(|_| is_whole)
}

/// A table, since each field asks it of a hundred octets.
const IS_ATEXT: [bool; 256] = {
    let mut table = [false; 256];
    let mut octet = 0_u8;
    while octet < 0x80 {
        table[octet as usize] = is_atext(octet);
        octet += 1;
    }
    table
};

/// RFC 5322, section 3.2.3.
const fn is_atext(octet: u8) -> bool {
    let is_sign = matches!(octet, b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'/' | b'=' | b'?');
    octet.is_ascii_alphanumeric() || is_sign || matches!(octet, b'^'..=b'`' | b'{'..=b'~')
}

/// Appends a text that may stand in parentheses.
fn push_comment(field: &mut String, text: &str) {
    let text = printable(text.as_bytes());
    push_escaped(field, &text, |letter| matches!(letter, '(' | ')' | '\\'));
}

fn push_escaped(field: &mut String, text: &str, is_special: fn(char) -> bool) {
    if !text.contains(is_special) {
        return field.push_str(text);
    }
    for letter in text.chars() {
        if is_special(letter) {
            field.push('\\');
        }
        field.push(letter);
    }
}

/// Octets as text that a header can hold, not too long. Nearly all are that as they are.
fn printable(value: &[u8]) -> Cow<'_, str> {
    let is_plain =
        value.len() <= LONGEST_VALUE && value.iter().all(|octet| matches!(octet, b' '..=b'~'));
    if let Some(text) = std::str::from_utf8(value).ok().filter(|_| is_plain) {
        return Cow::Borrowed(text);
    }
    let text = String::from_utf8_lossy(value);
    let letters = text.chars().take(LONGEST_VALUE);
    let is_sound = |letter: char| !letter.is_control() && letter != '\u{fffd}';
    letters.map(|letter| if is_sound(letter) { letter } else { '?' }).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::check::Verdict;
    use super::*;

    fn evaluation(verdict: Verdict) -> Evaluation {
        let mechanism = Some("ip4:192.0.2.0/24".into());
        Evaluation { verdict, mechanism, explanation: None, problem: None }
    }

    fn report<'a>(evaluation: &'a Evaluation, sender: &'a [u8], helo: &'a [u8]) -> Report<'a> {
        Report {
            evaluation,
            identity: "mailfrom",
            domain: b"example.com",
            client: "192.0.2.1",
            sender,
            helo,
            receiver: "mx.example.net",
            text: "192.0.2.1 may send mail of example.com",
        }
    }

    #[test]
    fn a_word_is_an_atom_where_it_can_be() {
        let word = |value: &[u8]| {
            let mut field = String::new();
            push_word(&mut field, value);
            field
        };
        for atom in ["a", "mail.example.org", "a!#$%&'*+-/=?^_`{|}~9"] {
            assert_eq!(word(atom.as_bytes()), atom);
        }
        for text in ["", ".", "a.", ".a", "a..b", "a b", "2001:db8::1", "x@y"] {
            assert_eq!(word(text.as_bytes()), format!("\"{text}\""));
        }
        assert_eq!(word("ü".as_bytes()), "\"ü\"");
        assert_eq!(word(&[b'a'; 300]).len(), LONGEST_VALUE + 2);
    }

    #[test]
    fn received_spf_is_that_of_the_rfc() {
        let evaluation = evaluation(Verdict::Pass);
        let field = report(&evaluation, b"a@example.com", b"mail.example.com").received_spf();
        let expected = "pass (mx.example.net: 192.0.2.1 may send mail of example.com) \
                        client-ip=192.0.2.1; envelope-from=\"a@example.com\"; \
                        helo=mail.example.com; identity=mailfrom; \
                        mechanism=\"ip4:192.0.2.0/24\"; receiver=mx.example.net";
        assert_eq!(field, expected);
    }

    #[test]
    fn authentication_results_are_those_of_the_rfc() {
        let evaluation = evaluation(Verdict::SoftFail);
        let field = report(&evaluation, b"a@example.com", b"x").authentication_results();
        assert_eq!(field, "mx.example.net; spf=softfail smtp.mailfrom=example.com");
    }

    #[test]
    fn where_no_mechanism_matched_the_default_did() {
        let evaluation = Evaluation { mechanism: None, ..evaluation(Verdict::Neutral) };
        let field = report(&evaluation, b"", b"x").received_spf();
        assert!(field.contains("; mechanism=default; "), "{field}");
        assert!(field.contains("; envelope-from=\"\"; "), "{field}");
    }

    #[test]
    fn hostile_text_stays_in_its_quotes() {
        let evaluation = evaluation(Verdict::Pass);
        let field = report(&evaluation, b"\"a\\\r\n b\xff@x.example", b"(; x=y").received_spf();
        assert!(field.contains(r#"envelope-from="\"a\\?? b?@x.example""#), "{field}");
        assert!(field.contains(r#"helo="(; x=y""#), "{field}");
    }

    proptest! {
        #[test]
        fn whatever_a_peer_says_the_field_is_one_line(
            sender in prop::collection::vec(any::<u8>(), 0..600),
            helo in prop::collection::vec(any::<u8>(), 0..600),
        ) {
            let evaluation = evaluation(Verdict::Pass);
            let field = report(&evaluation, &sender, &helo).received_spf();
            prop_assert!(!field.chars().any(char::is_control));
            let letters = field.chars().filter(|letter| *letter != '\\').count();
            prop_assert!(letters < 900, "{}", letters);
        }
    }
}
