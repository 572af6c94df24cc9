//! One element of the configuration, includes already in place, every part with its position.

use super::source::Span;

/// An XML element.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Element {
    /// Its name.
    pub name: String,
    /// Where the name stands in the start tag.
    pub name_span: Span,
    /// The whole element.
    pub span: Span,
    /// Its attributes, in order.
    pub attributes: Vec<AttributeNode>,
    /// The elements inside, in order.
    pub children: Vec<Element>,
    /// The text directly inside, references resolved, comments gone, ends not trimmed.
    pub text: String,
    /// Where that text stands, without white space at its ends; the name where there is none.
    pub text_span: Span,
}

/// An XML attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttributeNode {
    /// Its name.
    pub name: String,
    /// Where the name stands.
    pub name_span: Span,
    /// Its value, references resolved.
    pub value: String,
    /// Where the value stands, without the quotes.
    pub value_span: Span,
}

impl Element {
    /// The attribute of this name.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&AttributeNode> {
        self.attributes.iter().find(|attribute| attribute.name == name)
    }

    /// The first child of this name.
    #[must_use]
    pub fn child(&self, name: &str) -> Option<&Element> {
        self.children.iter().find(|child| child.name == name)
    }

    /// Every child of this name, in order.
    pub fn children_named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Element> {
        self.children.iter().filter(move |child| child.name == name)
    }

    /// The text, without white space at its ends.
    #[must_use]
    pub fn trimmed_text(&self) -> &str {
        self.text.trim()
    }
}
