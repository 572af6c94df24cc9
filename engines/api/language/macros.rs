//! Every macro of the language, in one table: what the parser knows, what a misspelt name is
//! compared with, and what `mppd reference macros` prints.
//!
//! What an engine's texts call its own (`$status`, `$site`) is not in it: that is a matter of the
//! engine.

mod table;

use self::table::MACROS;
use super::expression::{GlobalsVerb, Live, PartOf};
use super::functions::{Check, Function};
use crate::attribute::Attribute;
use crate::stage::Stages;

/// What a macro belongs to, for the reader of the reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MacroFamily {
    /// The envelope and the client.
    Request,
    /// What the server made of the request so far.
    Exchange,
    /// Variables of one request.
    Variables,
    /// Texts.
    Text,
    /// Domain names.
    Domain,
    /// Hashes.
    Digest,
    /// Encodings and escapes.
    Encoding,
    /// Time.
    Time,
    /// The server itself.
    Server,
    /// White space.
    Blank,
}

impl MacroFamily {
    /// Every family, in the order of the reference.
    pub const ALL: &'static [MacroFamily] = &[
        MacroFamily::Request,
        MacroFamily::Exchange,
        MacroFamily::Variables,
        MacroFamily::Text,
        MacroFamily::Domain,
        MacroFamily::Digest,
        MacroFamily::Encoding,
        MacroFamily::Time,
        MacroFamily::Server,
        MacroFamily::Blank,
    ];

    /// The heading of the family.
    #[must_use]
    pub const fn title(self) -> &'static str {
        match self {
            MacroFamily::Request => "The envelope and the client",
            MacroFamily::Exchange => "What the server made of the request",
            MacroFamily::Variables => "Variables of one request",
            MacroFamily::Text => "Texts",
            MacroFamily::Domain => "Domain names",
            MacroFamily::Digest => "Hashes",
            MacroFamily::Encoding => "Encodings and escapes",
            MacroFamily::Time => "Time",
            MacroFamily::Server => "The server",
            MacroFamily::Blank => "White space",
        }
    }
}

/// A macro, as the reference tells of it.
#[derive(Debug, Clone, Copy)]
pub struct MacroDoc {
    /// Its name, without the dollar.
    pub name: &'static str,
    /// What it belongs to.
    pub family: MacroFamily,
    /// Its arguments in order, those that may be left out in square brackets; empty where it takes
    /// none.
    pub arguments: &'static str,
    /// What may follow the name behind a dot.
    pub parts: &'static [PartDoc],
    /// The stages at which it can have a value.
    pub stages: Stages,
    /// What it is, or what it does.
    pub meaning: &'static str,
    /// Texts, each with what comes of it for [`example_attributes`].
    pub examples: &'static [(&'static str, &'static str)],
    pub(super) value: Value,
}

/// A part of a macro.
#[derive(Debug, Clone, Copy)]
pub struct PartDoc {
    /// How it is written behind the dot: `domain`, `network(BITS)`.
    pub form: &'static str,
    /// What it is.
    pub meaning: &'static str,
    /// A text, with what comes of it for [`example_attributes`]; empty where there is none.
    pub example: (&'static str, &'static str),
    pub(super) value: Value,
}

impl PartDoc {
    /// The name, without what follows it in parentheses.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.form.split_once('(').map_or(self.form, |(name, _)| name)
    }
}

impl MacroDoc {
    /// How many arguments it needs, and how many it takes.
    pub(super) fn arity(&self) -> (usize, usize) {
        let words = self.arguments.split_whitespace();
        let needed = words.clone().filter(|word| !word.starts_with('[')).count();
        (needed, words.count())
    }

    pub(super) fn part(&self, name: &str) -> Option<&'static PartDoc> {
        self.parts.iter().find(|part| part.name() == name)
    }
}

/// How a macro gets its value.
#[derive(Debug, Clone, Copy)]
pub(super) enum Value {
    Constant(&'static [u8]),
    Attribute(Attribute),
    Part(Attribute, PartOf),
    Network,
    Live(Live),
    Decision(Live),
    Exception(Live),
    Pure(Function),
    /// One whose constant arguments are looked at when the configuration is read.
    Checked(Function, Check),
    /// A time in this format.
    Time(&'static str),
    /// A time in the format that the argument gives.
    CurrentTime,
    Globals(GlobalsVerb),
    IfNotEmpty,
    /// Its argument as it is.
    Itself,
    /// An attribute of the request, by the name behind the dot.
    Request,
    /// What an engine came to: its ID and a name behind the dot.
    Engine,
    /// One of the engine's own values, by the name that the argument gives.
    Field,
}

/// The macro of this name.
pub(super) fn find(name: &str) -> Option<&'static MacroDoc> {
    MACROS.iter().find(|entry| entry.name == name)
}

/// Every macro, in the order of the reference.
#[must_use]
pub fn macros() -> &'static [MacroDoc] {
    MACROS
}

/// The request that the examples of the table are about.
#[must_use]
pub fn example_attributes() -> &'static [(&'static str, &'static str)] {
    &[
        ("protocol_state", "RCPT"),
        ("client_address", "192.0.2.25"),
        ("client_name", "mail.example.net"),
        ("helo_name", "mail.example.net"),
        ("sender", "Alice@Mail.Example.com"),
        ("recipient", "bob@example.org"),
        ("sasl_username", "alice@example.com"),
        ("size", "4096"),
        ("queue_id", "4jXR8y25pzz1VnSl"),
    ]
}
