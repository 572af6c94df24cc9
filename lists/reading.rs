//! Reads the entries of a list, from the configuration itself and from files.

use std::ops::Range;
use std::path::{Path, PathBuf};

use mppd_engine::config::{Severity, Spanned};
use mppd_engine::{Attribute, BuildContext, Escaped, Finding, Span, options};

use crate::Table;
use crate::formats::{Format, Meaning};

options! {
    /// The entries of one list, in place, in a file, or both.
    pub struct EntriesOptions {
        /// Entries, separated by white space.
        ["$text"] entries: Option<Spanned<String>> = None,
        /// A file of entries, one a line unless `format` says otherwise. Empty lines, and all from
        /// a `#` at the beginning of a line or behind white space to its end, are skipped.
        file: Option<Spanned<PathBuf>> = None,
        /// How the file is written: `lines`; `postgrey`, a whitelist file of postgrey; `cidr` or
        /// `hash`, the source of such a table of Postfix.
        format: Option<Spanned<Format>> = None,
    }
}

/// What to do about two entries in one.
pub(crate) const BETWEEN_ENTRIES: &str = "entries are separated by white space, not by commas";

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

    /// What is to be said of an entry that works, but probably not as meant.
    #[must_use]
    pub fn warning(self, fault: Fault) -> Finding {
        Finding { severity: Severity::Warning, ..self.finding(fault) }
    }

    /// The place in the configuration.
    #[must_use]
    pub fn span(self) -> Span {
        let (Place::Word { span, .. } | Place::Line { named: span, .. }) = self;
        span
    }
}

/// An entry that was read.
#[derive(Debug)]
pub struct Item<'a, E> {
    /// The entry.
    pub entry: E,
    /// As it is written.
    pub text: &'a str,
    /// Where it stands.
    pub place: Place<'a>,
    /// What is said of what it stands for.
    pub meaning: Meaning,
}

/// Reads the entries that an element gives, for a table of this kind in which all of them have one
/// meaning. Each is handed on with its text and its place; what is said of it counts as said about
/// the element. An entry that only says what is not to be found is warned of.
pub fn read<V, T: Table<V>>(
    options: &EntriesOptions,
    attribute: Attribute,
    cx: &BuildContext<'_>,
    mut take: impl FnMut(T::Entry, &str, Place<'_>) -> Option<Finding>,
) -> Vec<Finding> {
    read_items::<V, T>(options, attribute, cx, |Item { entry, text, place, meaning }| {
        if meaning != Meaning::Dunno {
            return take(entry, text, place);
        }
        let message = format!("\"{text}\" is left out, but makes no exception from other entries");
        Some(place.warning(Fault::new(message)))
    })
}

/// Fills a table in which all entries have one meaning with those of some elements. What is wrong
/// comes back; the rest of what is to be said is warned of.
pub fn fill<T: Table<()>>(
    table: &mut T,
    attribute: Attribute,
    options: &[EntriesOptions],
    cx: &mut BuildContext<'_>,
) -> Vec<Finding> {
    let mut errors = Vec::new();
    for options in options {
        let said = read::<(), T>(options, attribute, cx, |entry, _, _| {
            table.insert(entry, ());
            None
        });
        for finding in said {
            match finding.severity {
                Severity::Error => errors.push(finding),
                Severity::Warning => cx.warn(finding),
            }
        }
    }
    table.settle();
    errors
}

/// The same, with what the entries mean.
pub fn read_items<V, T: Table<V>>(
    options: &EntriesOptions,
    attribute: Attribute,
    cx: &BuildContext<'_>,
    take: impl FnMut(Item<'_, T::Entry>) -> Option<Finding>,
) -> Vec<Finding> {
    let format = options.format.as_ref().map_or(Format::Lines, |format| format.value);
    let parse = |format, text: &str| T::parse_as(format, text, attribute);
    let mut reading = Reading { parse, take, errors: Said::default(), warnings: Said::default() };
    let mut unreadable = refused::<V, T>(options);
    if let Some(text) = &options.entries {
        let text = text.as_deref();
        let parts = if T::FILLS_LINES { lines(text.value) } else { words(text.value) };
        for (number, part) in parts.into_iter().enumerate() {
            let part = text.cut(part);
            let place = Place::Word { span: part.span, number };
            reading.take(Format::Lines, part.value, place, Meaning::Listed);
        }
    }
    if let Some(file) = options.file.as_ref().filter(|_| unreadable.is_none()) {
        match cx.read(file) {
            Ok(octets) => reading.take_file(format, &octets, file.span, &cx.path(file)),
            Err(finding) => unreadable = Some(finding),
        }
    }
    let mut findings = reading.errors.into_findings();
    findings.extend(reading.warnings.into_findings());
    findings.extend(unreadable);
    findings
}

/// Why a file can't have the format that it is said to have.
fn refused<V, T: Table<V>>(options: &EntriesOptions) -> Option<Finding> {
    let format = options.format.as_ref()?;
    if options.file.is_none() {
        return Some(Finding::error(format.span, "there is no file of this format"));
    }
    if T::FORMATS.contains(&format.value) {
        return None;
    }
    let known = T::FORMATS.iter().map(|format| format.name()).collect::<Vec<_>>().join(", ");
    let message = format!("a list of this kind has no file of the format {}", format.value.name());
    Some(Finding::error(format.span, message).with_help(format!("known here: {known}")))
}

/// The places of the words of a text.
fn words(text: &str) -> Vec<Range<usize>> {
    text.split_whitespace().map(|word| place_in(text, word)).collect()
}

/// The places of its lines that are not empty.
fn lines(text: &str) -> Vec<Range<usize>> {
    let lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| place_in(text, line)).collect()
}

fn place_in(text: &str, part: &str) -> Range<usize> {
    let start = part.as_ptr().addr() - text.as_ptr().addr();
    start..start + part.len()
}

struct Reading<P, F> {
    parse: P,
    take: F,
    errors: Said,
    warnings: Said,
}

impl<E, P, F> Reading<P, F>
where
    P: Fn(Format, &str) -> Result<E, Fault>,
    F: FnMut(Item<'_, E>) -> Option<Finding>,
{
    fn take_file(&mut self, format: Format, octets: &[u8], named: Span, path: &Path) {
        format.read(octets, &mut |number, row| {
            let place = Place::Line { named, path, number };
            match row {
                Ok(row) => self.take(format, &row.text, place, row.meaning),
                Err(fault) => self.say(place.finding(fault), place),
            }
        });
    }

    fn take(&mut self, format: Format, text: &str, place: Place<'_>, meaning: Meaning) {
        let finding = match self.read(format, text) {
            Ok(entry) => (self.take)(Item { entry, text, place, meaning }),
            Err(fault) => Some(place.finding(fault)),
        };
        if let Some(finding) = finding {
            self.say(finding, place);
        }
    }

    fn read(&self, format: Format, text: &str) -> Result<E, Fault> {
        if text.contains(char::is_control) {
            let text = Escaped(text.as_bytes());
            return Err(Fault::new(format!("\"{text}\" holds a control character")));
        }
        (self.parse)(format, text)
    }

    fn say(&mut self, finding: Finding, place: Place<'_>) {
        match finding.severity {
            Severity::Error => self.errors.say(finding, place),
            Severity::Warning => self.warnings.say(finding, place),
        }
    }
}

/// Findings about one list; a long file with the wrong content must not drown the others.
#[derive(Debug, Default)]
pub struct Said {
    findings: Vec<Finding>,
    more: Option<(Finding, usize)>,
}

impl Said {
    const MOST: usize = 20;

    /// Adds what is to be said of the entry at a place.
    pub fn say(&mut self, finding: Finding, place: Place<'_>) {
        if self.findings.len() < Self::MOST {
            return self.findings.push(finding);
        }
        let more = || Finding { span: Some(place.span()), ..finding };
        self.more.get_or_insert_with(|| (more(), 0)).1 += 1;
    }

    /// The first of the findings, and how many more there are.
    #[must_use]
    pub fn into_findings(self) -> Vec<Finding> {
        let mut findings = self.findings;
        if let Some((Finding { severity, span, .. }, count)) = self.more {
            let more = Finding::nowhere(format!("and {count} more such entries"));
            findings.push(Finding { severity, span, ..more });
        }
        findings
    }
}
