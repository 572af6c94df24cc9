//! The tables that a statement reads, as far as its words tell.

use super::is_word;

/// A table as a statement names it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct TableName {
    /// Its database, where that is not the one of the connection.
    pub database: Option<String>,
    /// Its own name.
    pub name: String,
}

/// What a statement is made of, as far as it matters here.
#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A word without quotes.
    Word(String),
    /// A name in backticks.
    Name(String),
    /// A text, or what may be one.
    Text,
    Symbol(char),
}

/// Words behind which no table follows a comma any more.
const ENDS: [&str; 9] =
    ["WHERE", "GROUP", "HAVING", "ORDER", "LIMIT", "UNION", "EXCEPT", "INTERSECT", "WINDOW"];

/// One pair of parentheses, or the whole.
#[derive(Debug, Clone, Copy, Default)]
struct Level {
    /// It is a query, and no list or call of a function.
    is_query: bool,
    /// It names its tables here.
    in_from: bool,
}

/// The tables; `None` where words alone can't tell.
pub(super) fn tables(sql: &str) -> Option<Vec<TableName>> {
    let tokens = tokens(sql);
    let is_query = tokens.iter().find(|token| **token != Token::Symbol('('));
    if !is_query.is_some_and(|token| token.is("SELECT")) {
        return None;
    }
    let (mut levels, mut tables) = (vec![Level::default()], Vec::new());
    let mut expects = false;
    let mut rest = tokens.as_slice();
    while let Some((token, behind)) = rest.split_first() {
        rest = behind;
        let level = levels.last_mut()?;
        match token {
            Token::Symbol('(') => {
                // What is in the place of a table is tables in parentheses, or a query.
                levels.push(Level { is_query: false, in_from: expects });
                continue;
            }
            Token::Symbol(')') => {
                levels.pop();
            }
            Token::Symbol(',') if level.in_from => {
                expects = true;
                continue;
            }
            token if token.is("SELECT") => *level = Level { is_query: true, in_from: false },
            token if token.is("FROM") && level.is_query => {
                level.in_from = true;
                expects = true;
                continue;
            }
            token if level.in_from && (token.is("JOIN") || token.is("STRAIGHT_JOIN")) => {
                expects = true;
                continue;
            }
            token if ENDS.iter().any(|end| token.is(end)) => level.in_from = false,
            _ if expects => {
                let (table, behind) = name(token, rest)?;
                rest = behind;
                tables.extend(table);
            }
            _ => {}
        }
        expects = false;
    }
    tables.sort();
    tables.dedup();
    Some(tables)
}

/// The table that stands here, and what follows; none for what is only called one.
fn name<'a>(first: &Token, rest: &'a [Token]) -> Option<(Option<TableName>, &'a [Token])> {
    let own = first.text()?;
    match rest {
        [Token::Symbol('.'), second, behind @ ..] => {
            let (database, name) = (Some(own), second.text()?);
            Some((Some(TableName { database, name }), behind))
        }
        // A function that gives a table, and what may be one, and other grammar.
        [Token::Symbol('('), ..] => None,
        _ if first.is("LATERAL") => None,
        _ if first.is("DUAL") => Some((None, rest)),
        _ => Some((Some(TableName { database: None, name: own }), rest)),
    }
}

impl Token {
    fn is(&self, word: &str) -> bool {
        matches!(self, Token::Word(own) if own.eq_ignore_ascii_case(word))
    }

    fn text(&self) -> Option<String> {
        match self {
            Token::Word(text) | Token::Name(text) => Some(text.clone()),
            Token::Text | Token::Symbol(_) => None,
        }
    }
}

/// Cuts a statement without comments into its tokens.
fn tokens(sql: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = sql.chars().peekable();
    while let Some(letter) = rest.next() {
        match letter {
            letter if letter.is_whitespace() => {}
            '`' => tokens.push(Token::Name(quoted(&mut rest, letter))),
            '\'' | '"' => {
                let _text = quoted(&mut rest, letter);
                tokens.push(Token::Text);
            }
            letter if is_word(letter) => {
                let mut word = String::from(letter);
                while let Some(letter) = rest.next_if(|letter| is_word(*letter)) {
                    word.push(letter);
                }
                tokens.push(Token::Word(word));
            }
            letter => tokens.push(Token::Symbol(letter)),
        }
    }
    tokens
}

/// What stands up to the closing quote; a quote that is written twice is one of the text.
fn quoted(rest: &mut std::iter::Peekable<std::str::Chars<'_>>, quote: char) -> String {
    let mut text = String::new();
    while let Some(letter) = rest.next() {
        match letter {
            letter if letter == quote => match rest.next_if_eq(&quote) {
                Some(quote) => text.push(quote),
                None => break,
            },
            // In names it stands for itself.
            '\\' if quote != '`' => text.extend(rest.next()),
            letter => text.push(letter),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn named(sql: &str) -> Option<Vec<String>> {
        let whole = |table: TableName| match table.database {
            Some(database) => format!("{database}.{}", table.name),
            None => table.name,
        };
        tables(sql).map(|tables| tables.into_iter().map(whole).collect())
    }

    #[test]
    fn the_tables_of_a_query_are_those_that_it_names() {
        for (sql, expected) in [
            ("SELECT g FROM members WHERE a = ?", &["members"][..]),
            ("select 1 from `a``b` x, other.`c d` AS y limit 1", &["a`b", "other.c d"]),
            (
                "SELECT 1 FROM a LEFT JOIN b ON f(a.x, b.y), c USE INDEX (i, j) ORDER BY d, e",
                &["a", "b", "c"],
            ),
            ("SELECT (SELECT x FROM one), TRIM(BOTH ' ' FROM y) FROM two", &["one", "two"]),
            (
                "SELECT x FROM (SELECT y FROM a WHERE z IN (SELECT w FROM b)) t JOIN (c, d)",
                &["a", "b", "c", "d"],
            ),
            ("(SELECT 1 FROM a) UNION (SELECT 2 FROM a, b)", &["a", "b"]),
            ("SELECT STRAIGHT_JOIN x, 'FROM y' FROM a STRAIGHT_JOIN b", &["a", "b"]),
            ("SELECT ?", &[]),
            ("SELECT 1 FROM DUAL", &[]),
        ] {
            let found = named(sql);
            assert_eq!(found.unwrap(), expected, "{sql}");
        }
    }

    #[test]
    fn what_is_not_understood_is_not_guessed() {
        for sql in [
            "WITH a AS (SELECT 1 FROM b) SELECT * FROM a",
            "SHOW TABLES",
            "SELECT * FROM JSON_TABLE(?, '$' COLUMNS (a INT PATH '$')) t",
            "SELECT * FROM \"members\"",
            "SELECT * FROM ?",
        ] {
            assert_eq!(named(sql), None, "{sql}");
        }
    }
}
