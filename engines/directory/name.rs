//! Names of entries (RFC 4514) whose macros stand for values of attributes.

use mppd_engine::language::Piece;
use mppd_engine::{BuildContext, Finding, Spanned, Template, View};

use super::filter::escape;

#[derive(Debug)]
enum Part {
    Text(String),
    Macro(Template),
}

/// The name of an entry with macros.
#[derive(Debug)]
pub(crate) struct Name(Vec<Part>);

impl Name {
    pub(crate) fn compile(
        text: &Spanned<String>,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let (mut parts, mut findings) = (Vec::new(), Vec::new());
        let mut before = String::new();
        for piece in cx.pieces(text)? {
            match piece {
                Piece::Text { text, .. } => {
                    before.push_str(&text);
                    parts.push(Part::Text(text));
                }
                Piece::Macro { template, span } => {
                    if !is_in_value(&before) {
                        let message = "a macro in the name of an entry stands for the value of an \
                                       attribute, behind \"=\"";
                        findings.push(Finding::error(span, message));
                    }
                    before.push('x');
                    parts.push(Part::Macro(template));
                }
            }
        }
        if findings.is_empty() { Ok(Name(parts)) } else { Err(findings) }
    }

    pub(crate) fn has_macros(&self) -> bool {
        self.0.iter().any(|part| matches!(part, Part::Macro(_)))
    }

    /// The name, where it is the same for every request.
    pub(crate) fn constant(&self) -> Option<String> {
        let text = |part: &Part| match part {
            Part::Text(text) => Some(text.clone()),
            Part::Macro(_) => None,
        };
        self.0.iter().map(text).collect()
    }

    pub(crate) fn of(&self, view: &View<'_>) -> String {
        let mut name = String::new();
        for part in &self.0 {
            match part {
                Part::Text(text) => name.push_str(text),
                Part::Macro(template) => escape(&template.evaluate(view), &mut name),
            }
        }
        name
    }
}

/// Whether a name that begins like this goes on with the value of an attribute, written as text:
/// behind the "=" of the last part, outside of quotes, escapes and hexadecimal values.
fn is_in_value(before: &str) -> bool {
    let (mut value, mut escaped) = (None, false);
    for letter in before.chars() {
        if std::mem::take(&mut escaped) {
            continue;
        }
        match (letter, value) {
            ('\\', _) => escaped = true,
            (',' | '+' | ';', _) => value = None,
            ('=', None) => value = Some(true),
            // "#" begins a value in hexadecimal digits; quotes are the old form (RFC 2253).
            ('#' | '"', Some(_)) => value = Some(false),
            _ => {}
        }
    }
    value == Some(true) && !escaped
}
