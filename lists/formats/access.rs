//! The source of an access(5) table, as postmap(1) reads it: a key, white space, a result; a line
//! that begins with white space continues the one before.

use std::borrow::Cow;

use super::{Meaning, Row, Take, lines};
use crate::reading::Fault;

/// Hands on the keys, each with what its result says.
pub(super) fn read(octets: &[u8], take: &mut Take<'_>) {
    logical_lines(octets, &mut |number, line| {
        let row = line.and_then(|line| {
            let (key, result) = split(&line);
            if result.is_empty() {
                return Err(Fault::new(format!("\"{key}\" has no result"))
                    .with_help("write a key and, behind white space, a result such as OK"));
            }
            let meaning = Meaning::of_result(result);
            Ok((key.to_owned(), meaning))
        });
        take(number, row.map(|(key, meaning)| Row { text: Cow::Owned(key), meaning }));
    });
}

/// The key, which may have a part in quotes, and the result behind it.
pub(super) fn split(line: &str) -> (&str, &str) {
    let (mut is_quoted, mut is_escaped) = (false, false);
    let end = line.find(|letter: char| {
        if is_escaped {
            is_escaped = false;
            return false;
        }
        match letter {
            '\\' => is_escaped = is_quoted,
            '"' => is_quoted = !is_quoted,
            _ => {}
        }
        !is_quoted && letter.is_ascii_whitespace()
    });
    let (key, result) = line.split_at(end.unwrap_or(line.len()));
    (key, result.trim())
}

/// Hands on the lines, continued ones as one with the number of the first. Empty ones and comments
/// do not end a line that is continued behind them.
pub(super) fn logical_lines(
    octets: &[u8],
    take: &mut impl FnMut(usize, Result<Cow<'_, str>, Fault>),
) {
    let mut begun: Option<(usize, Cow<'_, str>)> = None;
    for (number, line) in lines::numbered(octets) {
        let line = match line {
            Ok(line) => line.trim_end(),
            Err(fault) => {
                take(number, Err(fault));
                continue;
            }
        };
        let content = line.trim_start();
        if content.is_empty() || content.starts_with('#') {
            continue;
        }
        if content.len() == line.len() {
            if let Some((number, line)) = begun.replace((number, Cow::Borrowed(line))) {
                take(number, Ok(line));
            }
            continue;
        }
        if let Some((_, before)) = &mut begun {
            before.to_mut().push_str(line);
            continue;
        }
        let message = "the first line begins with white space, but continues no other";
        take(number, Err(Fault::new(message)));
    }
    if let Some((number, line)) = begun {
        take(number, Ok(line));
    }
}

#[cfg(test)]
mod tests {
    use super::super::Format;
    use super::super::tests::rows;
    use super::*;

    #[test]
    fn lines_are_continued_behind_comments_and_empty_lines() {
        let found = rows(
            Format::Hash,
            "# senders\nmallory@example.com 554\n  5.7.1 no\n\n# and\n\tmore\n\n<> OK\r\n\"john doe\"@example.org DUNNO",
        );
        let row = |text: &str, meaning| Ok((text.to_owned(), meaning));
        let expected = [
            (2, row("mallory@example.com", Meaning::Reject)),
            (8, row("<>", Meaning::Permit)),
            (9, row("\"john doe\"@example.org", Meaning::Dunno)),
        ];
        assert_eq!(found, expected);
    }

    #[test]
    fn a_key_without_result_is_a_fault_of_its_line() {
        let found = rows(Format::Hash, " x\nexample.org\nexample.com OK");
        let message = |text: &str| Err(text.to_owned());
        assert_eq!(
            found,
            [
                (1, message("the first line begins with white space, but continues no other")),
                (2, message("\"example.org\" has no result")),
                (3, Ok(("example.com".to_owned(), Meaning::Permit))),
            ]
        );
    }

    #[test]
    fn a_quote_keeps_white_space_in_a_key() {
        assert_eq!(split("\"a \\\" b\"@c  OK then"), ("\"a \\\" b\"@c", "OK then"));
        assert_eq!(split("\"open OK"), ("\"open OK", ""));
        assert_eq!(split("a"), ("a", ""));
    }
}
