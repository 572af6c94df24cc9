//! The files that lists are read from: lists of one entry a line, and those of other programs as
//! they are.
//!
//! | module | what lives there |
//! |---|---|
//! | `lines` | one entry a line; postgrey's files among them |
//! | `access` | the source of an access(5) table: keys with results |
//! | `cidr` | the same for networks, where the first that matches counts: `cidr_table(5)` |

mod access;
mod cidr;
mod lines;

use std::borrow::Cow;

use mppd_engine::OptionValue;
use serde::Deserialize;

use crate::reading::Fault;

/// How a file of entries is written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One entry a line.
    #[default]
    Lines,
    /// The whitelist files of postgrey.
    Postgrey,
    /// The source of a `cidr:` table of Postfix.
    Cidr,
    /// The source of a `hash:` table of Postfix, or of any other that postmap(1) makes.
    Hash,
}

impl Format {
    /// Every format.
    pub const ALL: &'static [Format] =
        &[Format::Lines, Format::Postgrey, Format::Cidr, Format::Hash];

    /// Its name in the configuration.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Format::Lines => "lines",
            Format::Postgrey => "postgrey",
            Format::Cidr => "cidr",
            Format::Hash => "hash",
        }
    }

    /// Whether its entries have results, so that some of them only say what is not on a list.
    #[must_use]
    pub const fn has_results(self) -> bool {
        matches!(self, Format::Cidr | Format::Hash)
    }

    /// What a file has to say: its entries as they are written, or what is wrong, with the numbers
    /// of the lines, from 1.
    #[must_use]
    pub fn rows(self, octets: &[u8]) -> Vec<(usize, Result<Written, Fault>)> {
        let mut rows = Vec::new();
        self.read(octets, &mut |number, row| {
            rows.push((number, row.map(|row| (row.text.into_owned(), row.meaning))));
        });
        rows
    }

    /// Hands on what a file has to say, with the numbers of the lines, from 1.
    pub(crate) fn read(self, octets: &[u8], take: &mut Take<'_>) {
        if octets.starts_with(&[0xfe, 0xff]) || octets.starts_with(&[0xff, 0xfe]) {
            let fault = Fault::new("this file is UTF-16, not UTF-8");
            return take(1, Err(fault.with_help("save the file as UTF-8")));
        }
        match self {
            Format::Lines => lines::read(octets, lines::without_comment, take),
            Format::Postgrey => lines::read(octets, lines::without_number_sign, take),
            Format::Cidr => cidr::read(octets, take),
            Format::Hash => access::read(octets, take),
        }
    }
}

impl OptionValue for Format {
    const TYPE: &'static str = "lines, postgrey, cidr or hash";

    fn show(&self) -> String {
        self.name().to_owned()
    }
}

/// An entry as it is written, and what is said of what it stands for.
pub type Written = (String, Meaning);

/// Takes what stands in a line of a file, or what is wrong with it.
pub(crate) type Take<'a> = dyn FnMut(usize, Result<Row<'_>, Fault>) + 'a;

/// What stands in one line.
pub(crate) struct Row<'a> {
    /// The entry.
    pub(crate) text: Cow<'a, str>,
    /// What it says about what it stands for.
    pub(crate) meaning: Meaning,
}

/// What a file says about what an entry stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Meaning {
    /// That it is on the list, whichever that is.
    Listed,
    /// That it is welcome: `OK`, `permit`, a number.
    Permit,
    /// That it is not: `REJECT`, `DEFER` and its kin, `DISCARD`, a code such as `554`.
    Reject,
    /// That nothing is to be said about it: `DUNNO`.
    Dunno,
    /// Something else.
    Other,
}

impl Meaning {
    /// What a result of access(5) says.
    pub(crate) fn of_result(result: &str) -> Self {
        let word = result.split([' ', '\t', ',']).next().unwrap_or_default();
        let is = |words: &[&str]| words.iter().any(|other| word.eq_ignore_ascii_case(other));
        let is_number = !word.is_empty() && word.bytes().all(|octet| octet.is_ascii_digit());
        if is_number && word.len() == 3 && word.starts_with(['4', '5']) {
            return Meaning::Reject;
        }
        if is_number || is(&["OK", "PERMIT"]) {
            return Meaning::Permit;
        }
        if is(&["REJECT", "DEFER", "DEFER_IF_REJECT", "DEFER_IF_PERMIT", "DISCARD"]) {
            return Meaning::Reject;
        }
        if is(&["DUNNO"]) { Meaning::Dunno } else { Meaning::Other }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a file says: each line's number with its entry and meaning, or what is wrong with it.
    pub(super) fn rows(format: Format, text: &str) -> Vec<(usize, Result<Written, String>)> {
        let rows = format.rows(text.as_bytes()).into_iter();
        rows.map(|(number, row)| (number, row.map_err(|fault| fault.message))).collect()
    }

    #[test]
    fn a_result_is_told_by_its_first_word() {
        for (result, meaning) in [
            ("OK", Meaning::Permit),
            ("ok", Meaning::Permit),
            ("permit", Meaning::Permit),
            ("1234567890", Meaning::Permit),
            ("REJECT", Meaning::Reject),
            ("Reject go away", Meaning::Reject),
            ("554 5.7.1 no", Meaning::Reject),
            ("450", Meaning::Reject),
            ("defer_if_permit later", Meaning::Reject),
            ("reject, permit", Meaning::Reject),
            ("DISCARD", Meaning::Reject),
            ("DUNNO", Meaning::Dunno),
            ("PREPEND X-A: b", Meaning::Other),
            ("permit_mynetworks", Meaning::Other),
            ("OKAY", Meaning::Other),
            ("554a", Meaning::Other),
        ] {
            assert_eq!(Meaning::of_result(result), meaning, "{result}");
        }
    }

    #[test]
    fn a_file_in_utf_16_has_one_fault_however_many_lines_it_has() {
        let octets = [0xff, 0xfe, b'a', 0, b'\n', 0, b'b', 0, b'\n', 0];
        for format in Format::ALL {
            let rows = format.rows(&octets).into_iter();
            let faults: Vec<_> = rows.map(|(line, row)| (line, row.unwrap_err().message)).collect();
            assert_eq!(faults, [(1, "this file is UTF-16, not UTF-8".to_owned())]);
        }
    }

    #[test]
    fn the_name_of_a_format_is_the_one_that_is_read() {
        for format in Format::ALL {
            let name: serde::de::value::StrDeserializer<'_, serde::de::value::Error> =
                serde::de::IntoDeserializer::into_deserializer(format.name());
            assert_eq!(Format::deserialize(name), Ok(*format));
        }
    }
}
