//! Cuts the text of a statement into what the server sees and what is bound, letter by letter:
//! literals, names in quotes and comments, and the macros in each of them.

use mppd_engine::language::Piece;
use mppd_engine::{Finding, Span, Template};

use super::is_word;

/// One character, or one macro.
#[derive(Debug, Clone)]
enum Atom {
    Letter(char),
    Macro(Template),
}

pub(super) struct Compiler {
    atoms: Vec<(Atom, Span)>,
    at: usize,
    pub(super) sql: String,
    pub(super) parameters: Vec<Template>,
    pub(super) findings: Vec<Finding>,
}

impl Compiler {
    pub(super) fn new(pieces: Vec<Piece>) -> Self {
        let mut atoms = Vec::new();
        for piece in pieces {
            match piece {
                Piece::Macro { template, span } => atoms.push((Atom::Macro(template), span)),
                Piece::Text { text, span } => {
                    let verbatim = span.end.saturating_sub(span.start) == text.len();
                    for (offset, letter) in text.char_indices() {
                        let start = span.start + offset;
                        let place = Span { start, end: start + letter.len_utf8(), ..span };
                        atoms.push((Atom::Letter(letter), if verbatim { place } else { span }));
                    }
                }
            }
        }
        Compiler { atoms, at: 0, sql: String::new(), parameters: Vec::new(), findings: Vec::new() }
    }

    pub(super) fn run(&mut self) {
        while let Some((atom, span)) = self.next() {
            match atom {
                Atom::Macro(template) => self.parameter(template, span),
                Atom::Letter('\'') => self.literal(span),
                Atom::Letter(quote @ ('"' | '`')) => self.identifier(quote, span),
                Atom::Letter('#') => self.line_comment(),
                Atom::Letter('-') if self.begins_comment() => self.line_comment(),
                Atom::Letter('/') if self.peek() == Some('*') => self.block_comment(span),
                Atom::Letter(';') => self.end(span),
                Atom::Letter('?') => self.question_mark(span),
                Atom::Letter(':') => self.colon(span),
                Atom::Letter(letter) => self.plain(letter),
            }
        }
    }

    fn next(&mut self) -> Option<(Atom, Span)> {
        let next = self.atoms.get(self.at).cloned();
        self.at += usize::from(next.is_some());
        next
    }

    /// The next character, if it is one.
    fn peek(&self) -> Option<char> {
        self.peek_at(0)
    }

    fn peek_at(&self, offset: usize) -> Option<char> {
        match self.atoms.get(self.at + offset) {
            Some((Atom::Letter(letter), _)) => Some(*letter),
            _ => None,
        }
    }

    fn fault(&mut self, span: Span, message: &str, help: &str) {
        self.findings.push(Finding::error(span, message).with_help(help));
    }

    fn plain(&mut self, letter: char) {
        // Two of them, with a blank put behind, would be a comment to the server.
        if letter == '-' && self.sql.ends_with('-') {
            self.sql.push(' ');
        }
        self.sql.push(letter);
        // The client library passes over what stands directly behind these, also over a quote.
        if matches!(letter, '-' | '/') && matches!(self.peek(), Some('\'' | '"' | '`')) {
            self.sql.push(' ');
        }
    }

    fn parameter(&mut self, template: Template, span: Span) {
        let before = self.sql.chars().next_back().is_some_and(joins);
        let after = match self.atoms.get(self.at) {
            Some((Atom::Letter(letter), _)) => joins(*letter),
            Some((Atom::Macro(_), _)) => true,
            None => false,
        };
        if before || after {
            self.fault(
                span,
                "a macro is a value of its own in a statement, not a part of a word",
                "write it inside of a literal with the rest: '%$name'; names of tables and \
                 columns can't be macros",
            );
        }
        self.bind(template);
    }

    fn bind(&mut self, template: Template) {
        self.sql.push('?');
        self.parameters.push(template);
    }

    /// Behind an opening single quote.
    fn literal(&mut self, opened: Span) {
        let is_prefix = |letter| is_word(letter) || matches!(letter, '@' | '.');
        let has_prefix =
            self.sql.chars().next_back().is_some_and(is_prefix) || self.is_introduced();
        let mut literal = Literal::default();
        let mut backslashes = 0;
        loop {
            let Some((atom, span)) = self.next() else {
                return self.unclosed(opened);
            };
            let letter = match atom {
                Atom::Letter(letter) => letter,
                Atom::Macro(template) => {
                    literal.take(template, span);
                    backslashes = 0;
                    continue;
                }
            };
            if letter == '\'' && backslashes % 2 == 1 {
                self.ambiguous_quote(span);
            } else if letter == '\'' && self.peek() == Some('\'') {
                self.at += 1;
                literal.verbatim.push('\'');
            } else if letter == '\'' {
                break;
            }
            literal.push(letter, span);
            backslashes = if letter == '\\' { backslashes + 1 } else { 0 };
        }
        self.close(literal, has_prefix);
    }

    fn close(&mut self, literal: Literal, has_prefix: bool) {
        let Some(span) = literal.first_macro else {
            self.sql.push('\'');
            self.sql.push_str(&literal.verbatim);
            self.sql.push('\'');
            return;
        };
        if has_prefix {
            self.fault(
                span,
                "a literal with a prefix can't hold a macro",
                "leave the prefix away: values are bound octet for octet",
            );
        }
        if let Some(backslash) = literal.backslash {
            self.fault(
                backslash,
                "in a literal with macros a backslash would depend on the server's sql_mode",
                "write that part as a literal of its own: concat('…', $name)",
            );
        }
        self.bind(literal.template());
    }

    /// Whether a character set's name stands in front: `_latin1 '…'`.
    fn is_introduced(&self) -> bool {
        let before = self.sql.trim_end();
        let word = before.rsplit(|letter: char| !is_word(letter)).next().unwrap_or_default();
        word.starts_with('_')
    }

    /// Behind an opening double quote or backtick.
    fn identifier(&mut self, quote: char, opened: Span) {
        self.sql.push(quote);
        let mut backslashes = 0;
        loop {
            let Some((atom, span)) = self.next() else {
                return self.unclosed(opened);
            };
            let letter = match atom {
                Atom::Letter(letter) => letter,
                Atom::Macro(_) if quote == '"' => {
                    self.fault(
                        span,
                        "what stands in double quotes is a name where sql_mode has ANSI_QUOTES",
                        "write single quotes, or the macro alone",
                    );
                    continue;
                }
                Atom::Macro(_) => {
                    self.fault(
                        span,
                        "the name of a table or column can't be a macro",
                        "values can be, outside of backticks",
                    );
                    continue;
                }
            };
            self.sql.push(letter);
            if letter == quote && quote == '"' && backslashes % 2 == 1 {
                self.ambiguous_quote(span);
            } else if letter == quote && self.peek() == Some(quote) {
                self.at += 1;
                self.sql.push(quote);
            } else if letter == quote {
                return;
            }
            backslashes = if letter == '\\' { backslashes + 1 } else { 0 };
        }
    }

    fn ambiguous_quote(&mut self, span: Span) {
        self.fault(
            span,
            "whether a quote behind a backslash ends the literal depends on the server's sql_mode",
            "write the quote twice",
        );
    }

    fn unclosed(&mut self, opened: Span) {
        self.findings.push(Finding::error(opened, "this quote is not closed"));
    }

    /// Two dashes begin a comment only where white space or a control character of ASCII follows,
    /// or nothing.
    fn begins_comment(&self) -> bool {
        let behind = self.atoms.get(self.at + 1).map(|(atom, _)| atom);
        let ends = match behind {
            Some(Atom::Letter(letter)) => *letter == ' ' || letter.is_ascii_control(),
            Some(Atom::Macro(_)) => false,
            None => true,
        };
        self.peek() == Some('-') && ends
    }

    fn line_comment(&mut self) {
        self.sql.push(' ');
        while let Some((atom, span)) = self.next() {
            match atom {
                Atom::Letter('\n') => return,
                Atom::Letter(_) => {}
                Atom::Macro(_) => self.macro_in_comment(span),
            }
        }
    }

    /// Behind the slash of `/*`.
    fn block_comment(&mut self, opened: Span) {
        self.at += 1;
        let is_code =
            self.peek() == Some('!') || self.peek() == Some('M') && self.peek_at(1) == Some('!');
        if is_code {
            self.fault(
                opened,
                "what such a comment says depends on the version of the server",
                "write the statement for the server that you have",
            );
        }
        let is_hint = self.peek() == Some('+');
        let mut text = String::from("/*");
        while let Some((atom, span)) = self.next() {
            match atom {
                Atom::Letter('*') if self.peek() == Some('/') => {
                    self.at += 1;
                    text.push_str("*/");
                    self.sql.push_str(if is_hint { &text } else { " " });
                    return;
                }
                Atom::Letter(letter) => text.push(letter),
                Atom::Macro(_) => self.macro_in_comment(span),
            }
        }
        self.findings.push(Finding::error(opened, "this comment is not closed"));
    }

    fn macro_in_comment(&mut self, span: Span) {
        self.fault(
            span,
            "a macro in a comment of SQL has no value to give",
            "write \"$$\" for a dollar, or comment out with <!-- -->",
        );
    }

    /// Behind a semicolon: nothing but white space and comments.
    fn end(&mut self, semicolon: Span) {
        let length = self.sql.len();
        let macros = self.parameters.len();
        while let Some((atom, span)) = self.next() {
            match atom {
                Atom::Letter('#') => self.line_comment(),
                Atom::Letter('-') if self.begins_comment() => self.line_comment(),
                Atom::Letter('/') if self.peek() == Some('*') => self.block_comment(span),
                Atom::Letter(letter) if letter.is_whitespace() || letter == ';' => {}
                _ => {
                    self.fault(
                        semicolon,
                        "only one statement is expected here",
                        "write a <query> for each",
                    );
                    break;
                }
            }
        }
        self.at = self.atoms.len();
        self.sql.truncate(length);
        self.parameters.truncate(macros);
    }

    fn question_mark(&mut self, span: Span) {
        self.fault(span, "a question mark would be a parameter", "write the macro in its place");
    }

    fn colon(&mut self, span: Span) {
        self.sql.push(':');
        if self.peek().is_some_and(|letter| letter.is_ascii_lowercase() || letter == '_') {
            self.fault(
                span,
                "a name behind a colon would be a parameter",
                "write the macro in its place; behind a label, write a blank",
            );
        }
    }
}

/// Characters that would make one token with a parameter beside them.
fn joins(letter: char) -> bool {
    is_word(letter) || matches!(letter, '.' | '@' | '?' | '\'' | '"' | '`')
}

/// What stands between single quotes.
#[derive(Default)]
struct Literal {
    /// As written.
    verbatim: String,
    /// The text since the last macro, quotes no longer doubled.
    text: String,
    parts: Vec<Template>,
    first_macro: Option<Span>,
    backslash: Option<Span>,
}

impl Literal {
    fn push(&mut self, letter: char, span: Span) {
        self.verbatim.push(letter);
        self.text.push(letter);
        if letter == '\\' {
            self.backslash.get_or_insert(span);
        }
    }

    fn take(&mut self, template: Template, span: Span) {
        self.cut();
        self.parts.push(template);
        self.first_macro.get_or_insert(span);
    }

    fn cut(&mut self) {
        if !self.text.is_empty() {
            self.parts.push(Template::constant(std::mem::take(&mut self.text)));
        }
    }

    fn template(mut self) -> Template {
        self.cut();
        Template::concatenate(self.parts)
    }
}
