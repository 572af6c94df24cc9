//! Lengths, parts, replacing, folding. Counted are characters: an octet that is not part of one
//! counts as one, and nothing is cut inside of one, since Postfix refuses a reply that is not
//! UTF-8.

use std::borrow::Cow;

use memchr::memmem;

use super::{LONGEST, characters, integer, number_at};
use crate::language::comparison::is_true;

type Arguments<'a> = [Cow<'a, [u8]>];

/// `lower TEXT`
pub(in super::super) fn lower(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    in_case(&arguments[0], to, u8::to_ascii_lowercase, str::to_lowercase);
}

/// `upper TEXT`
pub(in super::super) fn upper(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    in_case(&arguments[0], to, u8::to_ascii_uppercase, str::to_uppercase);
}

fn in_case(text: &[u8], to: &mut Vec<u8>, octet: fn(&u8) -> u8, letters: fn(&str) -> String) {
    if text.is_ascii() {
        to.extend(text.iter().map(octet));
        return;
    }
    for chunk in text.utf8_chunks() {
        to.extend_from_slice(letters(chunk.valid()).as_bytes());
        to.extend_from_slice(chunk.invalid());
    }
}

/// `length TEXT`
pub(in super::super) fn length(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    to.extend_from_slice(characters(&arguments[0]).count().to_string().as_bytes());
}

/// `substr TEXT START [LENGTH]`
pub(in super::super) fn substr(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    let text = &arguments[0];
    let Some(start) = integer(&arguments[1]) else { return };
    let length = match arguments.get(2) {
        None => usize::MAX,
        Some(length) => match integer(length).map(usize::try_from) {
            Some(Ok(length)) => length,
            _ => return,
        },
    };
    let distance = usize::try_from(start.unsigned_abs()).unwrap_or(usize::MAX);
    let skipped =
        if start < 0 { characters(text).count().saturating_sub(distance) } else { distance };
    for letter in characters(text).skip(skipped).take(length) {
        to.extend_from_slice(letter);
    }
}

/// Looks at the numbers of `substr`.
pub(in super::super) fn check_substr(arguments: &[Option<&[u8]>]) -> Result<(), (usize, String)> {
    number_at(arguments, 1, i64::MIN)?;
    number_at(arguments, 2, 0)
}

/// `text_find_replace_all TEXT FIND REPLACEMENT`
pub(in super::super) fn find_replace_all(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    let (text, find, replacement) = (&arguments[0], &arguments[1], &arguments[2]);
    let longest = to.len() + LONGEST;
    if find.is_empty() {
        to.extend_from_slice(text);
        return;
    }
    let mut from = 0;
    for at in memmem::find_iter(text, find.as_ref()) {
        to.extend_from_slice(&text[from..at]);
        to.extend_from_slice(replacement);
        from = at + find.len();
        if to.len() > longest {
            break;
        }
    }
    to.extend_from_slice(&text[from..]);
    to.truncate(longest);
}

/// Refuses to look for nothing.
pub(in super::super) fn check_find(arguments: &[Option<&[u8]>]) -> Result<(), (usize, String)> {
    match arguments.get(1) {
        Some(Some([])) => Err((1, "an empty text is found nowhere".to_owned())),
        _ => Ok(()),
    }
}

/// `text_truncate TEXT LENGTH [MARK]`
pub(in super::super) fn truncate(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    let text = &arguments[0];
    let Some(Ok(most)) = integer(&arguments[1]).map(usize::try_from) else { return };
    if characters(text).nth(most).is_none() {
        to.extend_from_slice(text);
        return;
    }
    let mark = arguments.get(2).map_or(&b""[..], |mark| mark);
    let kept = most.saturating_sub(characters(mark).count());
    characters(text).take(kept).for_each(|letter| to.extend_from_slice(letter));
    characters(mark).take(most).for_each(|letter| to.extend_from_slice(letter));
}

/// Looks at the length of `text_truncate`.
pub(in super::super) fn check_truncate(arguments: &[Option<&[u8]>]) -> Result<(), (usize, String)> {
    number_at(arguments, 1, 0)
}

/// `empty TEXT`
pub(in super::super) fn empty(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    push_truth(arguments[0].is_empty(), to);
}

/// `not_empty TEXT`
pub(in super::super) fn not_empty(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    push_truth(!arguments[0].is_empty(), to);
}

fn push_truth(truth: bool, to: &mut Vec<u8>) {
    to.extend_from_slice(truth_value(truth));
}

/// What stands for true and false: a condition that is nothing but one of them reads them back.
pub(in super::super) fn truth_value(truth: bool) -> &'static [u8] {
    let value: &[u8] = if truth { b"1" } else { b"0" };
    debug_assert_eq!(is_true(value), truth);
    value
}

/// `wrap WIDTH TEXT`
pub(in super::super) fn wrap(arguments: &Arguments<'_>, to: &mut Vec<u8>) {
    let Some(Ok(width)) = integer(&arguments[0]).map(usize::try_from) else { return };
    if width == 0 {
        return;
    }
    for (index, line) in arguments[1].split(|octet| *octet == b'\n').enumerate() {
        if index > 0 {
            to.push(b'\n');
        }
        wrap_line(line, width, to);
    }
}

fn wrap_line(line: &[u8], width: usize, to: &mut Vec<u8>) {
    let mut column = 0;
    for word in line.split(|octet| *octet == b' ').filter(|word| !word.is_empty()) {
        let length = characters(word).count();
        if column > 0 && column + 1 + length <= width {
            to.push(b' ');
            column += 1;
        } else if column > 0 {
            to.push(b'\n');
            column = 0;
        }
        for letter in characters(word) {
            if column == width {
                to.push(b'\n');
                column = 0;
            }
            to.extend_from_slice(letter);
            column += 1;
        }
    }
}

/// Looks at the width of `wrap`.
pub(in super::super) fn check_wrap(arguments: &[Option<&[u8]>]) -> Result<(), (usize, String)> {
    number_at(arguments, 0, 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::language::functions::Function;

    fn call(function: Function, arguments: &[&[u8]]) -> Vec<u8> {
        let arguments: Vec<Cow<'_, [u8]>> =
            arguments.iter().map(|argument| Cow::Borrowed(*argument)).collect();
        let mut to = Vec::new();
        function(&arguments, &mut to);
        to
    }

    #[test]
    fn letters_of_every_language_have_their_case() {
        assert_eq!(call(lower, &["ÄÖ\u{130}".as_bytes()]), "äöi\u{307}".as_bytes());
        assert_eq!(call(upper, &[b"a\xffb"]), b"A\xffB");
    }

    #[test]
    fn an_octet_that_is_not_utf8_counts_as_one_character() {
        assert_eq!(call(length, &[b"\xc3\xa9\xff\xfe"]), b"3");
    }

    #[test]
    fn a_part_is_counted_from_either_end_and_never_cuts_a_character() {
        assert_eq!(call(substr, &["äöü".as_bytes(), b"1", b"1"]), "ö".as_bytes());
        assert_eq!(call(substr, &["äöü".as_bytes(), b"-2"]), "öü".as_bytes());
        assert_eq!(call(substr, &[b"abc", b"-9", b"2"]), b"ab");
        assert_eq!(call(substr, &[b"abc", b"9"]), b"");
        assert_eq!(call(substr, &[b"abc", b"x"]), b"");
        assert_eq!(call(substr, &[b"abc", b"0", b"-1"]), b"");
    }

    #[test]
    fn what_is_found_is_replaced_once_from_the_left() {
        assert_eq!(call(find_replace_all, &[b"aaa", b"aa", b"b"]), b"ba");
        assert_eq!(call(find_replace_all, &[b"a", b"", b"b"]), b"a");
        assert_eq!(call(find_replace_all, &[b"a", b"a", b"aa"]), b"aa");
    }

    #[test]
    fn no_replacement_makes_a_value_longer_than_the_limit() {
        let text = vec![b'a'; 5000];
        assert_eq!(call(find_replace_all, &[&text, b"a", &text]).len(), LONGEST);
    }

    #[test]
    fn a_truncated_text_is_never_longer_than_asked() {
        assert_eq!(call(truncate, &[b"abcdef", b"4", b"..."]), b"a...");
        assert_eq!(call(truncate, &[b"abcdef", b"2", b"..."]), b"..");
        assert_eq!(call(truncate, &[b"abcdef", b"6", b"..."]), b"abcdef");
        assert_eq!(call(truncate, &["äöü".as_bytes(), b"2"]), "äö".as_bytes());
        assert_eq!(call(truncate, &[b"abc", b"-1"]), b"");
    }

    #[test]
    fn lines_are_folded_at_blanks_and_long_words_cut() {
        assert_eq!(call(wrap, &[b"7", b"one two three"]), b"one two\nthree");
        assert_eq!(call(wrap, &[b"3", b"abcdefg h"]), b"abc\ndef\ng h");
        assert_eq!(call(wrap, &[b"9", b"a\n\nb"]), b"a\n\nb");
        assert_eq!(call(wrap, &[b"0", b"a"]), b"");
    }
}
