//! Replies of mail servers (RFC 5321, section 4.2), which may hold anything and be of any length.

use mppd_engine::Escaped;

/// The longest line that is read, with its end. RFC 5321 asks for 512 (section 4.5.3.1.5).
const MAX_LINE: usize = 2_048;

/// The longest reply that is read.
const MAX_REPLY: usize = 16 << 10;

/// How much of a reply is told, in characters.
const TOLD: usize = 200;

/// Why some octets are no reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadReply {
    #[error("a line of its reply has no code")]
    NoCode,
    #[error("the lines of its reply have different codes")]
    Codes,
    #[error("its reply is too long")]
    Long,
}

/// A reply.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    code: u16,
    /// What stands behind the code in each line.
    lines: Vec<Vec<u8>>,
}

/// A status code beside that of the reply (RFC 3463): class, subject, detail.
type Enhanced = (u16, u16, u16);

impl Reply {
    /// The reply that some octets begin with, and how many of them it is; `None` as long as it is
    /// not whole.
    pub(crate) fn parse(octets: &[u8]) -> Result<Option<(Self, usize)>, BadReply> {
        let (mut lines, mut code) = (Vec::new(), None);
        let mut rest = octets;
        loop {
            let Some(end) = rest.iter().position(|octet| *octet == b'\n') else {
                let read = octets.len() - rest.len();
                let is_long = rest.len() > MAX_LINE || read + rest.len() > MAX_REPLY;
                return if is_long { Err(BadReply::Long) } else { Ok(None) };
            };
            let (line, behind) = (&rest[..end], &rest[end + 1..]);
            rest = behind;
            if end >= MAX_LINE || octets.len() - rest.len() > MAX_REPLY {
                return Err(BadReply::Long);
            }
            let (found, is_last, text) = read_line(line).ok_or(BadReply::NoCode)?;
            if *code.get_or_insert(found) != found {
                return Err(BadReply::Codes);
            }
            lines.push(text.to_vec());
            if is_last {
                return Ok(Some((Reply { code: found, lines }, octets.len() - rest.len())));
            }
        }
    }

    /// The code, from 200 to 599.
    pub(crate) fn code(&self) -> u16 {
        self.code
    }

    /// The first word of the reply: to a greeting or to HELO, the server's name.
    pub(crate) fn first_word(&self) -> &[u8] {
        let first = self.lines.first().map(Vec::as_slice).unwrap_or_default();
        first.split(|octet| *octet == b' ').next().unwrap_or_default()
    }

    /// Whether a reply to EHLO offers an extension.
    pub(crate) fn offers(&self, extension: &str) -> bool {
        let words = self.lines.iter().skip(1).map(|line| line.split(|octet| *octet == b' ').next());
        words.flatten().any(|word| word.eq_ignore_ascii_case(extension.as_bytes()))
    }

    fn enhanced(&self) -> Option<Enhanced> {
        let word = std::str::from_utf8(self.first_word()).ok()?;
        let mut parts = word.split('.').map(|part| part.parse::<u16>().ok());
        let read = (parts.next()??, parts.next()??, parts.next()??);
        (parts.next().is_none() && read.0 == self.code / 100).then_some(read)
    }

    /// Whether a refusal of RCPT says that there is no such address. Many refuse for other reasons
    /// with the same code, and tell them apart by the second number of the status code.
    pub(crate) fn says_there_is_no_such_address(&self) -> bool {
        match (self.code, self.enhanced()) {
            // A full mailbox, or a message that is too large for it, is one of somebody.
            (_, Some((_, 2, 2 | 3))) => false,
            // Bad address; and what large services say of one that they do not have: nothing more,
            // or that they can't route it.
            (500..=599, Some((_, 1, _)))
            | (550 | 551 | 553 | 556, Some((_, 0 | 2 | 4, _)) | None) => true,
            // The mail system, the protocol, the message, policy.
            _ => false,
        }
    }
}

impl std::fmt::Display for Reply {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let whole = [self.code.to_string().as_bytes(), &self.lines.join(&b' ')].join(&b' ');
        f.write_str(&fit(&whole))
    }
}

/// What others say, in one short line.
pub(super) fn fit(text: &[u8]) -> String {
    let shown = Escaped(text).to_string();
    match shown.char_indices().nth(TOLD) {
        Some((end, _)) => format!("{}…", &shown[..end]),
        None => shown.trim_end().to_owned(),
    }
}

/// The code, whether the line is the last one, and the text.
fn read_line(line: &[u8]) -> Option<(u16, bool, &[u8])> {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    let (digits, rest) = line.split_at_checked(3)?;
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let code: u16 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    if !(200..=599).contains(&code) {
        return None;
    }
    match rest.split_first() {
        None => Some((code, true, rest)),
        Some((b' ', text)) => Some((code, true, text)),
        Some((b'-', text)) => Some((code, false, text)),
        Some(_) => None,
    }
}

/// What holds for any octets that a server sends.
///
/// # Panics
/// Where it does not.
#[cfg(any(test, feature = "testkit"))]
#[allow(clippy::panic, reason = "a test that cannot go on panics, and says why")]
pub(crate) fn check(octets: &[u8]) {
    let whole = Reply::parse(octets);
    if let Ok(Some((reply, length))) = &whole {
        assert!(*length <= octets.len() && octets[length - 1] == b'\n');
        assert!((200..=599).contains(&reply.code()));
        let told = reply.to_string();
        assert!(told.chars().count() <= TOLD + 1 && !told.contains(char::is_control), "{told}");
        // Before its last octet it is not whole, and behind it nothing of it changes.
        assert_eq!(Reply::parse(&octets[..length - 1]), Ok(None));
        assert_eq!(Reply::parse(&octets[..*length]), whole);
        let _judged = reply.says_there_is_no_such_address() && reply.offers("SMTPUTF8");
    }
    // What is refused is refused whatever comes behind it.
    if whole.is_err() {
        assert_eq!(Reply::parse(&[octets, b"250 ok\r\n"].concat()), whole);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn reply(text: &str) -> Reply {
        Reply::parse(text.as_bytes()).unwrap().unwrap().0
    }

    #[test]
    fn a_reply_ends_with_the_line_that_has_a_blank_behind_its_code() {
        let text = "250-mx.example.org at your service\r\n250-SIZE 100\r\n250 SMTPUTF8\r\n";
        let whole = reply(text);
        assert_eq!((whole.code(), whole.first_word()), (250, &b"mx.example.org"[..]));
        assert!(whole.offers("smtputf8") && whole.offers("SIZE") && !whole.offers("100"));
        assert!(!whole.offers("mx.example.org"));
        assert_eq!(Reply::parse(&text.as_bytes()[..text.len() - 1]), Ok(None));
        assert_eq!(reply("220\n").lines, [b""]);
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for (text, fault) in [
            ("hello\r\n", BadReply::NoCode),
            ("250_x\r\n", BadReply::NoCode),
            ("100 x\r\n", BadReply::NoCode),
            ("600 x\r\n", BadReply::NoCode),
            ("25\r\n", BadReply::NoCode),
            ("250-a\r\n550 b\r\n", BadReply::Codes),
        ] {
            assert_eq!(Reply::parse(text.as_bytes()), Err(fault), "{text}");
        }
    }

    #[test]
    fn a_reply_without_end_is_not_read_for_ever() {
        assert_eq!(Reply::parse(&[b'2'; MAX_LINE + 1]), Err(BadReply::Long));
        assert_eq!(Reply::parse("250-x\r\n".repeat(3_000).as_bytes()), Err(BadReply::Long));
        let line = format!("250 {}\r\n", "x".repeat(MAX_LINE));
        assert_eq!(Reply::parse(line.as_bytes()), Err(BadReply::Long));
    }

    #[test]
    fn a_refusal_is_of_the_address_only_where_it_says_so() {
        for (text, is_of_the_address) in [
            ("550 5.1.1 unknown user", true),
            ("550 Unrouteable address", true),
            ("550 5.4.1 Recipient address rejected: Access denied", true),
            ("553 sorry, no mailbox here", true),
            ("554 5.1.1 no such user", true),
            ("550 5.2.1 disabled", true),
            ("552 5.2.2 mailbox full", false),
            ("550 5.2.2 mailbox full", false),
            ("550 5.7.1 your address is on a block list", false),
            ("554 5.7.1 relay access denied", false),
            ("554 no", false),
            ("503 5.5.1 what?", false),
            ("550 4.1.1 strange", true),
            ("450 4.1.1 later", false),
        ] {
            let reply = reply(&format!("{text}\r\n"));
            assert_eq!(reply.says_there_is_no_such_address(), is_of_the_address, "{text}");
        }
    }

    #[test]
    fn what_is_told_is_short_and_can_be_read() {
        let told = reply(&format!("550-a\u{1b}[2J\r\n550 {}\r\n", "x".repeat(500))).to_string();
        assert!(told.starts_with(r"550 a\u{1b}[2J xxx"), "{told}");
        assert_eq!(told.chars().count(), TOLD + 1);
    }

    proptest! {
        #[test]
        fn any_octets_are_a_reply_or_part_of_one_or_refused(
            octets in prop::collection::vec(
                prop_oneof![
                    Just(b"250".to_vec()), Just(b"550-".to_vec()), Just(b"\r\n".to_vec()),
                    Just(b"\n".to_vec()), Just(b" ".to_vec()), any::<[u8; 2]>().prop_map(Vec::from),
                ],
                0..30,
            ),
        ) {
            super::check(&octets.concat());
        }
    }
}
