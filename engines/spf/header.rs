//! What a check came to, as header fields: `Received-SPF` (RFC 7208, section 9.1) and
//! `Authentication-Results` (RFC 8601), without their names. What a peer chose is quoted, and
//! octets that could not stand in a header become `?`.

use std::net::IpAddr;

use super::check::Evaluation;

/// Longest value of a key; what is longer is cut.
const LONGEST_VALUE: usize = 256;

/// What the header fields tell.
pub(super) struct Report<'a> {
    pub(super) evaluation: &'a Evaluation,
    /// `helo` or `mailfrom`.
    pub(super) identity: &'static str,
    /// The domain that was checked.
    pub(super) domain: &'a [u8],
    pub(super) client: IpAddr,
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
        let client = self.client.to_string();
        let mechanism = self.evaluation.mechanism.as_deref();
        let decided = mechanism.or((!self.is_undecided()).then_some("default"));
        let pairs: [(&str, Option<&[u8]>); 7] = [
            ("client-ip", Some(client.as_bytes())),
            ("envelope-from", Some(self.sender)),
            ("helo", Some(self.helo)),
            ("identity", Some(self.identity.as_bytes())),
            ("mechanism", decided.map(str::as_bytes)),
            ("problem", self.evaluation.problem.as_deref().map(str::as_bytes)),
            ("receiver", Some(self.receiver.as_bytes())),
        ];
        let pairs = pairs.iter().filter_map(|(key, value)| Some((key, (*value)?)));
        let pairs: Vec<String> =
            pairs.map(|(key, value)| format!("{key}={}", word(value))).collect();
        let verdict = self.evaluation.verdict.word();
        let (receiver, text) = (comment(self.receiver), comment(self.text));
        format!("{verdict} ({receiver}: {text}) {}", pairs.join("; "))
    }

    /// The body of `Authentication-Results`.
    pub(super) fn authentication_results(&self) -> String {
        let property = if self.identity == "helo" { "helo" } else { "mailfrom" };
        let verdict = self.evaluation.verdict.word();
        let domain = word(self.domain);
        format!("{}; spf={verdict} smtp.{property}={domain}", word(self.receiver.as_bytes()))
    }

    /// Whether no record was evaluated to its end.
    fn is_undecided(&self) -> bool {
        use super::check::Verdict::{None, PermError, TempError};
        matches!(self.evaluation.verdict, None | TempError | PermError)
    }
}

/// A value as a `dot-atom` if it is one, else as a `quoted-string`.
fn word(value: &[u8]) -> String {
    let is_atext =
        |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~".contains(octet);
    let is_atom = |part: &[u8]| !part.is_empty() && part.iter().all(is_atext);
    let text = printable(value);
    if text.as_bytes().split(|octet| *octet == b'.').all(is_atom) {
        return text;
    }
    format!("\"{}\"", escaped(&text, &['"', '\\']))
}

/// A text that may stand in parentheses.
fn comment(text: &str) -> String {
    escaped(&printable(text.as_bytes()), &['(', ')', '\\'])
}

fn escaped(text: &str, special: &[char]) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        if special.contains(&letter) {
            escaped.push('\\');
        }
        escaped.push(letter);
    }
    escaped
}

/// Octets as text that a header can hold, not too long.
fn printable(value: &[u8]) -> String {
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
        let mechanism = Some("ip4:192.0.2.0/24".to_owned());
        Evaluation { verdict, mechanism, explanation: None, problem: None }
    }

    fn report<'a>(evaluation: &'a Evaluation, sender: &'a [u8], helo: &'a [u8]) -> Report<'a> {
        Report {
            evaluation,
            identity: "mailfrom",
            domain: b"example.com",
            client: "192.0.2.1".parse().unwrap(),
            sender,
            helo,
            receiver: "mx.example.net",
            text: "192.0.2.1 may send mail of example.com",
        }
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
