//! The page that documents the table, made from its declaration.

use super::sql::{Dialect, push};
use super::table::{COLUMNS, INDEXES};

/// The page that documents the table, Markdown.
#[must_use]
pub fn documentation() -> String {
    let mut text = String::from(INTRODUCTION);
    text.push_str("| column | MySQL | SQLite | meaning |\n|---|---|---|---|\n");
    for column in COLUMNS {
        let mysql = Dialect::MySql.type_of(column);
        let sqlite = Dialect::Sqlite.type_of(column);
        let (name, meaning) = (column.name, column.meaning.trim_start());
        push(&mut text, format_args!("| `{name}` | {mysql} | {sqlite} | {meaning} |\n"));
    }
    text.push_str("\n## Keys\n\nEach is written with every row, so each must be worth it.\n\n");
    text.push_str("| key | columns | for |\n|---|---|---|\n");
    text.push_str("| primary | `id` | one request; the order of time |\n");
    for index in INDEXES {
        let part = |(name, length): &(&str, Option<usize>)| match length {
            Some(length) => format!("`{name}` (first {length} characters)"),
            None => format!("`{name}`"),
        };
        let parts: Vec<String> = index.columns.iter().map(part).collect();
        let (name, reason) = (index.name, index.reason);
        push(&mut text, format_args!("| `{name}` | {} | {reason} |\n", parts.join(", ")));
    }
    text
}

const INTRODUCTION: &str = "# The table `track_policy_request`\n
One row for each request that Postfix sent, in MySQL or in SQLite. This page is made from the
declaration that the program itself uses (`src/tracking/table.rs`); a test keeps it current.\n
* Times are UTC, with microseconds. SQLite holds them as text, `2026-11-22 13:00:00.000000`, which
  sorts like the times.
* An attribute that Postfix did not send is NULL; one that it sent empty is empty.
* Texts compare octet by octet (`utf8mb4_bin`), except that MySQL takes spaces at the end for
  nothing when it compares with `=`. Nothing is cut off when they are stored.
* Numbers that are not written in the canonical form (`007`, `+1`), texts that are not UTF-8 or too
  long, and whatever else a column cannot hold verbatim stand in `raw_request`; the column then
  holds what comes nearest, or NULL.
* In MySQL `BIN_TO_UUID(id)` (MariaDB: `CAST(id AS UUID)`) shows a key as mppd prints it.

";

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tracking::sql::tests::is_current;

    #[test]
    fn the_documentation_is_current() {
        is_current("docs/track_policy_request.md", &documentation());
    }
}
