//! A policy request: the attributes that Postfix sent, octet for octet, and the views that engines
//! need of them. Nothing is trimmed, decoded or normalised here except where a method says so.
//!
//! The names, forms and meanings are those of Postfix's `SMTPD_POLICY_README`.

use std::fmt;
use std::net::IpAddr;

use crate::attribute::Attribute;
use crate::stage::Stage;

const KNOWN: usize = Attribute::ALL.len();
const ABSENT: u16 = u16::MAX;

/// Why some octets are no policy request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// The first line is empty.
    #[error("an empty request")]
    Empty,
    /// A line has no `=`.
    #[error("line {line} has no \"=\"")]
    NoEquals {
        /// Number of the line, from 1.
        line: usize,
    },
    /// A line holds a NUL octet.
    #[error("line {line} holds a NUL octet")]
    Nul {
        /// Number of the line, from 1.
        line: usize,
    },
    /// There is no final empty line.
    #[error("the request does not end with an empty line")]
    Unfinished,
    /// More lines than can be told apart.
    #[error("more than {max} lines", max = MAX_LINES)]
    TooManyLines,
    /// `request` is absent or names another protocol.
    #[error("the request is not \"request=smtpd_access_policy\"")]
    NotAPolicyRequest,
}

/// Most lines in one request; far above what fits into the default size limit in practice.
pub const MAX_LINES: usize = 32_768;

#[derive(Clone, Copy)]
struct Line {
    start: u32,
    equals: u32,
    end: u32,
}

/// One policy request.
///
/// Values are octets: they may hold anything except NUL and line feed.
#[derive(Clone)]
pub struct Request {
    octets: Box<[u8]>,
    lines: Box<[Line]>,
    known: [u16; KNOWN],
}

impl Request {
    /// Reads one whole request, with the empty line that ends it.
    ///
    /// Of a name that stands twice the first counts.
    ///
    /// # Errors
    /// What makes the octets something else than one policy request.
    pub fn parse(octets: impl Into<Box<[u8]>>) -> Result<Self, Malformed> {
        let octets = octets.into();
        let mut lines = Vec::with_capacity(32);
        let mut known = [ABSENT; KNOWN];
        let mut expected = 0;
        let mut start = 0;
        loop {
            let rest = &octets[start..];
            let length = memchr::memchr(b'\n', rest).ok_or(Malformed::Unfinished)?;
            if length == 0 {
                break;
            }
            if lines.len() == MAX_LINES {
                return Err(Malformed::TooManyLines);
            }
            let line = read_line(&rest[..length], start, lines.len() + 1)?;
            let name = &octets[start..line.equals as usize];
            if let Some(attribute) = recognise(name, expected) {
                expected = attribute as usize + 1;
                let slot = &mut known[attribute as usize];
                if *slot == ABSENT {
                    // `lines.len()` is below MAX_LINES, so it fits and is never ABSENT.
                    *slot = u16::try_from(lines.len()).map_err(|_| Malformed::TooManyLines)?;
                }
            }
            lines.push(line);
            start += length + 1;
        }
        if lines.is_empty() {
            return Err(Malformed::Empty);
        }
        if start + 1 != octets.len() {
            return Err(Malformed::Unfinished);
        }
        let request = Request { octets, lines: lines.into(), known };
        if request.get(Attribute::Request) != b"smtpd_access_policy" {
            return Err(Malformed::NotAPolicyRequest);
        }
        Ok(request)
    }

    /// Builds a request from names and values; `request=smtpd_access_policy` is put in front where
    /// it is missing.
    ///
    /// ```
    /// # use mppd_engine::{Attribute, Request, Stage};
    /// let request = Request::from_attributes([
    ///     ("protocol_state", "RCPT"),
    ///     ("sender", "alice@example.com"),
    ///     ("queue_id", ""),
    /// ])?;
    /// assert_eq!(request.stage(), Stage::Rcpt);
    /// assert_eq!(request.sender().domain(), Some(&b"example.com"[..]));
    /// assert_eq!(request.find(Attribute::QueueId), Some(&b""[..]));
    /// assert_eq!(request.find(Attribute::Size), None);
    /// # Ok::<(), mppd_engine::request::Malformed>(())
    /// ```
    ///
    /// # Errors
    /// A name or value that cannot stand in a request.
    pub fn from_attributes<N, V>(
        attributes: impl IntoIterator<Item = (N, V)>,
    ) -> Result<Self, Malformed>
    where
        N: AsRef<[u8]>,
        V: AsRef<[u8]>,
    {
        let mut octets = Vec::new();
        let mut has_request = false;
        for (index, (name, value)) in attributes.into_iter().enumerate() {
            let (name, value) = (name.as_ref(), value.as_ref());
            if name.contains(&b'=') || name.contains(&b'\n') || value.contains(&b'\n') {
                return Err(Malformed::NoEquals { line: index + 1 });
            }
            has_request |= name == b"request";
            octets.extend_from_slice(name);
            octets.push(b'=');
            octets.extend_from_slice(value);
            octets.push(b'\n');
        }
        if !has_request {
            octets.splice(0..0, b"request=smtpd_access_policy\n".iter().copied());
        }
        octets.push(b'\n');
        Request::parse(octets)
    }

    /// Whether a line can be one of a request; `number` is its number, from 1.
    ///
    /// # Errors
    /// A line that is no attribute.
    pub fn check_line(line: &[u8], number: usize) -> Result<(), Malformed> {
        read_line(line, 0, number).map(drop)
    }

    /// The request as it came, with the empty line that ends it.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets
    }

    /// Octets of memory that it takes up.
    #[must_use]
    pub fn memory(&self) -> usize {
        size_of::<Self>() + self.octets.len() + size_of_val(&*self.lines)
    }

    /// Every attribute, unknown ones too, in the order sent.
    #[must_use]
    pub fn attributes(&self) -> impl ExactSizeIterator<Item = (&[u8], &[u8])> {
        self.lines.iter().map(|line| self.pair(*line))
    }

    /// The value of a known attribute; empty if it is absent.
    #[must_use]
    #[inline]
    pub fn get(&self, attribute: Attribute) -> &[u8] {
        self.find(attribute).unwrap_or_default()
    }

    /// The value of a known attribute, if it was sent.
    #[must_use]
    #[inline]
    pub fn find(&self, attribute: Attribute) -> Option<&[u8]> {
        let line = self.lines.get(usize::from(self.known[attribute as usize]))?;
        Some(self.pair(*line).1)
    }

    /// The value of any attribute, known or not, if it was sent.
    #[must_use]
    pub fn find_by_name(&self, name: &[u8]) -> Option<&[u8]> {
        if let Some(attribute) = Attribute::from_name(name) {
            return self.find(attribute);
        }
        self.attributes().find(|(sent, _)| *sent == name).map(|(_, value)| value)
    }

    /// The value of a known attribute as text, with U+FFFD for what is not UTF-8.
    #[must_use]
    pub fn text(&self, attribute: Attribute) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.get(attribute))
    }

    /// The stage that this request belongs to.
    #[must_use]
    pub fn stage(&self) -> Stage {
        Stage::from_protocol_state(self.get(Attribute::ProtocolState))
    }

    /// The client's address; `None` where Postfix does not know it. An IPv4-mapped IPv6 address
    /// comes as IPv4.
    #[must_use]
    pub fn client_address(&self) -> Option<IpAddr> {
        parse_address(self.get(Attribute::ClientAddress))
    }

    /// The envelope sender.
    #[must_use]
    pub fn sender(&self) -> Mailbox<'_> {
        Mailbox::new(self.get(Attribute::Sender))
    }

    /// The envelope recipient.
    #[must_use]
    pub fn recipient(&self) -> Mailbox<'_> {
        Mailbox::new(self.get(Attribute::Recipient))
    }

    /// The mail transaction; empty outside of one.
    #[must_use]
    pub fn instance(&self) -> &[u8] {
        self.get(Attribute::Instance)
    }

    #[inline]
    fn pair(&self, line: Line) -> (&[u8], &[u8]) {
        let (start, equals, end) = (line.start as usize, line.equals as usize, line.end as usize);
        (&self.octets[start..equals], &self.octets[equals + 1..end])
    }
}

/// The known attribute of this name. Postfix sends them in one order, so the one that is expected
/// is compared first: a request is read in an eighth less time (`benches/codec.rs`).
fn recognise(name: &[u8], expected: usize) -> Option<Attribute> {
    match Attribute::ALL.get(expected) {
        Some(attribute) if attribute.name().as_bytes() == name => Some(*attribute),
        _ => Attribute::from_name(name),
    }
}

fn read_line(line: &[u8], start: usize, number: usize) -> Result<Line, Malformed> {
    if memchr::memchr(0, line).is_some() {
        return Err(Malformed::Nul { line: number });
    }
    let equals = memchr::memchr(b'=', line).ok_or(Malformed::NoEquals { line: number })?;
    let offset = |at: usize| u32::try_from(start + at).map_err(|_| Malformed::TooManyLines);
    Ok(Line { start: offset(0)?, equals: offset(equals)?, end: offset(line.len())? })
}

fn parse_address(octets: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(octets).ok()?;
    let address: IpAddr = text.parse().ok()?;
    Some(address.to_canonical())
}

impl PartialEq for Request {
    fn eq(&self, other: &Self) -> bool {
        self.octets == other.octets
    }
}

impl Eq for Request {}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
        f.debug_map().entries(self.attributes().map(|(n, v)| (text(n), text(v)))).finish()
    }
}

/// An envelope address as Postfix hands it over: unquoted, possibly empty, possibly without a
/// domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mailbox<'a> {
    whole: &'a [u8],
    at: Option<usize>,
}

impl<'a> Mailbox<'a> {
    /// Splits an address at its last `@`.
    #[must_use]
    #[inline]
    pub fn new(whole: &'a [u8]) -> Self {
        Mailbox { whole, at: memchr::memrchr(b'@', whole) }
    }

    /// All of it.
    #[must_use]
    pub fn whole(&self) -> &'a [u8] {
        self.whole
    }

    /// Whether this is the null sender, `<>`.
    #[must_use]
    pub fn is_null(&self) -> bool {
        self.whole.is_empty()
    }

    /// What stands before the last `@`, or everything where there is none.
    #[must_use]
    pub fn local(&self) -> &'a [u8] {
        self.at.map_or(self.whole, |at| &self.whole[..at])
    }

    /// What stands behind the last `@`, if there is one.
    #[must_use]
    #[inline]
    pub fn domain(&self) -> Option<&'a [u8]> {
        self.at.map(|at| &self.whole[at + 1..])
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn request(text: &str) -> Result<Request, Malformed> {
        Request::parse(text.as_bytes())
    }

    const HEAD: &str = "request=smtpd_access_policy\n";

    #[test]
    fn the_first_equals_splits_and_nothing_is_trimmed() {
        let request = request(&format!("{HEAD}sender= a=b \nx=\n\n")).unwrap();
        assert_eq!(request.get(Attribute::Sender), b" a=b ");
        assert_eq!(request.find_by_name(b"x"), Some(&b""[..]));
        assert_eq!(request.find_by_name(b"y"), None);
    }

    #[test]
    fn a_carriage_return_is_data() {
        let request = request(&format!("{HEAD}helo_name=x\r\n\n")).unwrap();
        assert_eq!(request.get(Attribute::HeloName), b"x\r");
    }

    #[test]
    fn of_a_name_sent_twice_the_first_counts() {
        let request = request(&format!("{HEAD}size=1\nsize=2\n\n")).unwrap();
        assert_eq!(request.get(Attribute::Size), b"1");
        assert_eq!(request.attributes().len(), 3);
    }

    #[test]
    fn what_is_no_request_is_refused_with_its_reason() {
        assert_eq!(request("\n").unwrap_err(), Malformed::Empty);
        assert_eq!(request("a\n\n").unwrap_err(), Malformed::NoEquals { line: 1 });
        assert_eq!(request("a=\0\n\n").unwrap_err(), Malformed::Nul { line: 1 });
        assert_eq!(request("a=b\n").unwrap_err(), Malformed::Unfinished);
        assert_eq!(request("a=b\n\n").unwrap_err(), Malformed::NotAPolicyRequest);
        assert_eq!(request("request=junk\n\n").unwrap_err(), Malformed::NotAPolicyRequest);
    }

    #[test]
    fn the_domain_stands_behind_the_last_at_sign() {
        let mailbox = Mailbox::new(b"x@y@example.com");
        assert_eq!(mailbox.local(), b"x@y");
        assert_eq!(mailbox.domain(), Some(&b"example.com"[..]));
        assert_eq!(Mailbox::new(b"postmaster").domain(), None);
        assert!(Mailbox::new(b"").is_null());
    }

    #[test]
    fn a_mapped_client_address_comes_as_ipv4() {
        let request = request(&format!("{HEAD}client_address=::ffff:192.0.2.1\n\n")).unwrap();
        assert_eq!(request.client_address(), Some("192.0.2.1".parse().unwrap()));
    }

    fn octets_without(forbidden: &'static [u8]) -> impl Strategy<Value = Vec<u8>> {
        let octet =
            any::<u8>().prop_filter("an octet that separates", |octet| !forbidden.contains(octet));
        prop::collection::vec(octet, 0..20)
    }

    fn any_name() -> impl Strategy<Value = Vec<u8>> {
        let known = prop::sample::select(Attribute::ALL);
        prop_oneof![
            known
                .prop_filter("the one that says what this is", |known| *known != Attribute::Request)
                .prop_map(|known| known.name().as_bytes().to_vec()),
            octets_without(b"=\n\0").prop_filter("another one", |name| name != b"request"),
        ]
    }

    proptest! {
        #[test]
        fn attributes_come_back_as_they_were_put_in(
            attributes in prop::collection::vec((any_name(), octets_without(b"\n\0")), 0..40)
        ) {
            let request = Request::from_attributes(attributes.clone()).unwrap();
            let read = Request::parse(request.octets()).unwrap();
            let mut expected = vec![(b"request".to_vec(), b"smtpd_access_policy".to_vec())];
            expected.extend(attributes);
            let owned = |(name, value): (&[u8], &[u8])| (name.to_vec(), value.to_vec());
            prop_assert_eq!(read.attributes().map(owned).collect::<Vec<_>>(), expected.clone());
            for (name, _) in &expected {
                let first = expected.iter().find(|(other, _)| other == name);
                let first = first.map(|(_, value)| value.as_slice());
                prop_assert_eq!(read.find_by_name(name), first);
            }
        }

        #[test]
        fn any_octets_are_a_request_or_refused(
            octets in prop::collection::vec(prop_oneof![any::<u8>(), Just(b'\n'), Just(b'=')], 0..200),
            is_headed in any::<bool>(),
        ) {
            let mut whole = if is_headed { HEAD.as_bytes().to_vec() } else { Vec::new() };
            whole.extend(octets);
            if let Ok(request) = Request::parse(whole.clone()) {
                prop_assert_eq!(request.octets(), whole);
                prop_assert!(Stage::ALL.contains(&request.stage()));
                for attribute in Attribute::ALL {
                    let is_empty = request.get(*attribute).is_empty();
                    prop_assert_eq!(request.text(*attribute).is_empty(), is_empty);
                }
                prop_assert_eq!(request.client_address().is_some(), {
                    let text = request.text(Attribute::ClientAddress);
                    text.parse::<IpAddr>().is_ok()
                });
            }
        }
    }
}
