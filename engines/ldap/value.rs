//! Attributes of an entry that become values.

use std::borrow::Cow;

use ldap3::SearchEntry;
use mppd_engine::{BuildContext, Finding, NamedValue, Spanned, options};

use crate::value_names::ValueNames;

options! {
    /// `<value>`
    pub(crate) struct ValueOptions {
        /// The name of the value, as in `$engines.ID.NAME`: letters, digits and `_`.
        id: Spanned<String>,
        /// The attribute of the first entry found. One that is not there is empty.
        attribute: Spanned<String>,
        /// What stands between its values, where it has several; only the first of them is given
        /// unless this is. A text without macros other than those of white space: `,$sp`.
        separator: Option<Spanned<String>> = None,
    }
}

/// The names that mean something else already.
const TAKEN: &[&str] = &["status", "text", "result", "dn", "count"];

#[derive(Debug)]
struct Wanted {
    id: String,
    attribute: String,
    separator: Option<Vec<u8>>,
}

/// The values that are wanted of an entry.
#[derive(Debug)]
pub(super) struct Values {
    wanted: Vec<Wanted>,
    attributes: Vec<String>,
}

impl Values {
    pub(super) fn compile(
        options: &[ValueOptions],
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let (mut wanted, mut findings) = (Vec::new(), Vec::new());
        let mut names = ValueNames::besides(TAKEN);
        for ValueOptions { id, attribute, separator } in options {
            findings.extend(names.add(id));
            findings.extend(check_attribute(attribute));
            let separator = separator.as_ref().map(|text| read_separator(text, cx)).transpose();
            match separator {
                Ok(separator) => wanted.push(Wanted {
                    id: id.value.clone(),
                    attribute: attribute.value.clone(),
                    separator,
                }),
                Err(faults) => findings.extend(faults),
            }
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        let mut attributes: Vec<String> =
            wanted.iter().map(|wanted| wanted.attribute.clone()).collect();
        if attributes.is_empty() {
            // No attribute at all (RFC 4511, section 4.5.1.8).
            attributes.push("1.1".to_owned());
        }
        Ok(Values { wanted, attributes })
    }

    pub(super) fn names(&self) -> Vec<Cow<'static, str>> {
        self.wanted.iter().map(|wanted| wanted.id.clone().into()).collect()
    }

    /// The attributes to ask for.
    pub(super) fn attributes(&self) -> &[String] {
        &self.attributes
    }

    pub(super) fn of(&self, entry: Option<&SearchEntry>) -> Vec<NamedValue> {
        let value = |wanted: &Wanted| NamedValue {
            name: wanted.id.clone().into(),
            value: entry.map(|entry| wanted.of(entry)).unwrap_or_default(),
        };
        self.wanted.iter().map(value).collect()
    }
}

impl Wanted {
    fn of(&self, entry: &SearchEntry) -> Vec<u8> {
        // Attributes of any octets come apart from those of text; one attribute may be in both.
        let is_it = |name: &str| name.eq_ignore_ascii_case(&self.attribute);
        let texts = entry.attrs.iter().filter(|(name, _)| is_it(name));
        let octets = entry.bin_attrs.iter().filter(|(name, _)| is_it(name));
        let mut values = texts
            .flat_map(|(_, values)| values.iter().map(String::as_bytes))
            .chain(octets.flat_map(|(_, values)| values.iter().map(Vec::as_slice)));
        match &self.separator {
            None => values.next().unwrap_or_default().to_vec(),
            Some(separator) => values.collect::<Vec<_>>().join(&separator[..]),
        }
    }
}

fn read_separator(
    text: &Spanned<String>,
    cx: &mut BuildContext<'_>,
) -> Result<Vec<u8>, Vec<Finding>> {
    let template = cx.template(text)?;
    let constant = template.as_constant().map(<[u8]>::to_vec);
    constant
        .ok_or_else(|| vec![Finding::error(text.span, "a separator is the same for every request")])
}

/// An attribute description (RFC 4512, section 2.5).
fn check_attribute(attribute: &Spanned<String>) -> Option<Finding> {
    let is_letter = |octet: u8| octet.is_ascii_alphanumeric() || b"-.;".contains(&octet);
    let starts = attribute.value.starts_with(|letter: char| letter.is_ascii_alphanumeric());
    if starts && attribute.value.bytes().all(is_letter) {
        return None;
    }
    let message = format!("{:?} is not the name of an attribute", attribute.value);
    Some(Finding::error(attribute.span, message))
}
