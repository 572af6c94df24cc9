//! What a record is, and the parts it is written with: numbers as LEB128, so that small ones are
//! short, times in milliseconds, texts behind their length.

use jiff::Timestamp;

/// More octets than most records have.
const COMMON: usize = 128;

/// Something that a space keeps for a key.
pub trait Record: Sized {
    /// Tells records of this type, in this form, from all others. A form that changes gets another.
    const KIND: u8;

    /// Writes its parts.
    fn write(&self, writer: &mut Writer);

    /// Reads its parts; `None` if they are not what [`write`](Record::write) wrote.
    fn read(reader: &mut Reader<'_>) -> Option<Self>;

    /// How many octets it takes, about: room that is made before it is written.
    fn expected_size(&self) -> usize {
        COMMON
    }

    /// The whole record.
    fn to_octets(&self) -> Vec<u8> {
        let mut writer = Writer { octets: Vec::with_capacity(self.expected_size()) };
        writer.octets.push(Self::KIND);
        self.write(&mut writer);
        writer.octets
    }

    /// The record, if these octets are one of this type and nothing else.
    #[must_use]
    fn from_octets(octets: &[u8]) -> Option<Self> {
        let (kind, rest) = octets.split_first()?;
        if *kind != Self::KIND {
            return None;
        }
        let mut reader = Reader { rest };
        let record = Self::read(&mut reader)?;
        reader.rest.is_empty().then_some(record)
    }
}

/// Takes the parts of a record.
#[derive(Debug)]
pub struct Writer {
    octets: Vec<u8>,
}

impl Writer {
    /// A number.
    #[inline]
    pub fn number(&mut self, mut number: u64) {
        loop {
            let [low, ..] = number.to_le_bytes();
            number >>= 7;
            if number == 0 {
                return self.octets.push(low & 0x7f);
            }
            // The low seven bits, and the sign that more follow.
            self.octets.push(low | 0x80);
        }
    }

    /// A time, to the millisecond. One before 1970 is written as 1970.
    pub fn time(&mut self, time: Timestamp) {
        self.number(u64::try_from(time.as_millisecond()).unwrap_or(0));
    }

    /// A text or any other octets.
    pub fn octets(&mut self, octets: &[u8]) {
        self.number(octets.len() as u64);
        self.octets.extend_from_slice(octets);
    }
}

/// Gives the parts of a record in the order in which they were written.
#[derive(Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// A number.
    #[inline]
    pub fn number(&mut self) -> Option<u64> {
        let (first, rest) = self.rest.split_first()?;
        if *first < 0x80 {
            self.rest = rest;
            return Some(u64::from(*first));
        }
        self.longer_number()
    }

    fn longer_number(&mut self) -> Option<u64> {
        let (mut number, mut shift) = (0_u64, 0);
        while shift < 63 {
            let octet = self.octet()?;
            number |= u64::from(octet & 0x7f) << shift;
            if octet < 0x80 {
                return Some(number);
            }
            shift += 7;
        }
        // There is room for one bit more.
        let last = self.octet()?;
        (last <= 1).then_some(number | u64::from(last) << 63)
    }

    #[inline]
    fn octet(&mut self) -> Option<u8> {
        let (octet, rest) = self.rest.split_first()?;
        self.rest = rest;
        Some(*octet)
    }

    /// A time.
    pub fn time(&mut self) -> Option<Timestamp> {
        Timestamp::from_millisecond(i64::try_from(self.number()?).ok()?).ok()
    }

    /// A text or any other octets.
    pub fn octets(&mut self) -> Option<&'a [u8]> {
        let length = usize::try_from(self.number()?).ok()?;
        let (octets, rest) = self.rest.split_at_checked(length)?;
        self.rest = rest;
        Some(octets)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Debug, PartialEq)]
    struct Parts(Vec<u64>, Vec<u8>);

    impl Record for Parts {
        const KIND: u8 = b'p';

        fn write(&self, writer: &mut Writer) {
            writer.number(self.0.len() as u64);
            self.0.iter().for_each(|number| writer.number(*number));
            writer.octets(&self.1);
        }

        fn read(reader: &mut Reader<'_>) -> Option<Self> {
            let count = reader.number()?;
            let numbers = (0..count).map(|_| reader.number()).collect::<Option<_>>()?;
            Some(Parts(numbers, reader.octets()?.to_vec()))
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(numbers: Vec<u64>, octets: Vec<u8>) {
            let parts = Parts(numbers, octets);
            prop_assert_eq!(Parts::from_octets(&parts.to_octets()), Some(parts));
        }

        #[test]
        fn any_octets_can_be_read(octets: Vec<u8>) {
            let again = |parts: &Parts| Parts::from_octets(&parts.to_octets());
            prop_assert!(Parts::from_octets(&octets).is_none_or(|parts| again(&parts) == Some(parts)));
        }
    }

    #[test]
    fn a_record_of_another_kind_is_none() {
        assert_eq!(Parts::from_octets(b"q\x00\x00"), None);
        assert_eq!(Parts::from_octets(b"p\x00\x00"), Some(Parts(vec![], vec![])));
        assert_eq!(Parts::from_octets(b"p\x00\x00more"), None);
        assert_eq!(Parts::from_octets(b""), None);
    }
}
