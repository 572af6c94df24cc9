//! Texts with macros.

use std::borrow::Cow;
use std::sync::Arc;

use super::scope::Scope;
use super::view::View;
use crate::config::{Finding, Span, Spanned};

/// A text with macros, compiled. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Template {
    constant: Arc<[u8]>,
}

/// One piece of a text whose macros do not become part of it: a statement of SQL, say, where each
/// macro is a parameter.
#[derive(Debug, Clone)]
pub enum Piece {
    /// Text as it stands, white space included; `$$` has become a dollar, nothing else is changed.
    Text {
        /// The text.
        text: String,
        /// Its place; that of the whole where the text does not stand in the source as it is.
        span: Span,
    },
    /// One macro.
    Macro {
        /// What it evaluates to.
        template: Template,
        /// Its place.
        span: Span,
    },
}

impl Template {
    /// Compiles a text. White space collapses, escapes are resolved.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn compile(text: &Spanned<&str>, _scope: &mut Scope) -> Result<Self, Vec<Finding>> {
        let plain = crate::config::plain_text(text).map_err(|finding| vec![finding])?;
        Ok(Template::constant(plain))
    }

    /// Cuts a text at its macros. White space and backslashes stay as they are.
    ///
    /// # Errors
    /// Everything that is wrong with its macros, each with its place.
    pub fn pieces(text: &Spanned<&str>, scope: &mut Scope) -> Result<Vec<Piece>, Vec<Finding>> {
        let template = Template::compile(text, scope)?;
        let text_of = String::from_utf8_lossy(&template.constant).into_owned();
        Ok(vec![Piece::Text { text: text_of, span: text.span }])
    }

    /// A text without macros.
    #[must_use]
    pub fn constant(text: impl AsRef<[u8]>) -> Self {
        Template { constant: text.as_ref().into() }
    }

    /// The templates one behind the other, as one.
    #[must_use]
    pub fn concatenate(templates: impl IntoIterator<Item = Template>) -> Self {
        let whole: Vec<u8> =
            templates.into_iter().flat_map(|template| template.constant.to_vec()).collect();
        Template::constant(whole)
    }

    /// Its value, if it is the same for every request.
    #[must_use]
    pub fn as_constant(&self) -> Option<&[u8]> {
        Some(&self.constant)
    }

    /// Its value for one request. A constant, or a single attribute, is lent.
    #[must_use]
    pub fn evaluate<'a>(&'a self, _view: &View<'a>) -> Cow<'a, [u8]> {
        Cow::Borrowed(&self.constant)
    }

    /// Its value for one request as text, with U+FFFD for what is not UTF-8.
    #[must_use]
    pub fn evaluate_text<'a>(&'a self, view: &View<'a>) -> Cow<'a, str> {
        match self.evaluate(view) {
            Cow::Borrowed(octets) => String::from_utf8_lossy(octets),
            Cow::Owned(octets) => String::from_utf8(octets)
                .unwrap_or_else(|bad| String::from_utf8_lossy(bad.as_bytes()).into_owned())
                .into(),
        }
    }

    /// Appends its value for one request.
    pub fn append_to(&self, _view: &View<'_>, octets: &mut Vec<u8>) {
        octets.extend_from_slice(&self.constant);
    }
}
