//! Octets that a peer chose, made fit to be read by people.

use std::fmt::{self, Write as _};

/// Shows octets as text that cannot deceive: one line, without control characters and without
/// characters that change the direction or join with what stands before them. What can be read is
/// left as it is; a backslash and everything else is escaped as in Rust.
///
/// ```
/// use mppd_engine::Escaped;
///
/// assert_eq!(Escaped(b"o'brien@example.com").to_string(), "o'brien@example.com");
/// assert_eq!(Escaped("jörg@example.com".as_bytes()).to_string(), "jörg@example.com");
/// assert_eq!(Escaped(b"a\nb\\\xff").to_string(), r"a\nb\\\xff");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Escaped<'a>(pub &'a [u8]);

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chunk in self.0.utf8_chunks() {
            write_text(chunk.valid(), f)?;
            for octet in chunk.invalid() {
                write!(f, "\\x{octet:02x}")?;
            }
        }
        Ok(())
    }
}

/// Writes what is plain in one piece: nearly all that mail servers say is.
fn write_text(text: &str, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let is_plain = |octet: u8| matches!(octet, b' '..=b'~') && octet != b'\\';
    if text.bytes().all(is_plain) {
        return f.write_str(text);
    }
    for letter in text.chars() {
        match letter {
            '\'' | '"' => f.write_char(letter)?,
            _ => write!(f, "{}", letter.escape_debug())?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_unreadable_gets_through() {
        let hostile = "a\r\n\u{1b}[2J\u{202e}\u{2028}e\u{301}\u{0}";
        let shown = Escaped(hostile.as_bytes()).to_string();
        assert_eq!(shown, r"a\r\n\u{1b}[2J\u{202e}\u{2028}e\u{301}\0");
    }

    #[test]
    fn what_is_not_utf8_is_shown_octet_by_octet() {
        assert_eq!(Escaped(b"\xe2\x82x\xff").to_string(), r"\xe2\x82x\xff");
    }
}
