//! The body of a request: a form, JSON, or any text.

use std::collections::BTreeSet;

use mppd_engine::config::{OptionDoc, OptionValue};
use mppd_engine::{BuildContext, Finding, Spanned, Template, View, options};
use reqwest::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use serde::{Deserialize, Deserializer};

use super::uri::percent_encode;

options! {
    /// `<form>`
    pub(crate) struct FormOptions {
        /// A field. May stand several times.
        field: Vec<FormFieldOptions> = Vec::new(),
    }
}

options! {
    /// `<field>` of a form
    pub(crate) struct FormFieldOptions {
        /// Its name.
        name: Spanned<String>,
        /// Its value, a text with macros.
        ["$text"] value: Option<Spanned<String>> = None,
    }
}

options! {
    /// `<json>`
    pub(crate) struct JsonOptions {
        /// What the whole is: `object` or `array`.
        ["type"] kind: JsonKind = JsonKind::Object,
        /// A member of it. May stand several times.
        field: Vec<FieldOptions> = Vec::new(),
    }
}

options! {
    /// `<field>` of JSON
    pub(crate) struct FieldOptions {
        /// Its name, in an object.
        name: Option<Spanned<String>> = None,
        /// What it is: `object` where fields stand in it, else `string`, unless given. A `number`
        /// whose text is no number of JSON is `null`. A `boolean` is true if its text is `true`,
        /// `yes` or `1`.
        ["type"] kind: Option<JsonKind> = None,
        /// Its value, a text with macros.
        ["$text"] value: Option<Spanned<String>> = None,
        /// A member of it, in an object or an array. May stand several times.
        field: Vec<InnerField> = Vec::new(),
    }
}

/// A field inside of a field.
#[derive(Debug, Clone)]
pub(crate) struct InnerField(FieldOptions);

impl<'de> Deserialize<'de> for InnerField {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        FieldOptions::deserialize(deserializer).map(InnerField)
    }
}

impl OptionValue for InnerField {
    const TYPE: &'static str = "an element like this one";

    fn show(&self) -> String {
        String::new()
    }

    // The reference would have no end.
    fn nested() -> Vec<OptionDoc> {
        Vec::new()
    }
}

/// A type of JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JsonKind {
    String,
    Number,
    Boolean,
    Null,
    Object,
    Array,
}

impl OptionValue for JsonKind {
    const TYPE: &'static str = "`string`, `number`, `boolean`, `null`, `object` or `array`";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

options! {
    /// `<body>`
    pub(crate) struct RawOptions {
        /// What the text is.
        content_type: Spanned<String>,
        /// The text, with macros.
        ["$text"] text: Spanned<String>,
    }
}

/// The body of a request.
#[derive(Debug)]
pub(super) enum Body {
    None,
    /// Encoded names, and values.
    Form(Vec<(String, Template)>),
    Json(Json),
    Raw(HeaderValue, Template),
}

#[derive(Debug)]
pub(super) enum Json {
    String(Template),
    Number(Template),
    Boolean(Template),
    Null,
    Object(Vec<(String, Json)>),
    Array(Vec<Json>),
}

impl Body {
    pub(super) fn compile(
        form: Option<&Spanned<FormOptions>>,
        json: Option<&Spanned<JsonOptions>>,
        raw: Option<&Spanned<RawOptions>>,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let mut places =
            [form.map(|form| form.span), json.map(|json| json.span), raw.map(|raw| raw.span)]
                .into_iter()
                .flatten();
        if let (Some(first), Some(second)) = (places.next(), places.next()) {
            let finding = Finding::error(second, "a request has one body: form, json or body");
            return Err(vec![finding.with_related(first, "the other one")]);
        }
        match (form, json, raw) {
            (Some(form), ..) => compile_form(&form.value, cx),
            (_, Some(json), _) => compile_json(json, cx).map(Body::Json),
            (.., Some(raw)) => compile_raw(&raw.value, cx),
            _ => Ok(Body::None),
        }
    }

    pub(super) fn is_none(&self) -> bool {
        matches!(self, Body::None)
    }

    /// Says what the body is.
    pub(super) fn describe(&self, headers: &mut HeaderMap) {
        let content_type = match self {
            Body::None => return,
            Body::Form(_) => HeaderValue::from_static("application/x-www-form-urlencoded"),
            Body::Json(_) => HeaderValue::from_static("application/json"),
            Body::Raw(content_type, _) => content_type.clone(),
        };
        headers.insert(CONTENT_TYPE, content_type);
    }

    pub(super) fn octets(&self, view: &View<'_>) -> Option<Vec<u8>> {
        match self {
            Body::None => None,
            Body::Form(fields) => Some(form_octets(fields, view)),
            Body::Json(json) => {
                let mut octets = Vec::new();
                json.append_to(view, &mut octets);
                Some(octets)
            }
            Body::Raw(_, text) => Some(text.evaluate(view).into_owned()),
        }
    }
}

fn compile_form(options: &FormOptions, cx: &mut BuildContext<'_>) -> Result<Body, Vec<Finding>> {
    let (mut fields, mut findings) = (Vec::new(), Vec::new());
    for field in &options.field {
        let mut name = String::new();
        percent_encode(field.name.value.as_bytes(), &mut name);
        match text(field.value.as_ref(), cx) {
            Ok(value) => fields.push((name, value)),
            Err(faults) => findings.extend(faults),
        }
    }
    if findings.is_empty() { Ok(Body::Form(fields)) } else { Err(findings) }
}

fn compile_raw(options: &RawOptions, cx: &mut BuildContext<'_>) -> Result<Body, Vec<Finding>> {
    let content_type = HeaderValue::from_str(&options.content_type.value).map_err(|_| {
        let message = format!("{:?} can't stand in a header", options.content_type.value);
        vec![Finding::error(options.content_type.span, message)]
    })?;
    Ok(Body::Raw(content_type, cx.template(&options.text)?))
}

fn text(
    text: Option<&Spanned<String>>,
    cx: &mut BuildContext<'_>,
) -> Result<Template, Vec<Finding>> {
    text.map_or_else(|| Ok(Template::constant("")), |text| cx.template(text))
}

fn form_octets(fields: &[(String, Template)], view: &View<'_>) -> Vec<u8> {
    let mut form = String::new();
    for (name, value) in fields {
        if !form.is_empty() {
            form.push('&');
        }
        form.push_str(name);
        form.push('=');
        percent_encode(&value.evaluate(view), &mut form);
    }
    form.into_bytes()
}

fn compile_json(
    options: &Spanned<JsonOptions>,
    cx: &mut BuildContext<'_>,
) -> Result<Json, Vec<Finding>> {
    let fields: Vec<&FieldOptions> = options.value.field.iter().collect();
    match options.value.kind {
        JsonKind::Object => members(&fields, cx).map(Json::Object),
        JsonKind::Array => elements(&fields, cx).map(Json::Array),
        _ => Err(vec![Finding::error(options.span, "<json> is an object or an array")]),
    }
}

fn members(
    fields: &[&FieldOptions],
    cx: &mut BuildContext<'_>,
) -> Result<Vec<(String, Json)>, Vec<Finding>> {
    let (mut members, mut findings) = (Vec::new(), Vec::new());
    let mut names = BTreeSet::new();
    for field in fields {
        let value = compile_field(field, cx).map_err(|faults| findings.extend(faults));
        let Some(name) = &field.name else {
            findings.push(at_value(field, "a field of an object needs a name"));
            continue;
        };
        if !names.insert(&name.value) {
            let message = format!("the object has a field \"{}\" already", name.value);
            findings.push(Finding::error(name.span, message));
        }
        members.extend(value.map(|value| (name.value.clone(), value)));
    }
    if findings.is_empty() { Ok(members) } else { Err(findings) }
}

fn elements(
    fields: &[&FieldOptions],
    cx: &mut BuildContext<'_>,
) -> Result<Vec<Json>, Vec<Finding>> {
    let (mut elements, mut findings) = (Vec::new(), Vec::new());
    for field in fields {
        if let Some(name) = &field.name {
            findings.push(Finding::error(name.span, "a field of an array has no name"));
        }
        elements.extend(compile_field(field, cx).map_err(|faults| findings.extend(faults)));
    }
    if findings.is_empty() { Ok(elements) } else { Err(findings) }
}

fn compile_field(field: &FieldOptions, cx: &mut BuildContext<'_>) -> Result<Json, Vec<Finding>> {
    let inner: Vec<&FieldOptions> = field.field.iter().map(|InnerField(field)| field).collect();
    let otherwise = if inner.is_empty() { JsonKind::String } else { JsonKind::Object };
    let kind = field.kind.unwrap_or(otherwise);
    let is_nest = matches!(kind, JsonKind::Object | JsonKind::Array);
    if !is_nest && !inner.is_empty() {
        let message = format!("a {} has no fields inside", kind.show());
        return Err(vec![at_value(field, &message)]);
    }
    let takes_text = !is_nest && kind != JsonKind::Null;
    if !takes_text && field.value.is_some() {
        return Err(vec![at_value(field, &format!("{} has no text", kind.show()))]);
    }
    match kind {
        JsonKind::String => text(field.value.as_ref(), cx).map(Json::String),
        JsonKind::Number => text(field.value.as_ref(), cx).map(Json::Number),
        JsonKind::Boolean => text(field.value.as_ref(), cx).map(Json::Boolean),
        JsonKind::Null => Ok(Json::Null),
        JsonKind::Object => members(&inner, cx).map(Json::Object),
        JsonKind::Array => elements(&inner, cx).map(Json::Array),
    }
}

/// A finding at whatever the field has that stands somewhere.
fn at_value(field: &FieldOptions, message: &str) -> Finding {
    let place = field.value.as_ref().or(field.name.as_ref());
    match place {
        Some(place) => Finding::error(place.span, message),
        None => Finding::nowhere(message),
    }
}

impl Json {
    fn append_to(&self, view: &View<'_>, octets: &mut Vec<u8>) {
        match self {
            Json::String(text) => append_string(&text.evaluate_text(view), octets),
            Json::Number(text) => {
                let text = text.evaluate_text(view);
                let text = text.trim();
                octets.extend_from_slice(if is_number(text) { text.as_bytes() } else { b"null" });
            }
            Json::Boolean(text) => {
                let is_true = matches!(&*text.evaluate(view), b"true" | b"yes" | b"1");
                octets.extend_from_slice(if is_true { b"true" } else { b"false" });
            }
            Json::Null => octets.extend_from_slice(b"null"),
            Json::Object(members) => {
                append_each(members, *b"{}", octets, |(name, value), octets| {
                    append_string(name, octets);
                    octets.push(b':');
                    value.append_to(view, octets);
                });
            }
            Json::Array(elements) => append_each(elements, *b"[]", octets, |element, octets| {
                element.append_to(view, octets);
            }),
        }
    }
}

fn append_each<T>(
    items: &[T],
    brackets: [u8; 2],
    octets: &mut Vec<u8>,
    mut append: impl FnMut(&T, &mut Vec<u8>),
) {
    octets.push(brackets[0]);
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            octets.push(b',');
        }
        append(item, octets);
    }
    octets.push(brackets[1]);
}

fn append_string(text: &str, octets: &mut Vec<u8>) {
    octets.extend_from_slice(serde_json::Value::from(text).to_string().as_bytes());
}

/// Whether a text is a number of JSON: a text of JSON that begins like one is.
fn is_number(text: &str) -> bool {
    text.starts_with(|letter: char| letter == '-' || letter.is_ascii_digit())
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
}
