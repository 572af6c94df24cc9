//! Questions to a store: what must hold of a row, and the statements that ask for it in both
//! dialects. Whatever was asked for is bound to them, never written into them.

use mppd_engine::RequestKey;

use super::key;
use super::table::{Dialect, TABLE};

/// How far a key may be ahead of the time that its row says: a clock that is set back does not
/// take the keys with it.
const KEYS_AHEAD: i64 = 60_000_000;

/// The function that gives SQLite the octets of an address, as `INET6_ATON` does in MySQL.
pub(super) const ADDRESS_FUNCTION: &str = "mppd_address";

/// What must hold of a row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Condition {
    /// The column holds exactly this text.
    Equals(&'static str, String),
    /// The column's text begins with this.
    Begins(&'static str, String),
    /// The text stands somewhere in the column, whatever the case of its letters.
    Contains(&'static str, String),
    /// The octets stand somewhere in the column, exactly so.
    Holds(&'static str, String),
    /// The column holds an address between these two, which are octets of the same length.
    Between(&'static str, Vec<u8>, Vec<u8>),
    /// The column holds this key.
    IsKey(&'static str, RequestKey),
    /// The column holds a number that is not below this one.
    AtLeast(&'static str, i64),
    /// The column holds a number that is not above this one.
    AtMost(&'static str, i64),
    /// The column holds a text.
    Present(&'static str),
    /// The column holds nothing.
    Absent(&'static str),
    /// The column of times holds this one or a later one.
    NotBefore(&'static str, i64),
    /// The column of times holds an earlier one.
    Earlier(&'static str, i64),
    /// The request came at this time or later.
    Since(i64),
    /// The request came before this time.
    Before(i64),
    /// The request has this key or a later one.
    From(RequestKey),
    /// The request has an earlier key.
    Below(RequestKey),
    /// This does not hold, or cannot be told.
    Not(Box<Condition>),
    /// One of these holds.
    Any(Vec<Condition>),
    /// All of these hold.
    All(Vec<Condition>),
}

/// A question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// What must hold.
    pub condition: Condition,
    /// At most so many rows.
    pub limit: u32,
    /// Newest first, else oldest first.
    pub newest_first: bool,
}

impl Condition {
    /// This and another one.
    #[must_use]
    pub fn and(self, other: Condition) -> Condition {
        match self {
            Condition::All(mut parts) => {
                parts.push(other);
                Condition::All(parts)
            }
            one => Condition::All(vec![one, other]),
        }
    }

    /// What a condition on times or keys says of the primary key alone.
    pub(super) fn keys(&self) -> Option<Condition> {
        match self {
            Condition::Since(time) => Some(Condition::From(key::floor(*time))),
            Condition::Before(time) => {
                Some(Condition::Below(key::floor(time.saturating_add(KEYS_AHEAD))))
            }
            Condition::From(_) | Condition::Below(_) => Some(self.clone()),
            _ => None,
        }
    }
}

/// A value bound to a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Bound {
    Text(String),
    Time(i64),
    Integer(i64),
    Octets(Vec<u8>),
    Key(RequestKey),
}

/// A statement and its values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Statement {
    pub(super) sql: String,
    pub(super) bound: Vec<Bound>,
}

/// Which key a statement goes by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// The database chooses.
    Free,
    /// The primary key, which is the order of time.
    Time,
    /// A secondary key.
    Secondary,
}

/// The statement that asks a question.
pub(super) fn statement(dialect: Dialect, query: &Query) -> Statement {
    let (condition, bound) = write(dialect, Route::Free, &query.condition);
    let order = order(query);
    let (select, limit) = (dialect.select(), query.limit);
    Statement {
        sql: format!("{select} WHERE {condition} ORDER BY id {order} LIMIT {limit}"),
        bound,
    }
}

/// The statement that asks a question over a key. Over a secondary one it first looks for the keys
/// of the rows and sorts those, not whole rows.
pub(super) fn routed(dialect: Dialect, route: Route, query: &Query) -> Statement {
    let (condition, bound) = write(dialect, route, &query.condition);
    let order = order(query);
    let (table, limit) = (from(dialect, route), query.limit);
    let select = dialect.select();
    if route != Route::Secondary {
        let select = select.replace(&format!(" FROM {}", dialect.quote(TABLE)), "");
        let sql =
            format!("{select} FROM {table} WHERE {condition} ORDER BY id {order} LIMIT {limit}");
        return Statement { sql, bound };
    }
    let by = id(dialect, route);
    let sql = format!(
        "{select} JOIN (SELECT id AS wanted FROM {table} WHERE {condition} ORDER BY {by} {order} \
         LIMIT {limit}) AS keys_wanted ON id = wanted ORDER BY id {order}"
    );
    Statement { sql, bound }
}

/// The statement that gives the key `offset` rows further on.
pub(super) fn key_after(dialect: Dialect, query: &Query, offset: u32) -> Statement {
    let (condition, bound) = write(dialect, Route::Time, &query.condition);
    let (table, order) = (from(dialect, Route::Time), order(query));
    let sql = format!(
        "SELECT id FROM {table} WHERE {condition} ORDER BY id {order} LIMIT 1 OFFSET {offset}"
    );
    Statement { sql, bound }
}

/// The statement that gives only the keys.
pub(super) fn keys(dialect: Dialect, route: Route, query: &Query) -> Statement {
    let (condition, bound) = write(dialect, route, &query.condition);
    let (table, order, limit) = (from(dialect, route), order(query), query.limit);
    let sql = format!("SELECT id FROM {table} WHERE {condition} ORDER BY id {order} LIMIT {limit}");
    Statement { sql, bound }
}

/// The statement that counts the rows for which one of these holds, each once.
pub(super) fn count(dialect: Dialect, route: Route, branches: &[Condition]) -> Statement {
    let table = from(dialect, route);
    let mut all = Vec::new();
    let mut parts = Vec::new();
    for branch in branches {
        let (condition, mut bound) = write(dialect, route, branch);
        parts.push(format!("SELECT id FROM {table} WHERE {condition}"));
        all.append(&mut bound);
    }
    let sql = match parts.as_slice() {
        [one] => one.replacen("SELECT id", "SELECT count(*)", 1),
        several => format!("SELECT count(*) FROM ({}) AS counted", several.join(" UNION ")),
    };
    Statement { sql, bound: all }
}

/// The statement that counts the rows for which one of these holds, of each at most so many.
pub(super) fn count_some(
    dialect: Dialect,
    route: Route,
    branches: &[Condition],
    most: u32,
) -> Statement {
    let table = from(dialect, route);
    let mut all = Vec::new();
    let mut parts = Vec::new();
    for (place, branch) in branches.iter().enumerate() {
        let (condition, mut bound) = write(dialect, route, branch);
        // SQLite knows no limit inside a union but in a table of its own.
        parts.push(format!(
            "SELECT 1 FROM (SELECT 1 FROM {table} WHERE {condition} LIMIT {most}) AS part_{place}"
        ));
        all.append(&mut bound);
    }
    let sql = format!("SELECT count(*) FROM ({}) AS counted", parts.join(" UNION ALL "));
    Statement { sql, bound: all }
}

fn order(query: &Query) -> &'static str {
    if query.newest_first { "DESC" } else { "ASC" }
}

/// The table as a statement names it that is to go by this key.
pub(super) fn from(dialect: Dialect, route: Route) -> String {
    let table = dialect.quote(TABLE);
    match (dialect, route) {
        (Dialect::MySql, Route::Time) => format!("{table} FORCE INDEX (PRIMARY)"),
        (Dialect::MySql, Route::Secondary) => format!("{table} IGNORE INDEX (PRIMARY)"),
        _ => table,
    }
}

/// The primary key; in SQLite a plus before a column keeps its key from being used.
fn id(dialect: Dialect, route: Route) -> &'static str {
    if (dialect, route) == (Dialect::Sqlite, Route::Secondary) { "+id" } else { "id" }
}

/// What must hold, as SQL, and its values.
pub(super) fn write(dialect: Dialect, route: Route, condition: &Condition) -> (String, Vec<Bound>) {
    let mut writer = Writer { dialect, route, bound: Vec::new() };
    (writer.condition(condition), writer.bound)
}

struct Writer {
    dialect: Dialect,
    route: Route,
    bound: Vec<Bound>,
}

impl Writer {
    fn condition(&mut self, condition: &Condition) -> String {
        match condition {
            Condition::Equals(column, text) => self.equals(column, text),
            Condition::Begins(column, text) => self.begins(column, text),
            Condition::Contains(column, text) => self.contains(column, text),
            Condition::Holds(column, text) => {
                let column = self.column(column);
                self.compare(&format!("instr({column}, ?) > 0"), Bound::Text(text.clone()))
            }
            Condition::Between(column, first, last) => self.between(column, first, last),
            Condition::IsKey("id", key) => {
                self.compare(&format!("{} = ?", self.id()), Bound::Key(*key))
            }
            Condition::IsKey(column, key) => {
                let column = self.column(column);
                self.compare(&format!("{column} = ?"), Bound::Key(*key))
            }
            Condition::AtLeast(column, number) => {
                let column = self.column(column);
                self.compare(&format!("{column} >= ?"), Bound::Integer(*number))
            }
            Condition::AtMost(column, number) => {
                let column = self.column(column);
                self.compare(&format!("{column} <= ?"), Bound::Integer(*number))
            }
            Condition::Present(column) => format!("{} IS NOT NULL", self.column(column)),
            Condition::Absent(column) => format!("{} IS NULL", self.column(column)),
            Condition::NotBefore(column, time) => {
                let column = self.column(column);
                self.compare(&format!("{column} >= ?"), Bound::Time(*time))
            }
            Condition::Earlier(column, time) => {
                let column = self.column(column);
                self.compare(&format!("{column} < ?"), Bound::Time(*time))
            }
            Condition::Since(time) => {
                let keys = self.from(key::floor(*time));
                format!("({keys} AND {})", self.received(">=", *time))
            }
            Condition::Before(time) => {
                let keys = self.below(key::floor(time.saturating_add(KEYS_AHEAD)));
                format!("({keys} AND {})", self.received("<", *time))
            }
            Condition::From(key) => self.from(*key),
            Condition::Below(key) => self.below(*key),
            Condition::Not(part) => format!("({}) IS NOT TRUE", self.condition(part)),
            Condition::Any(parts) => self.join(parts, " OR ", "1 = 0"),
            Condition::All(parts) => self.join(parts, " AND ", "1 = 1"),
        }
    }

    fn compare(&mut self, sql: &str, value: Bound) -> String {
        self.bound.push(value);
        sql.to_owned()
    }

    /// A column that is not the primary key.
    fn column(&self, name: &str) -> String {
        let quoted = self.dialect.quote(name);
        match (self.dialect, self.route) {
            (Dialect::Sqlite, Route::Time) => format!("+{quoted}"),
            _ => quoted,
        }
    }

    fn id(&self) -> &'static str {
        id(self.dialect, self.route)
    }

    fn from(&mut self, key: RequestKey) -> String {
        self.compare(&format!("{} >= ?", self.id()), Bound::Key(key))
    }

    fn below(&mut self, key: RequestKey) -> String {
        self.compare(&format!("{} < ?", self.id()), Bound::Key(key))
    }

    // The keys lead to the rows; of those a time says exactly which.
    fn received(&mut self, operator: &str, time: i64) -> String {
        let plus = if self.dialect == Dialect::Sqlite { "+" } else { "" };
        self.compare(&format!("{plus}received_timestamp {operator} ?"), Bound::Time(time))
    }

    fn equals(&mut self, column: &str, text: &str) -> String {
        let column = self.column(column);
        self.bound.push(Bound::Text(text.to_owned()));
        if self.dialect == Dialect::Sqlite {
            return format!("{column} = ?");
        }
        // `=` takes spaces at the end for nothing; LIKE does not.
        self.bound.push(Bound::Text(escape_like(text)));
        format!("({column} = ? AND {column} LIKE ? ESCAPE '!')")
    }

    fn begins(&mut self, column: &str, text: &str) -> String {
        let column = self.column(column);
        match self.dialect {
            Dialect::MySql => {
                self.bound.push(Bound::Text(format!("{}%", escape_like(text))));
                format!("{column} LIKE ? ESCAPE '!'")
            }
            // SQLite's LIKE ignores case and the index; a range does neither.
            Dialect::Sqlite => {
                self.bound.push(Bound::Text(text.to_owned()));
                self.bound.push(Bound::Text(format!("{text}\u{10ffff}")));
                format!("({column} >= ? AND {column} < ?)")
            }
        }
    }

    fn contains(&mut self, column: &str, text: &str) -> String {
        let column = self.column(column);
        self.bound.push(Bound::Text(format!("%{}%", escape_like(text))));
        match self.dialect {
            Dialect::MySql => format!("{column} COLLATE utf8mb4_general_ci LIKE ? ESCAPE '!'"),
            Dialect::Sqlite => format!("{column} LIKE ? ESCAPE '!'"),
        }
    }

    // An address of the other family has another length, and what is no address is NULL.
    fn between(&mut self, column: &str, first: &[u8], last: &[u8]) -> String {
        let function = match self.dialect {
            Dialect::MySql => "INET6_ATON",
            Dialect::Sqlite => ADDRESS_FUNCTION,
        };
        let (address, length) = (format!("{function}({})", self.column(column)), first.len());
        self.bound.extend([first, last].map(|octets| Bound::Octets(octets.to_vec())));
        format!("({address} BETWEEN ? AND ? AND length({address}) = {length})")
    }

    fn join(&mut self, parts: &[Condition], word: &str, none: &str) -> String {
        let parts: Vec<String> = parts.iter().map(|part| self.condition(part)).collect();
        if parts.is_empty() { none.to_owned() } else { format!("({})", parts.join(word)) }
    }
}

fn escape_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len() + 8);
    for character in text.chars() {
        if matches!(character, '%' | '_' | '!') {
            escaped.push('!');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(parts: Vec<Condition>) -> Query {
        Query { condition: Condition::All(parts), limit: 5, newest_first: true }
    }

    #[test]
    fn wild_cards_of_like_are_text() {
        assert_eq!(escape_like("50%_!x"), "50!%!_!!x");
    }

    #[test]
    fn a_question_becomes_a_statement_without_values_in_its_text() {
        let hostile = || "x' OR 1=1 --".to_owned();
        let query = all(vec![
            Condition::Equals("instance", hostile()),
            Condition::Begins("decision", hostile()),
            Condition::Contains("decision_text", hostile()),
            Condition::Holds("checks", hostile()),
            Condition::Not(Box::new(Condition::Equals("helo_name", hostile()))),
        ]);
        for dialect in [Dialect::MySql, Dialect::Sqlite] {
            for route in [Route::Free, Route::Time, Route::Secondary] {
                let Statement { sql, bound } = routed(dialect, route, &query);
                assert!(!sql.contains("1=1"), "{sql}");
                assert_eq!(sql.matches('?').count(), bound.len());
            }
        }
    }

    #[test]
    fn no_condition_asks_for_everything() {
        let query = Query { newest_first: false, ..all(Vec::new()) };
        assert!(statement(Dialect::Sqlite, &query).sql.contains("WHERE 1 = 1 ORDER BY id ASC"));
    }

    #[test]
    fn a_time_is_a_range_of_keys() {
        let query = all(vec![Condition::Since(60_000_000), Condition::Before(120_000_000)]);
        let Statement { sql, bound } = routed(Dialect::MySql, Route::Time, &query);
        assert!(sql.contains("(id >= ? AND received_timestamp >= ?)"), "{sql}");
        assert!(sql.contains("(id < ? AND received_timestamp < ?)"), "{sql}");
        assert_eq!(bound[0], Bound::Key(key::floor(60_000_000)));
        assert_eq!(bound[2], Bound::Key(key::floor(180_000_000)));
    }
}
