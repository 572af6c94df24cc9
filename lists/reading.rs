//! Reads the entries of a list, from the configuration itself and from files.

use std::path::{Path, PathBuf};

use mppd_engine::config::Spanned;
use mppd_engine::{Attribute, BuildContext, Escaped, Finding, Span, options};

use crate::Table;

options! {
    /// The entries of one list, in place, in a file, or both.
    pub struct EntriesOptions {
        /// Entries, separated by white space.
        ["$text"] entries: Option<Spanned<String>> = None,
        /// A file of entries, one a line. Empty lines, and all from a `#` at the beginning of a
        /// line or behind white space to its end, are skipped.
        file: Option<Spanned<PathBuf>> = None,
    }
}

/// Why a text is no entry, and what to do.
#[derive(Debug)]
pub struct Fault {
    /// What is wrong, in one line without a full stop.
    pub message: String,
    /// What to do.
    pub help: Option<String>,
}

impl Fault {
    /// A fault of which nothing more is known.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Fault { message: message.into(), help: None }
    }

    /// With what to do.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// Where an entry stands.
#[derive(Debug, Clone, Copy)]
pub enum Place<'a> {
    /// In the configuration.
    Word {
        /// Its place there.
        span: Span,
        /// Which of the words of its element it is, from 0.
        number: usize,
    },
    /// In a file.
    Line {
        /// Where the configuration names the file.
        named: Span,
        /// The file.
        path: &'a Path,
        /// The line, from 1.
        number: usize,
    },
}

impl Place<'_> {
    /// What is wrong with the entry.
    #[must_use]
    pub fn finding(self, fault: Fault) -> Finding {
        let finding = match self {
            Place::Word { span, .. } => Finding::error(span, fault.message),
            Place::Line { named, path, number } => {
                Finding::error(named, format!("{}:{number}: {}", path.display(), fault.message))
            }
        };
        match fault.help {
            Some(help) => finding.with_help(help),
            None => finding,
        }
    }

    /// The place in the configuration.
    #[must_use]
    pub fn span(self) -> Span {
        let (Place::Word { span, .. } | Place::Line { named: span, .. }) = self;
        span
    }
}

/// Reads the entries that an element gives, for a table of this kind. Each is handed on with its
/// text and its place; what is said of it counts as said about the element.
pub fn read<V, T: Table<V>>(
    options: &EntriesOptions,
    attribute: Attribute,
    cx: &BuildContext<'_>,
    take: impl FnMut(T::Entry, &str, Place<'_>) -> Option<Finding>,
) -> Vec<Finding> {
    let parse = |text: &str| T::parse(text, attribute);
    let mut reading = Reading { parse, take, said: Said::default() };
    let mut unreadable = None;
    if let Some(text) = &options.entries {
        for (number, word) in text.words().enumerate() {
            reading.take(word.value, Place::Word { span: word.span, number });
        }
    }
    if let Some(file) = &options.file {
        match cx.read(file) {
            Ok(octets) => reading.take_lines(&octets, file.span, &cx.path(file)),
            Err(finding) => unreadable = Some(finding),
        }
    }
    let mut findings = reading.said.into_findings();
    findings.extend(unreadable);
    findings
}

struct Reading<P, F> {
    parse: P,
    take: F,
    said: Said,
}

impl<E, P, F> Reading<P, F>
where
    P: Fn(&str) -> Result<E, Fault>,
    F: FnMut(E, &str, Place<'_>) -> Option<Finding>,
{
    fn take_lines(&mut self, octets: &[u8], named: Span, path: &Path) {
        for (index, line) in octets.split(|octet| *octet == b'\n').enumerate() {
            let place = Place::Line { named, path, number: index + 1 };
            let Ok(line) = std::str::from_utf8(line) else {
                let fault = Fault::new(format!("\"{}\" is not UTF-8", Escaped(line)));
                self.said.say(place.finding(fault), place);
                continue;
            };
            let entry = without_comment(line);
            if !entry.is_empty() {
                self.take(entry, place);
            }
        }
    }

    fn take(&mut self, text: &str, place: Place<'_>) {
        let finding = match self.read(text) {
            Ok(entry) => (self.take)(entry, text, place),
            Err(fault) => Some(place.finding(fault)),
        };
        if let Some(finding) = finding {
            self.said.say(finding, place);
        }
    }

    fn read(&self, text: &str) -> Result<E, Fault> {
        if text.contains(char::is_control) {
            let text = Escaped(text.as_bytes());
            return Err(Fault::new(format!("\"{text}\" holds a control character")));
        }
        (self.parse)(text)
    }
}

fn without_comment(line: &str) -> &str {
    let begins =
        |(at, _): &(usize, &str)| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let comment = line.match_indices('#').find(begins);
    line[..comment.map_or(line.len(), |(at, _)| at)].trim()
}

/// Findings about one list; a long file with the wrong content must not drown the others.
#[derive(Debug, Default)]
pub struct Said {
    findings: Vec<Finding>,
    more: Option<(Span, usize)>,
}

impl Said {
    const MOST: usize = 20;

    /// Adds what is to be said of the entry at a place.
    pub fn say(&mut self, finding: Finding, place: Place<'_>) {
        if self.findings.len() < Self::MOST {
            return self.findings.push(finding);
        }
        self.more.get_or_insert((place.span(), 0)).1 += 1;
    }

    /// The first of the findings, and how many more there are.
    #[must_use]
    pub fn into_findings(self) -> Vec<Finding> {
        let mut findings = self.findings;
        if let Some((span, count)) = self.more {
            findings.push(Finding::error(span, format!("and {count} more such entries")));
        }
        findings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_comment_begins_a_line_or_follows_white_space() {
        assert_eq!(without_comment("# all of it"), "");
        assert_eq!(without_comment(" example.org\t# why\r"), "example.org");
        assert_eq!(without_comment("a#b@example.org"), "a#b@example.org");
        assert_eq!(without_comment("  "), "");
    }
}
