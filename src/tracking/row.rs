//! One row of the records, as every store takes and gives it, and the request read back from it.

use std::borrow::Cow;

use mppd_engine::request::Malformed;
use mppd_engine::{Request, RequestKey};

use super::table::{COLUMNS, HELD, Held, Kind};

/// What stands in one column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cell<'a> {
    /// Nothing.
    Null,
    /// An integer.
    Integer(i64),
    /// Microseconds since 1970, UTC.
    Time(i64),
    /// Text.
    Text(&'a str),
    /// Octets.
    Octets(&'a [u8]),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Slot {
    Null,
    Integer(i64),
    Time(i64),
    Text(u32, u32),
    Octets(u32, u32),
}

/// One row: a cell for every column of the table, in its order.
///
/// The values share two buffers, so that a row costs three allocations, not fifty.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Row {
    slots: Vec<Slot>,
    text: String,
    octets: Vec<u8>,
}

impl Row {
    /// A row without cells yet; the text will take about so many octets.
    #[must_use]
    pub fn with_capacity(text: usize) -> Self {
        Row {
            slots: Vec::with_capacity(COLUMNS.len()),
            text: String::with_capacity(text),
            octets: Vec::with_capacity(32),
        }
    }

    /// Adds the next cell.
    pub fn push(&mut self, cell: Cell<'_>) {
        let slot = match cell {
            Cell::Null => Slot::Null,
            Cell::Integer(number) => Slot::Integer(number),
            Cell::Time(microseconds) => Slot::Time(microseconds),
            Cell::Text(text) => {
                let start = self.text.len();
                self.text.push_str(text);
                self.text_since(start)
            }
            Cell::Octets(octets) => {
                let start = self.octets.len();
                self.octets.extend_from_slice(octets);
                Slot::Octets(offset(start), offset(self.octets.len()))
            }
        };
        self.slots.push(slot);
    }

    /// Adds the next cell: text that `write` appends to what it is given.
    pub(super) fn push_written(&mut self, write: impl FnOnce(&mut String)) {
        let start = self.text.len();
        write(&mut self.text);
        let slot = self.text_since(start);
        self.slots.push(slot);
    }

    fn text_since(&self, start: usize) -> Slot {
        Slot::Text(offset(start), offset(self.text.len()))
    }

    /// What stands in a column; nothing where there is no such column.
    #[must_use]
    pub fn cell(&self, column: usize) -> Cell<'_> {
        match self.slots.get(column) {
            None | Some(Slot::Null) => Cell::Null,
            Some(Slot::Integer(number)) => Cell::Integer(*number),
            Some(Slot::Time(microseconds)) => Cell::Time(*microseconds),
            Some(Slot::Text(start, end)) => Cell::Text(&self.text[*start as usize..*end as usize]),
            Some(Slot::Octets(start, end)) => {
                Cell::Octets(&self.octets[*start as usize..*end as usize])
            }
        }
    }

    /// Every cell.
    #[must_use]
    pub fn cells(&self) -> impl ExactSizeIterator<Item = Cell<'_>> {
        (0..COLUMNS.len()).map(|column| self.cell(column))
    }

    /// What stands in the column of this name.
    #[must_use]
    pub fn get(&self, name: &str) -> Cell<'_> {
        super::table::position(name).map_or(Cell::Null, |column| self.cell(column))
    }

    /// How many octets the values take, about.
    #[must_use]
    pub fn size(&self) -> usize {
        self.text.len() + self.octets.len() + COLUMNS.len() * 4
    }

    /// The request's key.
    #[must_use]
    pub fn key(&self) -> Option<RequestKey> {
        match self.cell(0) {
            Cell::Octets(octets) => octets.try_into().ok().map(RequestKey),
            _ => None,
        }
    }

    /// Whether the request is decided.
    #[must_use]
    pub fn is_processed(&self) -> bool {
        self.cell(1) == Cell::Text(PROCESSED)
    }

    /// The request that was asked, octet for octet.
    ///
    /// # Errors
    /// A row that was changed by somebody else may hold no request.
    pub fn to_request(&self) -> Result<Request, Malformed> {
        match self.get("raw_request") {
            Cell::Octets(octets) => Request::parse(octets),
            _ => Request::parse(self.rebuild()),
        }
    }

    /// The request as the columns of its attributes tell it.
    pub(super) fn rebuild(&self) -> Vec<u8> {
        let mut octets = Vec::with_capacity(self.text.len() + 512);
        for (attribute, held) in HELD.iter() {
            let value = match *held {
                Held::Whole(column) => self.attribute(column),
                Held::Split(local, domain) => self.address(local, domain),
            };
            let Some(value) = value else { continue };
            octets.extend_from_slice(attribute.name().as_bytes());
            octets.push(b'=');
            octets.extend_from_slice(value.as_bytes());
            octets.push(b'\n');
        }
        octets.push(b'\n');
        octets
    }

    fn attribute(&self, column: usize) -> Option<Cow<'_, str>> {
        match self.cell(column) {
            Cell::Text(text) => Some(text.into()),
            Cell::Integer(number) => Some(number.to_string().into()),
            _ => None,
        }
    }

    fn address(&self, local: usize, domain: usize) -> Option<Cow<'_, str>> {
        let Cell::Text(local) = self.cell(local) else { return None };
        let Cell::Text(domain) = self.cell(domain) else { return Some(local.into()) };
        let mut address = String::with_capacity(local.len() + domain.len() + 1);
        address.push_str(local);
        address.push('@');
        push_reversed(&mut address, domain);
        Some(address.into())
    }
}

/// The state of a row that is not decided.
pub const RECEIVED: &str = "received";
/// The state of a row that is.
pub const PROCESSED: &str = "processed";

fn offset(at: usize) -> u32 {
    // A request is bounded far below this, and so is what engines say about it.
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// The domain as the records hold it: lower-case, without a dot at its end, its labels in reverse
/// order; an address literal only lower-case.
#[must_use]
pub fn reverse_domain(domain: &str) -> String {
    let mut reversed = String::with_capacity(domain.len());
    push_reverse_domain(&mut reversed, domain);
    reversed
}

pub(super) fn push_reverse_domain(text: &mut String, domain: &str) {
    let start = text.len();
    push_reversed(text, domain.strip_suffix('.').unwrap_or(domain));
    text[start..].make_ascii_lowercase();
}

/// The domain read back from that form.
#[must_use]
pub fn restore_domain(reversed: &str) -> String {
    let mut domain = String::with_capacity(reversed.len());
    push_reversed(&mut domain, reversed);
    domain
}

fn push_reversed(text: &mut String, domain: &str) {
    if domain.starts_with('[') {
        text.push_str(domain);
        return;
    }
    for (index, label) in domain.rsplit('.').enumerate() {
        if index > 0 {
            text.push('.');
        }
        text.push_str(label);
    }
}

/// The text that a column can hold which comes nearest to these octets.
pub(super) fn storable(value: &[u8], kind: Kind) -> Cow<'_, str> {
    let text = String::from_utf8_lossy(value);
    let end = match kind {
        // No text has more characters than octets, so most are never counted.
        Kind::Word(characters) if text.len() > characters => {
            text.char_indices().nth(characters).map_or(text.len(), |(end, _)| end)
        }
        Kind::Text => text.floor_char_boundary(65_535),
        _ => text.len(),
    };
    let text = if end == text.len() { text } else { Cow::Owned(text[..end].to_owned()) };
    if text.contains('\0') { Cow::Owned(text.replace('\0', "\u{fffd}")) } else { text }
}

/// The number, if this is its canonical form.
pub(super) fn canonical_number(value: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(value).ok()?;
    let is_canonical =
        text == "0" || (text.bytes().all(|octet| octet.is_ascii_digit()) && !text.starts_with('0'));
    if is_canonical { text.parse().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_domain_is_held_lower_case_and_reversed() {
        assert_eq!(reverse_domain("mail.Example.com"), "com.example.mail");
        assert_eq!(reverse_domain("mail.Example.com."), "com.example.mail");
        assert_eq!(reverse_domain("[192.0.2.1]"), "[192.0.2.1]");
        assert_eq!(restore_domain("com.example.mail"), "mail.example.com");
        assert_eq!(restore_domain("com.example..a."), ".a..example.com");
    }

    #[test]
    fn only_canonical_numbers_are_numbers() {
        assert_eq!(canonical_number(b"0"), Some(0));
        assert_eq!(canonical_number(b"9223372036854775807"), Some(i64::MAX));
        for not in ["", "-1", "+1", "007", "9223372036854775808", "1 ", "x"] {
            assert_eq!(canonical_number(not.as_bytes()), None, "{not:?}");
        }
    }

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(storable("äöü".as_bytes(), Kind::Word(2)), "äö");
        assert_eq!(storable("äöü".as_bytes(), Kind::Word(3)), "äöü");
        assert_eq!(storable(&"ä".repeat(40_000).into_bytes(), Kind::Text).len(), 65_534);
        assert_eq!(storable(b"a\0b", Kind::Text), "a\u{fffd}b");
    }

    proptest! {
        #[test]
        fn a_lower_case_domain_without_bracket_is_read_back(domain in "[a-z0-9.-]{0,30}") {
            let without_dot = domain.strip_suffix('.').unwrap_or(&domain);
            prop_assert_eq!(restore_domain(&reverse_domain(&domain)), without_dot);
        }
    }
}
