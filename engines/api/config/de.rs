//! Reads typed values out of elements, through serde.
//!
//! A field is found as an attribute or as a child element of its name; the field `$text` is the
//! text of the element itself; a list is the children of one name, in order. Every error knows its
//! place, and all that can be told apart are reported at once: what is wrong is struck out, and the
//! rest is read again.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fmt;

use serde::de::value::{BorrowedStrDeserializer, StrDeserializer, U64Deserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error as _, Expected, IntoDeserializer,
    MapAccess, SeqAccess, Unexpected, Visitor,
};
use serde::forward_to_deserialize_any;

use super::element::{AttributeNode, Element};
use super::finding::Finding;
use super::nearest::nearest;
use super::source::Span;
use super::value::{SPANNED, SPANNED_FIELDS};

/// The field that stands for the text of an element.
const TEXT: &str = "$text";

/// A bound on how often an element is read again; more faults than this help nobody.
const MOST_FINDINGS: usize = 100;

/// Reads a value from an element, leaving out the attributes and children that `skip` names.
///
/// # Errors
/// Every fault that can be told apart, each with its place.
pub fn from_element<T: DeserializeOwned>(
    element: &Element,
    skip: fn(&str) -> bool,
) -> Result<T, Vec<Finding>> {
    match salvage(element, skip) {
        (Some(value), findings) if findings.is_empty() => Ok(value),
        (_, findings) => Err(findings),
    }
}

/// Reads what is sound of an element, and says what is not: so that faults which only show in what
/// the value means can be told together with those of its form.
#[must_use]
pub fn salvage<T: DeserializeOwned>(
    element: &Element,
    skip: fn(&str) -> bool,
) -> (Option<T>, Vec<Finding>) {
    let struck = RefCell::new(BTreeSet::new());
    let mut findings = Vec::new();
    while findings.len() < MOST_FINDINGS {
        let reader = Reader { struck: &struck, skip };
        match T::deserialize(Value { reader, node: Node::Element(element), top: true }) {
            Ok(value) => return (Some(value), findings),
            Err(error) => {
                let culprit = error.culprit.unwrap_or(element.name_span);
                findings.extend(error.into_finding(element.name_span));
                if !struck.borrow_mut().insert(culprit) || culprit == element.name_span {
                    break;
                }
            }
        }
    }
    (None, findings)
}

#[derive(Debug)]
struct Error {
    message: String,
    help: Option<String>,
    /// Where the caret goes.
    place: Option<Span>,
    /// The node to strike out before reading on, by the place of its name.
    culprit: Option<Span>,
    /// The field whose absence is the error.
    missing: Option<&'static str>,
    /// Only follows from an error that was already found.
    silent: bool,
}

impl Error {
    fn new(message: String) -> Self {
        Error { message, help: None, place: None, culprit: None, missing: None, silent: false }
    }

    fn from_finding(finding: Finding, culprit: Span) -> Self {
        Error {
            help: finding.help,
            place: finding.span,
            culprit: Some(culprit),
            ..Error::new(finding.message)
        }
    }

    /// Gives the error a place unless one further inside already has.
    fn or_at(mut self, place: Span, culprit: Span) -> Self {
        self.place.get_or_insert(place);
        self.culprit.get_or_insert(culprit);
        self
    }

    fn into_finding(self, otherwise: Span) -> Option<Finding> {
        if self.silent {
            return None;
        }
        let mut finding = Finding::error(self.place.unwrap_or(otherwise), self.message);
        finding.help = self.help;
        Some(finding)
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}

impl serde::de::Error for Error {
    fn custom<T: fmt::Display>(message: T) -> Self {
        Error::new(message.to_string())
    }

    fn invalid_type(_: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Error::new(format!("expected {expected}"))
    }

    fn unknown_variant(variant: &str, expected: &'static [&'static str]) -> Self {
        let help = match nearest(variant, expected.iter().copied()) {
            Some(nearest) => format!("did you mean \"{nearest}\"?"),
            None => format!("one of: {}", expected.join(", ")),
        };
        let message = format!("\"{variant}\" is not known here");
        Error { help: Some(help), ..Error::new(message) }
    }

    fn missing_field(field: &'static str) -> Self {
        let message = match field {
            TEXT => "a value is missing here".to_owned(),
            _ => format!("\"{field}\" is missing"),
        };
        Error { missing: Some(field), ..Error::new(message) }
    }
}

#[derive(Clone, Copy)]
struct Reader<'a> {
    struck: &'a RefCell<BTreeSet<Span>>,
    skip: fn(&str) -> bool,
}

impl Reader<'_> {
    fn is_struck(&self, span: Span) -> bool {
        self.struck.borrow().contains(&span)
    }
}

#[derive(Clone, Copy)]
enum Node<'a> {
    Attribute(&'a AttributeNode),
    Element(&'a Element),
    Text(&'a Element),
}

impl<'a> Node<'a> {
    fn text(self) -> &'a str {
        match self {
            Node::Attribute(attribute) => &attribute.value,
            Node::Element(element) | Node::Text(element) => element.trimmed_text(),
        }
    }

    /// Where the value stands.
    fn place(self) -> Span {
        match self {
            Node::Attribute(attribute) => attribute.value_span,
            Node::Element(element) | Node::Text(element) => element.text_span,
        }
    }

    /// What is struck out when the value is bad.
    fn identity(self) -> Span {
        match self {
            Node::Attribute(attribute) => attribute.name_span,
            Node::Element(element) => element.name_span,
            Node::Text(element) => element.text_span,
        }
    }
}

/// What one field of a struct is read from.
struct Field<'a> {
    name: &'a str,
    nodes: Vec<Node<'a>>,
}

#[derive(Clone, Copy)]
struct Value<'a> {
    reader: Reader<'a>,
    node: Node<'a>,
    /// Whether this is the element that `from_element` was called with.
    top: bool,
}

impl<'a> Value<'a> {
    fn inner(&self, node: Node<'a>) -> Value<'a> {
        Value { reader: self.reader, node, top: false }
    }

    fn wrong(&self, message: String) -> Error {
        Error::new(message).or_at(self.node.place(), self.node.identity())
    }

    /// The text of a plain value, which has nothing beside it.
    fn plain(&self) -> Result<&'a str, Error> {
        let Node::Element(element) = self.node else { return Ok(self.node.text()) };
        let unwanted = |name: &str, span: Span| {
            let message = format!("\"{name}\" is not expected in <{}>", element.name);
            Error::new(message).or_at(span, span)
        };
        for attribute in &element.attributes {
            if !self.reader.is_struck(attribute.name_span) {
                return Err(unwanted(&attribute.name, attribute.name_span));
            }
        }
        for child in &element.children {
            if !self.reader.is_struck(child.name_span) {
                return Err(unwanted(&child.name, child.name_span));
            }
        }
        Ok(element.trimmed_text())
    }

    fn number<T: std::str::FromStr>(&self, bounds: &str) -> Result<T, Error> {
        let text = self.plain()?.trim();
        text.parse().map_err(|_| match text {
            "" => self.wrong(format!("expected a number ({bounds})")),
            _ if is_integer(text) => self.wrong(format!("{text} is out of range ({bounds})")),
            _ => self.wrong(format!("\"{text}\" is not a number ({bounds})")),
        })
    }

    /// The fields of an element, each name once, in the order in which they first stand.
    fn fields(&self, element: &'a Element, known: &[&str]) -> Result<Vec<Field<'a>>, Error> {
        let mut fields: Vec<Field<'a>> = Vec::new();
        let attributes = element.attributes.iter().map(|node| (&*node.name, Node::Attribute(node)));
        let children = element.children.iter().map(|node| (&*node.name, Node::Element(node)));
        for (name, node) in attributes.chain(children) {
            let skipped = self.top && (self.reader.skip)(name);
            if skipped || self.reader.is_struck(node.identity()) {
                continue;
            }
            if !known.contains(&name) {
                let what = match node {
                    Node::Attribute(_) => "attribute",
                    _ => "element",
                };
                let known = known.iter().copied().filter(|name| *name != TEXT);
                let finding = Finding::unknown(node.identity(), what, name, known);
                return Err(Error::from_finding(finding, node.identity()));
            }
            match fields.iter_mut().find(|field| field.name == name) {
                Some(field) => field.nodes.push(node),
                None => fields.push(Field { name, nodes: vec![node] }),
            }
        }
        self.add_text(element, known, &mut fields)?;
        Ok(fields)
    }

    fn add_text(
        &self,
        element: &'a Element,
        known: &[&str],
        fields: &mut Vec<Field<'a>>,
    ) -> Result<(), Error> {
        let node = Node::Text(element);
        if element.trimmed_text().is_empty() || self.reader.is_struck(node.identity()) {
            return Ok(());
        }
        if known.contains(&TEXT) {
            fields.push(Field { name: TEXT, nodes: vec![node] });
            return Ok(());
        }
        let message = format!("text is not expected directly in <{}>", element.name);
        Err(Error::new(message).or_at(node.place(), node.identity()))
    }

    /// Whether a field of this name was there but had to be struck out.
    fn was_struck(&self, element: &Element, name: &str) -> bool {
        let attributes = element.attributes.iter().map(|node| (&node.name, node.name_span));
        let children = element.children.iter().map(|node| (&node.name, node.name_span));
        attributes.chain(children).any(|(other, span)| other == name && self.reader.is_struck(span))
            || (name == TEXT && self.reader.is_struck(element.text_span))
    }
}

macro_rules! numbers {
    ($($method:ident $visit:ident $type:ident,)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            let bounds = format!("{} to {}", $type::MIN, $type::MAX);
            let number = self.number::<$type>(&bounds)?;
            visitor.$visit(number).map_err(|error: Error| {
                error.or_at(self.node.place(), self.node.identity())
            })
        })+
    };
}

impl<'de> Deserializer<'de> for Value<'_> {
    type Error = Error;

    numbers! {
        deserialize_u8 visit_u8 u8,
        deserialize_u16 visit_u16 u16,
        deserialize_u32 visit_u32 u32,
        deserialize_u64 visit_u64 u64,
        deserialize_i8 visit_i8 i8,
        deserialize_i16 visit_i16 i16,
        deserialize_i32 visit_i32 i32,
        deserialize_i64 visit_i64 i64,
        deserialize_f32 visit_f32 f32,
        deserialize_f64 visit_f64 f64,
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let text = self.plain()?;
        visitor
            .visit_str(text)
            .map_err(|error: Error| error.or_at(self.node.place(), self.node.identity()))
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        match self.plain()?.trim() {
            "true" | "yes" => visitor.visit_bool(true),
            "false" | "no" => visitor.visit_bool(false),
            other => Err(self.wrong(format!("\"{other}\" is neither true nor false"))),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_seq(List { values: vec![self].into_iter() })
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        let text = self.plain()?.trim();
        let variant: StrDeserializer<'_, Error> = text.into_deserializer();
        visitor
            .visit_enum(variant)
            .map_err(|error: Error| error.or_at(self.node.place(), self.node.identity()))
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        if name == SPANNED {
            return visitor.visit_map(WithPlace { value: self, next: 0 });
        }
        let Node::Element(element) = self.node else {
            if !fields.contains(&TEXT) {
                return Err(self.wrong("expected an element, not plain text".to_owned()));
            }
            // An attribute is as good as an element that holds nothing but text.
            let text = Field { name: TEXT, nodes: vec![self.node] };
            let entries = Fields { value: self, rest: vec![text].into_iter(), current: None };
            return visitor
                .visit_map(entries)
                .map_err(|error| error.or_at(self.node.place(), self.node.identity()));
        };
        let found = self.fields(element, fields)?;
        let entries = Fields { value: self, rest: found.into_iter(), current: None };
        visitor.visit_map(entries).map_err(|mut error| {
            if error.place.is_none()
                && let Some(missing) = error.missing
            {
                error.silent = self.was_struck(element, missing);
                error.message = format!("{} in <{}>", error.message, element.name);
            }
            error.or_at(element.name_span, element.name_span)
        })
    }

    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct tuple tuple_struct map identifier
        ignored_any
    }
}

/// The fields of one element.
struct Fields<'a> {
    value: Value<'a>,
    rest: std::vec::IntoIter<Field<'a>>,
    current: Option<Field<'a>>,
}

impl<'de> MapAccess<'de> for Fields<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        self.current = self.rest.next();
        let Some(field) = &self.current else { return Ok(None) };
        let name: StrDeserializer<'_, Error> = field.name.into_deserializer();
        seed.deserialize(name).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let field = self.current.take().ok_or_else(|| Error::custom("a value without a name"))?;
        let first = field.nodes.first().copied();
        let value = seed.deserialize(Group { value: self.value, nodes: field.nodes });
        value.map_err(|error| match first {
            Some(node) => error.or_at(node.place(), node.identity()),
            None => error,
        })
    }
}

/// Everything of one name: a list takes all of it, any other value must be alone.
struct Group<'a> {
    value: Value<'a>,
    nodes: Vec<Node<'a>>,
}

impl<'a> Group<'a> {
    fn only(self) -> Result<Value<'a>, Error> {
        if let Some(second) = self.nodes.get(1) {
            let place = second.identity();
            return Err(
                Error::new("given twice; only one is possible here".to_owned()).or_at(place, place)
            );
        }
        match self.nodes.first() {
            Some(node) => Ok(self.value.inner(*node)),
            None => Err(Error::custom("a field without a value")),
        }
    }
}

macro_rules! only {
    ($($method:ident)+) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
            self.only()?.$method(visitor)
        })+
    };
}

impl<'de> Deserializer<'de> for Group<'_> {
    type Error = Error;

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        let value = self.value;
        let values: Vec<Value<'_>> = self.nodes.iter().map(|node| value.inner(*node)).collect();
        visitor.visit_seq(List { values: values.into_iter() })
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Error> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.only()?.deserialize_enum(name, variants, visitor)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.only()?.deserialize_struct(name, fields, visitor)
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_any(visitor)
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: usize,
        visitor: V,
    ) -> Result<V::Value, Error> {
        self.deserialize_seq(visitor)
    }

    only! {
        deserialize_any deserialize_bool deserialize_i8 deserialize_i16 deserialize_i32
        deserialize_i64 deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64
        deserialize_f32 deserialize_f64 deserialize_char deserialize_str deserialize_string
        deserialize_bytes deserialize_byte_buf deserialize_unit deserialize_map
        deserialize_identifier deserialize_ignored_any
    }
}

struct List<'a> {
    values: std::vec::IntoIter<Value<'a>>,
}

impl<'de> SeqAccess<'de> for List<'_> {
    type Error = Error;

    fn next_element_seed<S: DeserializeSeed<'de>>(
        &mut self,
        seed: S,
    ) -> Result<Option<S::Value>, Error> {
        let Some(value) = self.values.next() else { return Ok(None) };
        let element = seed.deserialize(value);
        element.map(Some).map_err(|error| error.or_at(value.node.place(), value.node.identity()))
    }
}

/// A value together with its place, as [`Spanned`](super::value::Spanned) asks for it.
struct WithPlace<'a> {
    value: Value<'a>,
    next: usize,
}

impl<'de> MapAccess<'de> for WithPlace<'_> {
    type Error = Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Error> {
        let Some(name) = SPANNED_FIELDS.get(self.next) else { return Ok(None) };
        seed.deserialize(BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, seed: S) -> Result<S::Value, Error> {
        let place = self.value.node.place();
        let number = match self.next {
            0 => place.source.index(),
            1 => as_u64(place.start)?,
            2 => as_u64(place.end)?,
            _ => return seed.deserialize(self.value),
        };
        self.next += 1;
        let number: U64Deserializer<Error> = number.into_deserializer();
        seed.deserialize(number)
    }
}

/// Whether this is a whole number, however large.
fn is_integer(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|octet| octet.is_ascii_digit())
}

fn as_u64(number: usize) -> Result<u64, Error> {
    u64::try_from(number).map_err(Error::custom)
}

#[cfg(test)]
mod tests;
