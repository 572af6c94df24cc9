//! Colours on a terminal.

use std::fmt;

/// A text in a colour, where there are colours.
#[derive(Debug, Clone)]
pub(super) struct Painted<T> {
    text: T,
    /// The argument of the terminal's command; none for plain text.
    code: Option<&'static str>,
}

impl<T: fmt::Display> fmt::Display for Painted<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.code {
            Some(code) => {
                write!(f, "\u{1b}[{code}m")?;
                self.text.fmt(f)?;
                f.write_str("\u{1b}[0m")
            }
            None => self.text.fmt(f),
        }
    }
}

/// Whether to paint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    is_on: bool,
}

impl Paint {
    /// Colours for a terminal, unless its user wants none (<https://no-color.org>).
    pub(super) fn new(is_terminal: bool) -> Self {
        let wants_none = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        Paint { is_on: is_terminal && !wants_none }
    }

    fn with<T: fmt::Display>(self, text: T, code: &'static str) -> Painted<T> {
        Painted { text, code: self.is_on.then_some(code) }
    }

    pub(super) fn strong<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(text, "1")
    }

    pub(super) fn dim<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(text, "2")
    }

    pub(super) fn bar<T: fmt::Display>(self, text: T) -> Painted<T> {
        self.with(text, "36")
    }

    /// A decision by what it does to the mail; none is an exception.
    pub(super) fn decision<T: fmt::Display>(self, text: T, word: Option<&str>) -> Painted<T> {
        let code = match word {
            None => "35",
            Some(word) if word.starts_with("REJECT") || word.starts_with('5') => "31",
            Some(word) if word.starts_with("DEFER") || word.starts_with('4') => "33",
            Some("DISCARD" | "HOLD" | "REDIRECT" | "FILTER") => "33",
            Some("DUNNO" | "OK" | "PERMIT") => "32",
            Some(_) => "36",
        };
        self.with(text, code)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_no_colour_but_on_a_terminal() {
        let plain = Paint { is_on: false };
        assert_eq!(plain.decision("REJECT no", Some("REJECT")).to_string(), "REJECT no");
        let colours = Paint { is_on: true };
        let shown = colours.decision("450 later", Some("450")).to_string();
        assert_eq!(shown, "\u{1b}[33m450 later\u{1b}[0m");
    }
}
