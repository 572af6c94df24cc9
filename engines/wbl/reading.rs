//! Reads the entries of a list, from the configuration itself and from files.

use std::path::{Path, PathBuf};

use mppd_engine::config::Spanned;
use mppd_engine::{Attribute, BuildContext, Escaped, Finding, Span, options};

options! {
    /// The entries of one list, in place, in a file, or both.
    pub(crate) struct EntriesOptions {
        /// Entries, separated by white space.
        ["$text"] entries: Option<Spanned<String>> = None,
        /// A file of entries, one a line. Empty lines, and all from a `#` at the beginning of a
        /// line or behind white space to its end, are skipped.
        file: Option<Spanned<PathBuf>> = None,
    }
}

/// Why a text is no entry, and what to do.
#[derive(Debug)]
pub(super) struct Fault {
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Fault {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Fault { message: message.into(), help: None }
    }

    pub(super) fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }
}

/// A table of entries of one kind.
pub(super) trait Entries {
    type Entry;

    /// Reads an entry that is to be compared with this attribute.
    fn parse(text: &str, attribute: Attribute) -> Result<Self::Entry, Fault>;

    fn contains(&self, entry: &Self::Entry) -> bool;

    fn insert(&mut self, entry: Self::Entry);

    fn is_empty(&self) -> bool;
}

/// Adds the entries of some lists to a table. Says what is no entry, and warns of those that the
/// table that wins over this one has as well.
pub(super) fn read<T: Entries>(
    table: &mut T,
    winner: Option<&T>,
    attribute: Attribute,
    options: &[EntriesOptions],
    cx: &mut BuildContext<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for options in options {
        let mut reading =
            Reading { table, winner, attribute, faults: Said::new(), lost: Said::new() };
        if let Some(text) = &options.entries {
            for word in text.words() {
                reading.take(word.value, Place::Here(word.span));
            }
        }
        if let Some(file) = &options.file {
            match cx.read(file) {
                Ok(octets) => reading.take_lines(&octets, file.span, &cx.path(file)),
                Err(finding) => findings.push(finding),
            }
        }
        findings.extend(reading.faults.into_findings());
        for warning in reading.lost.into_findings() {
            cx.warn(warning);
        }
    }
    findings
}

/// Where an entry stands.
#[derive(Clone, Copy)]
enum Place<'a> {
    Here(Span),
    Line { named: Span, path: &'a Path, number: usize },
}

impl Place<'_> {
    fn finding(self, fault: Fault) -> Finding {
        let finding = match self {
            Place::Here(span) => Finding::error(span, fault.message),
            Place::Line { named, path, number } => {
                Finding::error(named, format!("{}:{number}: {}", path.display(), fault.message))
            }
        };
        match fault.help {
            Some(help) => finding.with_help(help),
            None => finding,
        }
    }
}

struct Reading<'a, T> {
    table: &'a mut T,
    winner: Option<&'a T>,
    attribute: Attribute,
    faults: Said,
    lost: Said,
}

impl<T: Entries> Reading<'_, T> {
    fn take_lines(&mut self, octets: &[u8], named: Span, path: &Path) {
        for (index, line) in octets.split(|octet| *octet == b'\n').enumerate() {
            let place = Place::Line { named, path, number: index + 1 };
            let Ok(line) = std::str::from_utf8(line) else {
                let message = format!("\"{}\" is not UTF-8", Escaped(line));
                self.faults.say(place, Fault::new(message));
                continue;
            };
            let entry = without_comment(line);
            if !entry.is_empty() {
                self.take(entry, place);
            }
        }
    }

    fn take(&mut self, text: &str, place: Place<'_>) {
        if text.contains(char::is_control) {
            let text = Escaped(text.as_bytes());
            let message = format!("\"{text}\" holds a control character");
            return self.faults.say(place, Fault::new(message));
        }
        let entry = match T::parse(text, self.attribute) {
            Ok(entry) => entry,
            Err(fault) => return self.faults.say(place, fault),
        };
        if self.winner.is_some_and(|winner| winner.contains(&entry)) {
            let message = format!("\"{text}\" is on the white list as well, which wins");
            self.lost.say(place, Fault::new(message));
        }
        self.table.insert(entry);
    }
}

fn without_comment(line: &str) -> &str {
    let begins =
        |(at, _): &(usize, &str)| line[..*at].chars().next_back().is_none_or(char::is_whitespace);
    let comment = line.match_indices('#').find(begins);
    line[..comment.map_or(line.len(), |(at, _)| at)].trim()
}

/// Findings about one list; a long file with the wrong content must not drown the others.
struct Said {
    findings: Vec<Finding>,
    more: Option<(Span, usize)>,
}

impl Said {
    const MOST: usize = 20;

    fn new() -> Self {
        Said { findings: Vec::new(), more: None }
    }

    fn say(&mut self, place: Place<'_>, fault: Fault) {
        if self.findings.len() < Self::MOST {
            return self.findings.push(place.finding(fault));
        }
        let (Place::Here(span) | Place::Line { named: span, .. }) = place;
        self.more.get_or_insert((span, 0)).1 += 1;
    }

    fn into_findings(self) -> Vec<Finding> {
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
