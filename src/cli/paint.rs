//! Colour for people at a terminal, nothing for anybody else.

use std::fmt::Display;

/// Puts colour on texts, or leaves them as they are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Paint {
    /// Whether a terminal shows it.
    pub(super) is_terminal: bool,
}

impl Paint {
    /// What stands out.
    pub(super) fn bold(self, text: impl Display) -> String {
        self.with("1", text)
    }

    /// What matters less.
    pub(super) fn dim(self, text: impl Display) -> String {
        self.with("2", text)
    }

    /// What is refused, or fails.
    pub(super) fn red(self, text: impl Display) -> String {
        self.with("31", text)
    }

    /// What is let through, or well.
    pub(super) fn green(self, text: impl Display) -> String {
        self.with("32", text)
    }

    /// What lies between.
    pub(super) fn yellow(self, text: impl Display) -> String {
        self.with("33", text)
    }

    /// Names that are referred to.
    pub(super) fn cyan(self, text: impl Display) -> String {
        self.with("36", text)
    }

    fn with(self, code: &str, text: impl Display) -> String {
        if self.is_terminal { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_string() }
    }
}
