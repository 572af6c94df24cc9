//! The URI: constant text, and macros that are percent-encoded wherever they stand.

use mppd_engine::language::Piece;
use mppd_engine::{BuildContext, Finding, Span, Spanned, Template, View};
use reqwest::Url;

/// Why a value gives no URI.
#[derive(Debug, thiserror::Error)]
pub(super) enum UriError {
    #[error("a value makes the path segment \"{0}\", which no URI can hold")]
    DotSegment(&'static str),
    #[error("the URI can't be understood")]
    Form(#[source] Box<dyn std::error::Error + Send + Sync>),
}

#[derive(Debug)]
enum Part {
    Text(String),
    Macro(Template),
}

/// A URI with macros.
#[derive(Debug)]
pub(super) struct Uri {
    /// Scheme, host and port: `https://example.org`.
    origin: String,
    /// What follows them.
    rest: Vec<Part>,
}

impl Uri {
    pub(super) fn compile(
        text: &Spanned<String>,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let mut pieces = cx.pieces(text)?.into_iter().peekable();
        let (origin, first) = match pieces.next() {
            Some(Piece::Text { text, span }) => {
                let text = Spanned { value: text.as_str(), span };
                check_letters(&text)?;
                match pieces.peek() {
                    Some(Piece::Macro { span, .. }) if ends_in_origin(text.value) => {
                        return Err(vec![origin_has_macro(*span)]);
                    }
                    _ => split_origin(&text)?,
                }
            }
            Some(Piece::Macro { span, .. }) => return Err(vec![origin_has_macro(span)]),
            None => return Err(vec![Finding::error(text.span, "the URI is empty")]),
        };
        let mut rest = vec![Part::Text(first)];
        for piece in pieces {
            match piece {
                Piece::Macro { template, .. } => rest.push(Part::Macro(template)),
                Piece::Text { text, span } => {
                    check_letters(&Spanned { value: &text, span })?;
                    rest.push(Part::Text(text));
                }
            }
        }
        let uri = Uri { origin, rest };
        // A letter stands for any value, since no value can change the form.
        uri.assemble(|_, whole| whole.push('x'))
            .map_err(|error| vec![Finding::error(text.span, in_words(&error))])?;
        Ok(uri)
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> &str {
        &self.origin
    }

    pub(super) fn is_encrypted(&self) -> bool {
        self.origin
            .get(.."https:".len())
            .is_some_and(|scheme| scheme.eq_ignore_ascii_case("https:"))
    }

    pub(super) fn of(&self, view: &View<'_>) -> Result<Url, UriError> {
        self.assemble(|template, whole| percent_encode(&template.evaluate(view), whole))
    }

    fn assemble(&self, mut value: impl FnMut(&Template, &mut String)) -> Result<Url, UriError> {
        let mut rest = String::new();
        for part in &self.rest {
            match part {
                Part::Text(text) => rest.push_str(text),
                Part::Macro(template) => value(template, &mut rest),
            }
        }
        check_segments(&rest)?;
        Url::parse(&format!("{}{rest}", self.origin)).map_err(|error| UriError::Form(error.into()))
    }
}

fn in_words(error: &UriError) -> String {
    match error {
        UriError::DotSegment(segment) => {
            format!("the path holds the segment \"{segment}\"; write the path without it")
        }
        UriError::Form(source) => format!("this is not a URI: {source}"),
    }
}

fn origin_has_macro(span: Span) -> Finding {
    Finding::error(span, "scheme, host and port of a URI can't hold macros")
        .with_help("macros may follow behind the first \"/\" or \"?\" of the URI")
}

/// The letters of a URI (RFC 3986, section 2), without the fragment, which is never sent.
fn check_letters(text: &Spanned<&str>) -> Result<(), Vec<Finding>> {
    let is_hex = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_hexdigit);
    let octets = text.value.as_bytes();
    for (index, letter) in text.value.char_indices() {
        let place = text.part(index..index + letter.len_utf8());
        let fault = |message: &str| Err(vec![Finding::error(place, message)]);
        match letter {
            '#' => return fault("a URI that is asked has no fragment, \"#\""),
            '%' if is_hex(octets.get(index + 1)) && is_hex(octets.get(index + 2)) => {}
            '%' => return fault("\"%\" is followed by two hexadecimal digits in a URI"),
            letter if letter.is_ascii_alphanumeric() => {}
            letter if "-._~:/?[]@!$&'()*+,;=".contains(letter) => {}
            letter => {
                let mut encoded = String::new();
                percent_encode(letter.to_string().as_bytes(), &mut encoded);
                let finding = Finding::error(place, format!("{letter:?} can't stand in a URI"));
                return Err(vec![finding.with_help(format!("write \"{encoded}\""))]);
            }
        }
    }
    Ok(())
}

/// Whether a text ends before the path and the query begin.
fn ends_in_origin(text: &str) -> bool {
    let behind = text.split_once("://").map_or(text, |(_, behind)| behind);
    !behind.contains(['/', '?'])
}

fn split_origin(text: &Spanned<&str>) -> Result<(String, String), Vec<Finding>> {
    let fault = |message: &str| vec![Finding::error(text.span, message)];
    let scheme = ["http://", "https://"].into_iter().find(|scheme| {
        let start = text.value.get(..scheme.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(scheme))
    });
    let scheme =
        scheme.ok_or_else(|| fault("the URI begins with neither \"http://\" nor \"https://\""))?;
    let behind = &text.value[scheme.len()..];
    let authority = behind.find(['/', '?']).map_or(behind, |end| &behind[..end]);
    if authority.contains('@') {
        let help = "send them in a header: <header name=\"Authorization\" file=\"…\"/>";
        let finding = Finding::error(text.span, "a URI can't hold user name and password here");
        return Err(vec![finding.with_help(help)]);
    }
    if authority.is_empty() {
        return Err(fault("the URI has no host"));
    }
    let (origin, rest) = text.value.split_at(scheme.len() + authority.len());
    Ok((origin.to_owned(), rest.to_owned()))
}

/// Refuses the segments that every reader of a URI takes for steps in the tree.
fn check_segments(rest: &str) -> Result<(), UriError> {
    let path = rest.split('?').next().unwrap_or_default();
    for segment in path.split('/') {
        match segment.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." => return Err(UriError::DotSegment(".")),
            ".." => return Err(UriError::DotSegment("..")),
            _ => {}
        }
    }
    Ok(())
}

/// Encodes every octet but the unreserved ones (RFC 3986, section 2.3).
pub(super) fn percent_encode(octets: &[u8], text: &mut String) {
    const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
    for octet in octets {
        match octet {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                text.push(char::from(*octet));
            }
            octet => {
                text.push('%');
                text.push(char::from(DIGITS[usize::from(octet >> 4)]));
                text.push(char::from(DIGITS[usize::from(octet & 15)]));
            }
        }
    }
}
