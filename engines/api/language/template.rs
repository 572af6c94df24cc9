//! Texts with macros.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use super::compile::Compiler;
use super::expression::Expression;
use super::parser::{self, Cut};
use super::scope::Scope;
use super::syntax::Literal;
use super::view::View;
use crate::config::{Finding, Span, Spanned};

/// A text with macros, compiled. Cloning is cheap.
///
/// Shown, it is the same text in its canonical form.
///
/// ```
/// use mppd_engine::config::{Origin, Source, SourceMap, Span, Spanned};
/// use mppd_engine::language::{Scope, Template};
///
/// # let mut sources = SourceMap::default();
/// # let value = "REJECT  $sender.domain is\n not welcome";
/// # let origin = Origin::CommandLine;
/// # let source = sources.add(Source { origin, text: value.to_owned() });
/// # let span = Span { source, start: 0, end: value.len() };
/// let text = Spanned { value: "REJECT  $sender.domain is\n not welcome", span };
/// let template = Template::compile(&text, &mut Scope::default()).unwrap();
/// assert_eq!(template.to_string(), "REJECT ${sender.domain} is not welcome");
/// assert_eq!(template.as_constant(), None);
/// ```
#[derive(Debug, Clone)]
pub struct Template(Arc<Compiled>);

#[derive(Debug)]
struct Compiled {
    source: String,
    expression: Expression,
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
    pub fn compile(text: &Spanned<&str>, scope: &mut Scope) -> Result<Self, Vec<Finding>> {
        let (read, faults) = parser::template(text.value);
        let mut compiler = Compiler::new(text, scope, faults);
        let expression = compiler.text(&read);
        compiler.finish(Template::new(read.to_string(), expression))
    }

    /// Cuts a text at its macros. White space and backslashes stay as they are.
    ///
    /// # Errors
    /// Everything that is wrong with its macros, each with its place.
    pub fn pieces(text: &Spanned<&str>, scope: &mut Scope) -> Result<Vec<Piece>, Vec<Finding>> {
        let (cuts, faults) = parser::pieces(text.value);
        let mut compiler = Compiler::new(text, scope, faults);
        let pieces = cuts.into_iter().map(|cut| match cut {
            Cut::Text(text, at) => Piece::Text { text, span: compiler.span(at) },
            Cut::Macro(call) => Piece::Macro {
                template: Template::new(call.to_string(), compiler.call(&call)),
                span: compiler.span(call.at),
            },
        });
        let pieces = pieces.collect();
        compiler.finish(pieces)
    }

    fn new(source: String, expression: Expression) -> Self {
        Template(Arc::new(Compiled { source, expression }))
    }

    /// A text without macros.
    #[must_use]
    pub fn constant(text: impl AsRef<[u8]>) -> Self {
        let text = text.as_ref();
        Template::new(Literal(text).to_string(), Expression::Constant(text.into()))
    }

    /// The templates one behind the other, as one.
    #[must_use]
    pub fn concatenate(templates: impl IntoIterator<Item = Template>) -> Self {
        let templates: Vec<Template> = templates.into_iter().collect();
        let source = templates.iter().map(|template| template.0.source.as_str()).collect();
        let expressions = templates.into_iter().map(|template| match template.as_constant() {
            Some(constant) => Expression::Constant(constant.into()),
            None => Expression::Other(template),
        });
        Template::new(source, Expression::sequence(expressions))
    }

    pub(super) fn expression(&self) -> &Expression {
        &self.0.expression
    }

    /// Its value, if it is the same for every request.
    #[must_use]
    pub fn as_constant(&self) -> Option<&[u8]> {
        self.0.expression.as_constant()
    }

    /// Its value for one request. A constant, or a single attribute, is lent.
    #[must_use]
    pub fn evaluate<'a>(&'a self, view: &View<'a>) -> Cow<'a, [u8]> {
        self.0.expression.evaluate(view)
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
    pub fn append_to(&self, view: &View<'_>, octets: &mut Vec<u8>) {
        self.0.expression.append_to(view, octets);
    }
}

impl fmt::Display for Template {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.source)
    }
}
