//! Filters (RFC 4515) whose macros stand for values.

use std::fmt::Write as _;

use ldap3::parse_filter;
use mppd_engine::language::Piece;
use mppd_engine::{BuildContext, Finding, Span, Spanned, Template, View};

#[derive(Debug)]
enum Part {
    Text(String),
    Macro(Template, Span),
}

/// A filter with macros.
#[derive(Debug)]
pub(crate) struct Filter(Vec<Part>);

/// Can stand in a value only.
const IN_VALUE: &str = r"\78";

/// Can stand in the name of an attribute and in a value.
const ANYWHERE: &str = "x";

impl Filter {
    pub(crate) fn compile(
        text: &Spanned<String>,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let part = |piece| match piece {
            Piece::Text { text, .. } => Part::Text(without_line_breaks(&text)),
            Piece::Macro { template, span } => Part::Macro(template, span),
        };
        let filter = Filter(cx.pieces(text)?.into_iter().map(part).collect());
        if parse_filter(filter.with(|_| IN_VALUE)).is_ok() {
            return Ok(filter);
        }
        Err(filter.faults(text.span))
    }

    pub(crate) fn of(&self, view: &View<'_>) -> String {
        let mut filter = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => filter.push_str(text),
                Part::Macro(template, _) => escape(&template.evaluate(view), &mut filter),
            }
        }
        filter
    }

    /// The filter with a text in place of each macro, told by its position among the parts.
    fn with(&self, value: impl Fn(usize) -> &'static str) -> String {
        let text = |(position, part): (usize, &Part)| match part {
            Part::Text(text) => text.clone(),
            Part::Macro(..) => value(position).to_owned(),
        };
        self.0.iter().enumerate().map(text).collect()
    }

    /// The macros that stand for no value, or else the whole.
    fn faults(&self, whole: Span) -> Vec<Finding> {
        if parse_filter(self.with(|_| ANYWHERE)).is_err() {
            let finding = Finding::error(whole, "this is not a filter of LDAP (RFC 4515)");
            return vec![finding.with_help("such as (&(objectClass=person)(mail=$recipient))")];
        }
        let mut findings = Vec::new();
        for (position, part) in self.0.iter().enumerate() {
            let Part::Macro(template, span) = part else { continue };
            let one = self.with(|other| if other == position { IN_VALUE } else { ANYWHERE });
            if parse_filter(one).is_err() {
                let message = format!("{template} stands for no value in the filter");
                let finding = Finding::error(*span, message);
                findings.push(finding.with_help("macros can only stand behind a comparison"));
            }
        }
        findings
    }
}

/// Escapes every octet but letters, digits, and what is common in addresses and means nothing
/// else in filters and names.
pub(crate) fn escape(octets: &[u8], text: &mut String) {
    for octet in octets {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'@' => {
                text.push(char::from(*octet));
            }
            // Writing to a string cannot fail.
            octet => drop(write!(text, "\\{octet:02x}")),
        }
    }
}

/// The text without line breaks and the white space around them.
fn without_line_breaks(text: &str) -> String {
    let mut lines = text.split('\n').peekable();
    let mut whole = String::with_capacity(text.len());
    let mut first = true;
    while let Some(line) = lines.next() {
        let line = if first { line } else { line.trim_start() };
        whole.push_str(if lines.peek().is_some() { line.trim_end() } else { line });
        first = false;
    }
    whole
}
