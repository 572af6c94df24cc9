//! Addresses: the forms in which they are compared, and the one in which a mail server is asked.

use std::borrow::Cow;
use std::fmt::Write as _;

use mppd_engine::Mailbox;
use mppd_lists::{mailboxes, names};

/// Most octets of a name, and of one label (RFC 1035, section 2.3.4).
pub(super) const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Most octets of a path that is asked for. RFC 5321 lets 256 be enough (section 4.5.3.1.3); what
/// counts is that the command fits into a line of 512.
const MAX_PATH: usize = 480;

/// A recipient.
#[derive(Debug, Clone)]
pub(super) struct Address<'a> {
    mailbox: Mailbox<'a>,
    /// In normal form.
    whole: Cow<'a, [u8]>,
    domain: Cow<'a, [u8]>,
    /// How much of the local part is no extension, where it has one.
    base: Option<usize>,
}

impl<'a> Address<'a> {
    /// A recipient with a domain; `delimiters` are the characters that an extension begins with.
    pub(super) fn new(mailbox: Mailbox<'a>, delimiters: &[u8]) -> Option<Self> {
        let domain = names::normalise(mailbox.domain()?);
        let is_delimiter = |octet: &u8| delimiters.contains(octet);
        // An extension has something before it, as in Postfix.
        let base = mailbox.local().iter().position(is_delimiter).filter(|base| *base > 0);
        Some(Address { mailbox, whole: mailboxes::normalise(mailbox), domain, base })
    }

    /// The local part as it came.
    pub(super) fn local(&self) -> &'a [u8] {
        self.mailbox.local()
    }

    /// The domain in normal form.
    pub(super) fn domain(&self) -> &[u8] {
        &self.domain
    }

    /// The whole in normal form.
    pub(super) fn whole(&self) -> &[u8] {
        &self.whole
    }

    /// The address as it came, but without its extension, where it has one.
    pub(super) fn without_extension(&self) -> Option<Vec<u8>> {
        let base = &self.local()[..self.base?];
        Some([base, b"@", self.mailbox.domain()?].concat())
    }
}

/// Why a mail server can't be asked for an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unaskable {
    /// A local part that no quoting makes fit for a command (RFC 5321, section 4.1.2).
    #[error("the local part is empty, or holds what can't stand in an address")]
    Local,
    #[error("the domain is none")]
    Domain,
    #[error("the address is too long")]
    Long,
}

/// An address as it stands between the angle brackets of RCPT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Path {
    text: String,
}

impl Path {
    /// The path of a local part, unquoted, in a domain in normal form.
    pub(super) fn new(local: &[u8], domain: &[u8]) -> Result<Self, Unaskable> {
        let local = std::str::from_utf8(local).map_err(|_| Unaskable::Local)?;
        let domain = Some(domain).filter(|domain| is_domain(domain));
        let domain = domain.and_then(|domain| std::str::from_utf8(domain).ok());
        let domain = domain.ok_or(Unaskable::Domain)?;
        if local.is_empty() || local.contains(char::is_control) {
            return Err(Unaskable::Local);
        }
        let mut text = if is_dot_string(local) { local.to_owned() } else { quoted(local) };
        // Writing to a string cannot fail.
        let _infallible = write!(text, "@{domain}");
        if text.len() > MAX_PATH {
            return Err(Unaskable::Long);
        }
        Ok(Path { text })
    }

    /// The text.
    pub(super) fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it takes a server with SMTPUTF8 (RFC 6531).
    pub(super) fn is_international(&self) -> bool {
        !self.text.is_ascii()
    }
}

/// A local part that needs no quotes (RFC 5321, section 4.1.2; RFC 6531, section 3.3).
fn is_dot_string(local: &str) -> bool {
    let is_atext = |letter: char| {
        letter.is_ascii_alphanumeric()
            || "!#$%&'*+-/=?^_`{|}~".contains(letter)
            || !letter.is_ascii()
    };
    local.split('.').all(|atom| !atom.is_empty() && atom.chars().all(is_atext))
}

fn quoted(local: &str) -> String {
    let mut text = String::with_capacity(local.len() + 2);
    text.push('"');
    for letter in local.chars() {
        if matches!(letter, '"' | '\\') {
            text.push('\\');
        }
        text.push(letter);
    }
    text.push('"');
    text
}

/// A name, or an address in brackets.
pub(super) fn is_domain(domain: &[u8]) -> bool {
    let literal = domain.strip_prefix(b"[").and_then(|rest| rest.strip_suffix(b"]"));
    let is_plain = |octet: &u8| octet.is_ascii_alphanumeric() || b".:-".contains(octet);
    let is_letter = |octet: &u8| octet.is_ascii_alphanumeric() || b"-_".contains(octet);
    let is_label =
        |label: &[u8]| (1..=MAX_LABEL).contains(&label.len()) && label.iter().all(is_letter);
    match literal {
        Some(inner) => !inner.is_empty() && inner.len() <= MAX_NAME && inner.iter().all(is_plain),
        None => domain.len() <= MAX_NAME && domain.split(|octet| *octet == b'.').all(is_label),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn path(address: &str) -> Result<String, Unaskable> {
        let address = Address::new(Mailbox::new(address.as_bytes()), b"").unwrap();
        Path::new(address.local(), address.domain()).map(|path| path.text)
    }

    #[test]
    fn a_local_part_gets_quotes_where_it_needs_them() {
        for (address, expected) in [
            ("alice@Example.ORG", "alice@example.org"),
            ("a.b+c@example.org", "a.b+c@example.org"),
            ("a b@example.org", "\"a b\"@example.org"),
            ("a..b@example.org", "\"a..b\"@example.org"),
            (".a@example.org", "\".a\"@example.org"),
            ("a\"b\\@example.org", "\"a\\\"b\\\\\"@example.org"),
            ("a>b@example.org", "\"a>b\"@example.org"),
            ("a@b@example.org", "\"a@b\"@example.org"),
            ("jörg@exämple.org", "jörg@xn--exmple-cua.org"),
            ("alice@[192.0.2.1]", "alice@[192.0.2.1]"),
        ] {
            assert_eq!(path(address).as_deref(), Ok(expected), "{address}");
        }
    }

    #[test]
    fn what_fits_no_command_is_not_asked() {
        assert_eq!(path("a\rRCPT TO:<x>@example.org"), Err(Unaskable::Local));
        assert_eq!(path("@example.org"), Err(Unaskable::Local));
        assert_eq!(path("a@exa mple.org"), Err(Unaskable::Domain));
        assert_eq!(path("a@example.org> NOTIFY=NEVER"), Err(Unaskable::Domain));
        assert_eq!(path("a@[x]\r]"), Err(Unaskable::Domain));
        assert_eq!(path("a@"), Err(Unaskable::Domain));
        let long = format!("{}@example.org", "a".repeat(500));
        assert_eq!(path(&long), Err(Unaskable::Long));
        assert_eq!(Path::new(b"\xff", b"example.org"), Err(Unaskable::Local));
    }

    #[test]
    fn an_extension_is_cut_at_the_first_delimiter() {
        let cut = |address: &'static str, delimiters: &str| {
            let address = Address::new(Mailbox::new(address.as_bytes()), delimiters.as_bytes());
            address.unwrap().without_extension()
        };
        assert_eq!(cut("a+b-c@x.org", "+-").as_deref(), Some(&b"a@x.org"[..]));
        assert_eq!(cut("a-c+b@x.org", "+-").as_deref(), Some(&b"a@x.org"[..]));
        assert_eq!(cut("a@x.org", "+"), None);
        assert_eq!(cut("+b@x.org", "+"), None);
        assert_eq!(cut("a+b@x.org", ""), None);
    }

    /// What a server makes of a path: the local part and the domain.
    fn read(path: &str) -> (String, String) {
        let Some(quoted) = path.strip_prefix('"') else {
            let (local, domain) = path.rsplit_once('@').unwrap();
            return (local.to_owned(), domain.to_owned());
        };
        let mut local = String::new();
        let mut letters = quoted.chars();
        loop {
            match letters.next().unwrap() {
                '"' => break,
                '\\' => local.push(letters.next().unwrap()),
                letter => local.push(letter),
            }
        }
        (local, letters.as_str().strip_prefix('@').unwrap().to_owned())
    }

    proptest! {
        #[test]
        fn a_path_is_one_word_of_one_line_and_means_the_address(
            local in prop_oneof!["[ -~]{1,20}", "\\PC{1,10}", any::<String>()],
            domain in prop_oneof!["[a-z0-9.-]{1,20}", "\\[[0-9.]{1,9}\\]", any::<String>()],
        ) {
            if let Ok(path) = Path::new(local.as_bytes(), domain.as_bytes()) {
                let text = path.as_str();
                prop_assert!(!text.contains(char::is_control), "{text}");
                let (read_local, read_domain) = read(text);
                prop_assert!(!read_domain.contains([' ', '<', '>', '"']), "{text}");
                if !text.starts_with('"') {
                    prop_assert!(!text.contains([' ', '<', '>', '"', '\\', ',']), "{text}");
                }
                prop_assert_eq!((read_local, read_domain), (local, domain));
            }
        }

        #[test]
        fn the_normal_form_is_its_own_normal_form(address: Vec<u8>) {
            if let Some(address) = Address::new(Mailbox::new(&address), b"+") {
                let again = Address::new(Mailbox::new(address.whole()), b"+").unwrap();
                prop_assert_eq!(again.whole(), address.whole());
                prop_assert_eq!(again.domain(), address.domain());
            }
        }
    }
}
