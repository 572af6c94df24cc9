//! The characters of XML 1.0: which are allowed, which make names, and what references stand for.

use std::borrow::Cow;

/// Whether XML allows this character at all.
pub(super) fn is_allowed(character: char) -> bool {
    matches!(character,
        '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..)
}

/// Whether this is the name of an element or attribute.
pub(crate) fn is_name(text: &str) -> bool {
    let mut characters = text.chars();
    characters.next().is_some_and(starts_name) && characters.all(continues_name)
}

pub(crate) fn starts_name(character: char) -> bool {
    matches!(character,
        ':' | '_' | 'A'..='Z' | 'a'..='z' | '\u{c0}'..='\u{d6}' | '\u{d8}'..='\u{f6}'
        | '\u{f8}'..='\u{2ff}' | '\u{370}'..='\u{37d}' | '\u{37f}'..='\u{1fff}'
        | '\u{200c}'..='\u{200d}' | '\u{2070}'..='\u{218f}' | '\u{2c00}'..='\u{2fef}'
        | '\u{3001}'..='\u{d7ff}' | '\u{f900}'..='\u{fdcf}' | '\u{fdf0}'..='\u{fffd}'
        | '\u{10000}'..='\u{effff}')
}

pub(crate) fn continues_name(character: char) -> bool {
    starts_name(character)
        || matches!(character,
            '-' | '.' | '0'..='9' | '\u{b7}' | '\u{300}'..='\u{36f}' | '\u{203f}'..='\u{2040}')
}

/// Text whose lines end as XML wants them, whatever they end in in the file.
pub(super) fn with_plain_line_ends(text: &str) -> Cow<'_, str> {
    if !text.contains('\r') {
        return text.into();
    }
    text.replace("\r\n", "\n").replace('\r', "\n").into()
}

/// Why a reference stands for nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum BadReference {
    UnknownEntity,
    NotANumber,
    NotAllowed,
}

/// The character that `&name;` stands for.
pub(super) fn referenced(name: &str) -> Result<char, BadReference> {
    let Some(number) = name.strip_prefix('#') else {
        return match name {
            "lt" => Ok('<'),
            "gt" => Ok('>'),
            "amp" => Ok('&'),
            "quot" => Ok('"'),
            "apos" => Ok('\''),
            _ => Err(BadReference::UnknownEntity),
        };
    };
    let (digits, base) = match number.strip_prefix('x') {
        Some(digits) => (digits, 16),
        None => (number, 10),
    };
    let is_number = !digits.is_empty() && digits.chars().all(|digit| digit.is_digit(base));
    if !is_number {
        return Err(BadReference::NotANumber);
    }
    let code = u32::from_str_radix(digits, base).map_err(|_| BadReference::NotAllowed)?;
    char::from_u32(code).filter(|character| is_allowed(*character)).ok_or(BadReference::NotAllowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_xml() {
        for name in ["mppd", "_x", "PPXX0001", "a-b.c", "größe", "xs:element"] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "1a", "-a", "a b", "a<b", "a/"] {
            assert!(!is_name(name), "{name}");
        }
    }

    #[test]
    fn references_stand_for_allowed_characters_only() {
        assert_eq!(referenced("#65"), Ok('A'));
        assert_eq!(referenced("#x20AC"), Ok('€'));
        assert_eq!(referenced("#0"), Err(BadReference::NotAllowed));
        assert_eq!(referenced("#xD800"), Err(BadReference::NotAllowed));
        assert_eq!(referenced("#x99999999999"), Err(BadReference::NotAllowed));
        assert_eq!(referenced("#+65"), Err(BadReference::NotANumber));
        assert_eq!(referenced("nbsp"), Err(BadReference::UnknownEntity));
    }
}
