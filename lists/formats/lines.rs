//! Files of one entry a line, with comments.

use std::borrow::Cow;

use mppd_engine::Escaped;

use super::{Meaning, Row, Take};
use crate::reading::Fault;

/// Hands on every line that is not empty without its comment.
pub(super) fn read(octets: &[u8], without_comment: fn(&str) -> &str, take: &mut Take<'_>) {
    for (number, line) in numbered(octets) {
        let line = match line {
            Ok(line) => without_comment(line).trim(),
            Err(fault) => {
                take(number, Err(fault));
                continue;
            }
        };
        if !line.is_empty() {
            take(number, Ok(Row { text: Cow::Borrowed(line), meaning: Meaning::Listed }));
        }
    }
}

/// The lines, each with its number from 1.
pub(super) fn numbered(octets: &[u8]) -> impl Iterator<Item = (usize, Result<&str, Fault>)> {
    let lines = octets.split(|octet| *octet == b'\n');
    (1..).zip(lines.map(|line| {
        std::str::from_utf8(line)
            .map_err(|_| Fault::new(format!("\"{}\" is not UTF-8", Escaped(line))))
    }))
}

/// Without a comment that begins the line or follows white space.
pub(super) fn without_comment(line: &str) -> &str {
    let begins =
        |(at, _): &(usize, &str)| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let comment = line.match_indices('#').find(begins);
    &line[..comment.map_or(line.len(), |(at, _)| at)]
}

/// Without a comment, wherever it begins, as postgrey has it.
pub(super) fn without_number_sign(line: &str) -> &str {
    line.split('#').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::rows;
    use super::*;

    #[test]
    fn a_comment_begins_a_line_or_follows_white_space() {
        assert_eq!(without_comment("# all of it"), "");
        assert_eq!(without_comment(" example.org\t# why\r"), " example.org\t");
        assert_eq!(without_comment("a#b@example.org"), "a#b@example.org");
        assert_eq!(without_comment("  "), "  ");
    }

    #[test]
    fn a_comment_of_postgrey_begins_anywhere() {
        let found = rows(Format::Postgrey, "# clients\n\n example.org#why\n192.0.2\n");
        let row = |text: &str| Ok((text.to_owned(), Meaning::Listed));
        assert_eq!(found, [(3, row("example.org")), (4, row("192.0.2"))]);
    }

    #[test]
    fn octets_that_are_no_text_are_a_fault_of_their_line() {
        let mut numbers = Vec::new();
        Format::Lines.read(b"a\n\xff\nb", &mut |number, row| numbers.push((number, row.is_ok())));
        assert_eq!(numbers, [(1, true), (2, false), (3, true)]);
    }
}
