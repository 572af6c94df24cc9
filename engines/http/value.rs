//! Parts of an answer in JSON, found by JSON pointers (RFC 6901).

use std::borrow::Cow;

use mppd_engine::{Finding, NamedValue, Spanned, options};
use serde_json::Value;

use crate::value_names::ValueNames;

options! {
    /// `<value>`
    pub(crate) struct ValueOptions {
        /// The name of the value, as in `$engines.ID.NAME`: letters, digits and `_`.
        id: Spanned<String>,
        /// Where it stands in the answer: a JSON pointer, such as `/result/0/verdict`. What is not
        /// there is empty, and so is `null`; an object or array is given as JSON.
        pointer: Spanned<String>,
    }
}

/// The names that mean something else already.
const TAKEN: &[&str] = &["status", "text", "result", "code", "body"];

/// Names, and the pointers to their values.
#[derive(Debug)]
pub(super) struct Pointers(Vec<(String, String)>);

impl Pointers {
    pub(super) fn compile(options: &[ValueOptions]) -> Result<Self, Vec<Finding>> {
        let (mut pointers, mut findings) = (Vec::new(), Vec::new());
        let mut names = ValueNames::besides(TAKEN);
        for ValueOptions { id, pointer } in options {
            findings.extend(names.add(id));
            findings.extend(check_pointer(pointer));
            pointers.push((id.value.clone(), pointer.value.clone()));
        }
        if findings.is_empty() { Ok(Pointers(pointers)) } else { Err(findings) }
    }

    pub(super) fn names(&self) -> Vec<Cow<'static, str>> {
        self.0.iter().map(|(name, _)| name.clone().into()).collect()
    }

    /// The values in a body. Where the service did not succeed, or had nothing to say, a body that
    /// is not JSON is one without values.
    pub(super) fn values(
        &self,
        body: &[u8],
        success: bool,
    ) -> Result<Vec<NamedValue>, serde_json::Error> {
        if self.0.is_empty() {
            return Ok(Vec::new());
        }
        let json = match serde_json::from_slice(body) {
            Ok(json) => json,
            Err(error) if success && !body.is_empty() => return Err(error),
            Err(_) => Value::Null,
        };
        let value = |(name, pointer): &(String, String)| NamedValue {
            name: name.clone().into(),
            value: json.pointer(pointer).map(octets).unwrap_or_default(),
        };
        Ok(self.0.iter().map(value).collect())
    }
}

fn check_pointer(pointer: &Spanned<String>) -> Option<Finding> {
    let text = pointer.value.as_str();
    if !text.is_empty() && !text.starts_with('/') {
        let finding = Finding::error(pointer.span, "a JSON pointer begins with \"/\"");
        return Some(finding.with_help(format!("perhaps \"/{text}\"")));
    }
    let is_escape = |behind: &str| behind.starts_with(['0', '1']);
    if !text.split('~').skip(1).all(is_escape) {
        let message = "\"~\" in a JSON pointer is written \"~0\", and \"/\" in a name \"~1\"";
        return Some(Finding::error(pointer.span, message));
    }
    None
}

fn octets(value: &Value) -> Vec<u8> {
    match value {
        Value::Null => Vec::new(),
        Value::String(text) => text.clone().into_bytes(),
        other => other.to_string().into_bytes(),
    }
}
