//! The headers of a request.

use std::path::PathBuf;

use mppd_database::SecretOptions;
use mppd_database::connection::reveal;
use mppd_engine::{BuildContext, Finding, Spanned, Template, View, options};
use reqwest::header::{
    CONNECTION, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, TE,
    TRAILER, TRANSFER_ENCODING, UPGRADE,
};

options! {
    /// `<header>`
    pub(crate) struct HeaderOptions {
        /// Its name.
        name: Spanned<String>,
        /// Its value, a text with macros. Control octets become blanks.
        ["$text"] value: Option<Spanned<String>> = None,
        /// A file whose first line is the value, for one that is secret.
        file: Option<Spanned<PathBuf>> = None,
    }
}

/// What belongs to the connection, or to the body, and is made by whoever sends the request.
const MADE_HERE: &[HeaderName] =
    &[CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];

#[derive(Debug)]
enum Value {
    Text(Template),
    Secret(HeaderValue),
}

/// The headers that the configuration gives.
#[derive(Debug)]
pub(super) struct Headers(Vec<(HeaderName, Value)>);

impl Headers {
    pub(super) fn compile(
        options: &[HeaderOptions],
        has_body: bool,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let (mut headers, mut findings) = (Vec::new(), Vec::new());
        for option in options {
            let name = read_name(&option.name, has_body).map_err(|fault| findings.push(fault));
            let value = read_value(option, cx).map_err(|faults| findings.extend(faults));
            if let (Ok(name), Ok(value)) = (name, value) {
                headers.push((name, value));
            }
        }
        if findings.is_empty() { Ok(Headers(headers)) } else { Err(findings) }
    }

    pub(super) fn add_to(&self, headers: &mut HeaderMap, view: &View<'_>) {
        for (name, value) in &self.0 {
            match value {
                Value::Text(template) => headers.append(name, harmless(&template.evaluate(view))),
                Value::Secret(value) => headers.append(name, value.clone()),
            };
        }
    }
}

fn read_name(name: &Spanned<String>, has_body: bool) -> Result<HeaderName, Finding> {
    let read = HeaderName::from_bytes(name.value.as_bytes()).map_err(|_| {
        Finding::error(name.span, format!("{:?} is not the name of a header", name.value))
    })?;
    if MADE_HERE.contains(&read) {
        let message = format!("the header {} is made by mppd itself", name.value);
        return Err(Finding::error(name.span, message));
    }
    if has_body && read == CONTENT_TYPE {
        let message = "the header Content-Type is made from the body";
        return Err(Finding::error(name.span, message)
            .with_help("that of <body> is its option \"content_type\""));
    }
    Ok(read)
}

fn read_value(option: &HeaderOptions, cx: &mut BuildContext<'_>) -> Result<Value, Vec<Finding>> {
    match (&option.value, &option.file) {
        (None, None) => Ok(Value::Text(Template::constant(""))),
        (Some(text), None) => cx.template(text).map(Value::Text),
        (Some(_), Some(file)) => {
            let message = "the value is given twice, as text and by a file";
            Err(vec![Finding::error(file.span, message).with_help("keep one of them")])
        }
        (None, Some(file)) => {
            let options = SecretOptions { text: None, file: Some(file.clone()), variable: None };
            let secret = reveal(&Spanned { value: options, span: file.span }, cx);
            let secret = secret.map_err(|fault| vec![fault])?;
            let mut value = harmless(secret.reveal().as_bytes());
            value.set_sensitive(true);
            Ok(Value::Secret(value))
        }
    }
}

/// The octets as the value of a header. Control octets, which could end the header, become blanks
/// (RFC 9110, section 5.5).
pub(super) fn harmless(octets: &[u8]) -> HeaderValue {
    let blank = |octet: &u8| if octet.is_ascii_control() { b' ' } else { *octet };
    let octets: Vec<u8> = octets.iter().map(blank).collect();
    // What is left is what a header value can hold.
    HeaderValue::from_bytes(octets.trim_ascii()).unwrap_or_else(|_| HeaderValue::from_static(""))
}
