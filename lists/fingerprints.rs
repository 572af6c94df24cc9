//! Fingerprints of client certificates and of their public keys: pairs of hexadecimal digits, in
//! upper or lower case, with colons or without.

use std::fmt;

use mppd_engine::Attribute;

use crate::formats::Format;
use crate::keys::Keys;
use crate::reading::Fault;
use crate::{Found, Shown, Table};

/// The lengths of digests, in octets: those of MD5 and SHA-1, SHA-2 and SHA-3.
const LENGTHS: [usize; 6] = [16, 20, 28, 32, 48, 64];

/// Fingerprints, each with a value.
#[derive(Debug)]
pub struct Fingerprints<V> {
    digests: Keys<V>,
}

/// The octets of a fingerprint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fingerprint {
    octets: [u8; 64],
    length: usize,
}

impl Fingerprint {
    /// Reads the digits of a fingerprint; none where they are something else.
    #[must_use]
    pub fn read(text: &[u8]) -> Option<Self> {
        let mut octets = [0; 64];
        let mut length = 0;
        let mut rest = text;
        while let [high, low, behind @ ..] = rest {
            *octets.get_mut(length)? = digit(*high)? << 4 | digit(*low)?;
            length += 1;
            rest = match behind {
                [b':', more, ..] if *more != b':' => &behind[1..],
                _ => behind,
            };
        }
        (rest.is_empty() && LENGTHS.contains(&length)).then_some(Fingerprint { octets, length })
    }

    /// Its octets.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.octets[..self.length]
    }
}

fn digit(octet: u8) -> Option<u8> {
    char::from(octet).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// Shows the octets of a fingerprint as Postfix does.
pub(crate) fn show(octets: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for (index, octet) in octets.iter().enumerate() {
        let colon = if index == 0 { "" } else { ":" };
        write!(f, "{colon}{octet:02X}")?;
    }
    Ok(())
}

impl<V> Default for Fingerprints<V> {
    fn default() -> Self {
        Fingerprints { digests: Keys::default() }
    }
}

impl<V> Fingerprints<V> {
    /// The entry for a fingerprint.
    #[must_use]
    pub fn find<'a>(&'a self, fingerprint: &'a Fingerprint) -> Option<Found<'a, V>> {
        let octets = fingerprint.octets();
        let value = self.digests.get(octets)?;
        Some(Found { value, entry: Shown::Fingerprint(octets), specificity: 0 })
    }
}

impl<V: Copy> Table<V> for Fingerprints<V> {
    type Entry = Fingerprint;

    const FORMATS: &'static [Format] = &[Format::Lines, Format::Hash];

    fn parse(text: &str, _: Attribute) -> Result<Fingerprint, Fault> {
        Fingerprint::read(text.as_bytes()).ok_or_else(|| {
            Fault::new(format!("\"{text}\" is not a fingerprint"))
                .with_help("it is the pairs of hexadecimal digits of a digest: AB:CD:EF:…")
        })
    }

    fn contains(&self, entry: &Fingerprint) -> bool {
        self.get(entry).is_some()
    }

    fn get(&self, entry: &Fingerprint) -> Option<&V> {
        self.digests.get(entry.octets())
    }

    fn insert(&mut self, entry: Fingerprint, value: V) {
        self.digests.insert(entry.octets(), value);
    }

    fn is_empty(&self) -> bool {
        self.digests.is_empty()
    }

    fn settle(&mut self) {
        self.digests.shrink();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MD5: &str = "00:11:22:33:44:55:66:77:88:99:AA:BB:CC:DD:EE:FF";

    fn found(entry: &str, value: &str) -> Option<String> {
        let mut fingerprints = Fingerprints::default();
        let entry = Fingerprints::<()>::parse(entry, Attribute::CcertFingerprint).unwrap();
        fingerprints.insert(entry, ());
        let value = Fingerprint::read(value.as_bytes())?;
        fingerprints.find(&value).map(|found| found.entry.to_string())
    }

    #[test]
    fn colons_and_case_make_no_difference() {
        for entry in [MD5.to_owned(), MD5.to_lowercase(), MD5.replace(':', "")] {
            assert_eq!(found(&entry, MD5).as_deref(), Some(MD5), "{entry}");
            assert_eq!(found(MD5, &entry).as_deref(), Some(MD5), "{entry}");
        }
        assert_eq!(found(MD5, &MD5.replace("FF", "FE")), None);
    }

    #[test]
    fn what_is_no_digest_is_a_fault() {
        let long = "ab".repeat(65);
        let cut = &MD5[1..];
        let half = MD5.replace("00:", "0:");
        for text in ["", "AB", "AB:CD", &long, cut, &half, &format!("{MD5}:"), &format!(":{MD5}")] {
            assert!(
                Fingerprints::<()>::parse(text, Attribute::CcertFingerprint).is_err(),
                "{text}"
            );
        }
    }
}
