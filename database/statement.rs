//! A statement of SQL whose macros are bound parameters: there is no way to paste a value into it.
//!
//! The text is cut into what the server sees and what is bound, by the rules of MySQL and MariaDB
//! in every `sql_mode`. Where two modes would read a text differently, it is refused, and so is
//! what the client library would take for something else than the server.

mod compiler;
mod tables;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use mppd_engine::language::Piece;
use mppd_engine::{BuildContext, Finding, Span, Spanned, Template, View};
use mysql_common::named_params::ParsedNamedParams;

use self::compiler::Compiler;
pub use self::tables::TableName;

/// Statements that leave a connection other than they found it: the next request that gets it
/// would run inside of a transaction, say.
const STATEFUL: [&str; 14] = [
    "BEGIN",
    "START",
    "COMMIT",
    "ROLLBACK",
    "SAVEPOINT",
    "RELEASE",
    "XA",
    "SET",
    "USE",
    "LOCK",
    "UNLOCK",
    "PREPARE",
    "DEALLOCATE",
    "HANDLER",
];

/// Runs what a value says.
const EXECUTE: &str = "EXECUTE";

/// Runs a procedure, in which more can stand than in a statement.
const CALL: &str = "CALL";

/// The words that statements begin with that only read, and those that they have if they write all
/// the same, or lock.
const READING: [&str; 3] = ["SELECT", "SHOW", "WITH"];
const WRITING: [&str; 9] =
    ["INTO", "UPDATE", "DELETE", "INSERT", "LOCK", "NEXTVAL", "SETVAL", "GET_LOCK", "RELEASE_LOCK"];

/// What draws from a sequence, in the words of the standard.
const DRAWING: [&str; 2] = ["NEXT", "VALUE"];

/// The protocol's limit.
const MOST_PARAMETERS: usize = 65_535;

/// A statement, ready to be prepared. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct Statement {
    sql: Arc<str>,
    parameters: Arc<[Template]>,
    reads: bool,
    calls: bool,
}

impl Statement {
    /// Puts a statement together from what [`BuildContext::pieces`](mppd_engine::BuildContext::pieces)
    /// made of its text; `whole` is the place of the text.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn compile(pieces: Vec<Piece>, whole: Span) -> Result<Self, Vec<Finding>> {
        let mut compiler = Compiler::new(pieces);
        compiler.run();
        let Compiler { sql, parameters, mut findings, .. } = compiler;
        let sql = sql.trim();
        let word = first_word(sql);
        if sql.is_empty() && findings.is_empty() {
            findings.push(Finding::error(whole, "a statement of SQL is expected here"));
        }
        if STATEFUL.contains(&word.as_str()) {
            let message =
                format!("{word} changes the connection, which other requests use as well");
            findings.push(Finding::error(whole, message).with_help(
                "each statement is a transaction of its own; a stored procedure can do more",
            ));
        }
        if word == EXECUTE {
            let finding = Finding::error(whole, "EXECUTE would run what it takes from a value");
            findings.push(finding.with_help("write the statement itself"));
        }
        if findings.is_empty() && is_misread(sql) {
            let message = "the client library would take a part of this statement for a parameter";
            let finding = Finding::error(whole, message);
            findings.push(finding.with_help("a quote in a hint can be the reason, or a colon"));
        }
        if parameters.len() > MOST_PARAMETERS {
            let message = format!("a statement can have {MOST_PARAMETERS} macros at most");
            findings.push(Finding::error(whole, message));
        }
        if !findings.is_empty() {
            return Err(findings);
        }
        let reads = READING.contains(&word.as_str()) && !writes(sql);
        let calls = word == CALL;
        Ok(Statement { sql: sql.into(), parameters: parameters.into(), reads, calls })
    }

    /// Reads a statement as it is written in a configuration, and refuses one that does more than
    /// to read; `instead` says what it should do.
    ///
    /// # Errors
    /// Everything that is wrong with it, each with its place.
    pub fn reading(
        written: &Spanned<String>,
        instead: &'static str,
        cx: &mut BuildContext<'_>,
    ) -> Result<Self, Vec<Finding>> {
        let statement = Statement::compile(cx.pieces(written)?, written.span)?;
        if statement.reads() {
            return Ok(statement);
        }
        let finding = Finding::error(written.span, "this statement does more than to read");
        Err(vec![finding.with_help(instead)])
    }

    /// The text that the server prepares, with `?` for each parameter.
    #[must_use]
    pub fn sql(&self) -> &Arc<str> {
        &self.sql
    }

    /// The tables that it reads, in the order of their names; `None` where its words alone do not
    /// tell.
    #[must_use]
    pub fn tables(&self) -> Option<Vec<TableName>> {
        tables::tables(&self.sql)
    }

    /// Whether it is one that only reads, by its words: it may be asked again when a connection
    /// breaks, and what it gives may be kept.
    #[must_use]
    pub fn reads(&self) -> bool {
        self.reads
    }

    /// Whether it runs a procedure, which can leave a transaction open.
    pub(crate) fn calls(&self) -> bool {
        self.calls
    }

    /// The values of its parameters for one request, octet for octet.
    #[must_use]
    pub fn parameters(&self, view: &View<'_>) -> Vec<Vec<u8>> {
        self.parameters.iter().map(|template| template.evaluate(view).into_owned()).collect()
    }
}

/// Whether the client library finds named parameters where there are none.
fn is_misread(sql: &str) -> bool {
    ParsedNamedParams::parse(sql.as_bytes()).map_or(true, |read| !read.params().is_empty())
}

/// The first word behind parentheses and hints.
fn first_word(sql: &str) -> String {
    let mut sql = sql;
    loop {
        sql = sql.trim_start_matches(|letter: char| letter == '(' || letter.is_whitespace());
        match sql.strip_prefix("/*").and_then(|rest| rest.split_once("*/")) {
            Some((_, behind)) => sql = behind,
            None => break,
        }
    }
    let end = sql.find(|letter: char| !letter.is_ascii_alphabetic()).unwrap_or(sql.len());
    sql[..end].to_ascii_uppercase()
}

fn is_no_word(letter: char) -> bool {
    !is_word(letter)
}

/// Whether one of its words says that it does more than to read.
fn writes(sql: &str) -> bool {
    let is = |word: &str, other: &str| word.eq_ignore_ascii_case(other);
    let words: Vec<&str> = sql.split(is_no_word).filter(|word| !word.is_empty()).collect();
    let draws = |pair: &[&str]| pair.iter().zip(DRAWING).all(|(word, other)| is(word, other));
    words.iter().any(|word| WRITING.iter().any(|writing| is(word, writing)))
        || words.windows(DRAWING.len()).any(draws)
}

/// Characters of words.
fn is_word(letter: char) -> bool {
    letter.is_alphanumeric() || matches!(letter, '_' | '$') || !letter.is_ascii()
}
