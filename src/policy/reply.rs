//! One reply: an action as the octets that Postfix reads, with its text made safe.
//!
//! Postfix puts the SMTP code and the subject in front of a text and does not cut it, while SMTP
//! allows 512 octets for the whole line (RFC 5321, section 4.5.3.1.5). So a text that reaches the
//! SMTP client is cut here, by what the longest of the restriction lists would put in front.

use mppd_engine::{Action, Attribute, Mailbox, Request};

/// Most octets of an SMTP reply line that Postfix makes of our text, its end included.
const SMTP_LINE: usize = 511;

/// What is left to a text although the subject alone is too long for SMTP.
const LEAST_TEXT: usize = 64;

/// Most octets of a text that goes to Postfix's log only.
const LOG_TEXT: usize = 400;

/// Most octets of a header (RFC 5322, section 2.1.1, less the line end).
const HEADER_LINE: usize = 998;

/// What Postfix says for a code whose text came to nothing.
pub const NO_TEXT: &str = "Access denied";

/// The octets of one reply, to be sent in one write.
#[must_use]
pub fn encode(action: &Action, request: &Request) -> Vec<u8> {
    with_room(action, || room_for_text(request))
}

/// The octets of a reply to any request, whatever Postfix puts in front of its text.
#[must_use]
pub fn encode_for_any(action: &Action) -> Vec<u8> {
    with_room(action, || ROOM_FOR_ANY)
}

/// Most octets of a text that are left behind the longest address (RFC 5321, section 4.5.3.1:
/// 64, an `@` and 255).
pub const ROOM_FOR_ANY: usize =
    SMTP_LINE - "550 5.7.1 <>: Recipient address rejected: \r\n".len() - 320;

fn with_room(action: &Action, room: impl Fn() -> usize) -> Vec<u8> {
    let mut reply = String::with_capacity(128);
    reply.push_str("action=");
    reply.push_str(&action.word());
    if let Some(text) = wire_text(action, room) {
        reply.push(' ');
        reply.push_str(&text);
    }
    reply.push_str("\n\n");
    reply.into_bytes()
}

/// The text as it goes over the wire; `None` where the action has none.
fn wire_text(action: &Action, room: impl Fn() -> usize) -> Option<String> {
    let text = action.text()?;
    let most = match action {
        Action::Reject(_)
        | Action::Defer(_)
        | Action::Code(..)
        | Action::DeferIfPermit(_)
        | Action::DeferIfReject(_) => room(),
        Action::Prepend(_) => HEADER_LINE,
        // Half an address is another address.
        Action::Filter(_) | Action::Redirect(_) | Action::Bcc(_) => usize::MAX,
        _ => LOG_TEXT,
    };
    let text = printable(text);
    let text = cut(text.trim(), most);
    match action {
        // Postfix takes a code without a text for OK, or for a fault of its configuration.
        Action::Code(..) if text.is_empty() => Some(NO_TEXT.to_owned()),
        _ if text.is_empty() => None,
        _ => Some(text.to_owned()),
    }
}

/// The text with a blank for each control character, of which one could end the reply.
fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// As much of the text as fits into so many octets, whole characters only.
fn cut(text: &str, most: usize) -> &str {
    if text.len() <= most {
        return text;
    }
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    text[..end].trim_end()
}

/// How many octets of text fit into the SMTP reply, whichever restriction list asked.
fn room_for_text(request: &Request) -> usize {
    let length = |attribute| request.get(attribute).len();
    let client = length(Attribute::ClientName) + length(Attribute::ClientAddress) + "[]".len();
    let subjects = [
        client + "Client host".len(),
        length(Attribute::HeloName) + "Helo command".len(),
        quoted_length(request.sender()) + "Sender address".len(),
        quoted_length(request.recipient()) + "Recipient address".len(),
        length(Attribute::EtrnDomain) + "Etrn command".len(),
        "END-OF-MESSAGE".len() + "End-of-data".len(),
    ];
    let longest = subjects.into_iter().max().unwrap_or_default();
    let around = "550 5.7.1 <>:  rejected: \r\n".len();
    SMTP_LINE.saturating_sub(around + longest).max(LEAST_TEXT)
}

/// Length of an address as Postfix shows it: with its local part quoted where it must be.
fn quoted_length(mailbox: Mailbox<'_>) -> usize {
    let is_atom =
        |octet: &u8| octet.is_ascii_alphanumeric() || b"!#$%&'*+-/=?^_`{|}~.".contains(octet);
    if mailbox.local().iter().all(is_atom) {
        return mailbox.whole().len();
    }
    let escaped = mailbox.local().iter().filter(|octet| matches!(octet, b'"' | b'\\')).count();
    mailbox.whole().len() + "\"\"".len() + escaped
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(recipient: &str) -> Request {
        Request::from_attributes([("recipient", recipient), ("client_name", "unknown")]).unwrap()
    }

    fn reply(action: &Action) -> String {
        String::from_utf8(encode(action, &request("r@example.com"))).unwrap()
    }

    #[test]
    fn a_reply_is_one_line_and_an_empty_one() {
        assert_eq!(reply(&Action::Dunno), "action=DUNNO\n\n");
        assert_eq!(reply(&Action::Reject(Some("Not today".into()))), "action=REJECT Not today\n\n");
    }

    #[test]
    fn control_characters_cannot_end_the_reply() {
        let action = Action::Reject(Some("a\n\naction=OK\r\u{85}b\0".into()));
        assert_eq!(reply(&action), "action=REJECT a  action=OK  b\n\n");
    }

    #[test]
    fn a_code_always_has_a_text() {
        let Ok(Action::Code(code, _)) = Action::parse("550 x") else { panic!() };
        assert_eq!(reply(&Action::Code(code, "\n".into())), "action=550 Access denied\n\n");
    }

    #[test]
    fn a_long_text_is_cut_at_a_character() {
        let text = "é".repeat(400);
        let reply = reply(&Action::Reject(Some(text)));
        let text = reply.trim_end().strip_prefix("action=REJECT ").unwrap();
        let line = format!("554 5.7.1 <r@example.com>: Recipient address rejected: {text}\r\n");
        assert!((509..=511).contains(&line.len()), "{}", line.len());
    }

    #[test]
    fn half_an_address_is_never_sent() {
        let address = format!("{}@example.com", "a".repeat(600));
        let whole = format!("action=REDIRECT {address}\n\n");
        assert_eq!(reply(&Action::Redirect(address)), whole);
    }

    proptest! {
        #[test]
        fn any_text_makes_one_line_under_512_octets(
            text in any::<String>(),
            recipient in "[ -~é]{0,300}",
        ) {
            let request = request(&recipient);
            let octets = encode(&Action::Reject(Some(text)), &request);
            let reply = std::str::from_utf8(&octets).unwrap();
            prop_assert_eq!(reply.matches('\n').count(), 2);
            prop_assert!(!reply.trim_end_matches('\n').chars().any(char::is_control));
            let text = reply.trim_end_matches('\n').strip_prefix("action=REJECT").unwrap();
            let subject = "<>: Recipient address rejected:".len() + recipient.len();
            prop_assert!("554 5.7.1 \r\n".len() + subject + text.len() < 512 || text.len() <= 65);
        }
    }
}
