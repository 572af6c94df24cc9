//! Texts that will have macros.

use super::finding::Finding;
use super::value::Spanned;

/// A text in which `$$` stands for a dollar. A single one is kept for macros, which this version
/// does not have: better refused than sent to a client as it stands.
///
/// # Errors
/// A single dollar.
pub fn plain_text(text: &Spanned<&str>) -> Result<String, Finding> {
    let mut plain = String::with_capacity(text.value.len());
    let mut rest = text.value;
    while let Some((before, after)) = rest.split_once('$') {
        plain.push_str(before);
        plain.push('$');
        let Some(after) = after.strip_prefix('$') else {
            let message = "a single \"$\" would begin a macro, which this version does not have";
            return Err(Finding::error(text.span, message).with_help("write \"$$\" for a dollar"));
        };
        rest = after;
    }
    plain.push_str(rest);
    Ok(plain)
}

#[cfg(test)]
mod tests {
    use super::super::source::{SourceId, Span};
    use super::*;

    fn read(value: &str) -> Option<String> {
        let source = SourceId::from_index(0).unwrap();
        plain_text(&Spanned { value, span: Span { source, start: 0, end: 1 } }).ok()
    }

    #[test]
    fn a_dollar_is_written_twice() {
        assert_eq!(read("no dollar").as_deref(), Some("no dollar"));
        assert_eq!(read("$$5 for $$").as_deref(), Some("$5 for $"));
        assert_eq!(read("listed by ${site}"), None);
        assert_eq!(read("$$$"), None);
    }
}
