//! The SQL of the records in both dialects: schemas and statements, made from the declaration of
//! the table.

use std::fmt::Write as _;

use super::row::RECEIVED;
use super::table::{COLUMNS, Column, INDEXES, Index, Kind, SCHEMA_TABLE, TABLE, VERSION};

/// The keys of a range, in order, each with whether its request is still `received` by a node: its
/// values are the node's name, the first key, and that behind the last.
pub(super) fn select_undecided(most: usize) -> String {
    format!(
        "SELECT id, state = '{RECEIVED}' AND node = ? FROM {TABLE} WHERE id >= ? AND id < ? \
         ORDER BY id LIMIT {most}"
    )
}

/// A dialect of SQL.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// MySQL and MariaDB.
    MySql,
    /// SQLite.
    Sqlite,
}

impl Dialect {
    /// A name in quotes.
    #[must_use]
    pub fn quote(self, name: &str) -> String {
        match self {
            Dialect::MySql => format!("`{name}`"),
            Dialect::Sqlite => format!("\"{name}\""),
        }
    }

    pub(super) fn type_of(self, column: &Column) -> String {
        let required = if column.is_required() { " NOT NULL" } else { " NULL" };
        let name = match (self, column.kind) {
            (Dialect::MySql, Kind::Key) => "BINARY(16)".to_owned(),
            (Dialect::MySql, Kind::Time) => "DATETIME(6)".to_owned(),
            (Dialect::MySql, Kind::Word(characters)) => format!("VARCHAR({characters})"),
            (Dialect::MySql, Kind::Json) => "MEDIUMTEXT".to_owned(),
            (Dialect::MySql, Kind::Count) => "BIGINT".to_owned(),
            (Dialect::MySql, Kind::Octets) => "MEDIUMBLOB".to_owned(),
            (Dialect::Sqlite, Kind::Key | Kind::Octets) => "BLOB".to_owned(),
            (Dialect::Sqlite, Kind::Count) => "INTEGER".to_owned(),
            (Dialect::MySql, Kind::Text) | (Dialect::Sqlite, _) => "TEXT".to_owned(),
        };
        name + required
    }

    /// The statements that create the tables where they are missing, without comments between.
    #[must_use]
    pub fn create(self) -> Vec<String> {
        match self {
            Dialect::MySql => vec![mysql_table(), mysql_schema_table(), self.note_version()],
            Dialect::Sqlite => {
                let mut statements = vec![sqlite_table()];
                statements.extend(INDEXES.iter().map(sqlite_index));
                statements.push(sqlite_schema_table());
                statements.push(self.note_version());
                statements
            }
        }
    }

    fn note_version(self) -> String {
        let ignore = match self {
            Dialect::MySql => "INSERT IGNORE INTO",
            Dialect::Sqlite => "INSERT OR IGNORE INTO",
        };
        let table = self.quote(SCHEMA_TABLE);
        format!("{ignore} {table} (name, version) VALUES ('{TABLE}', {VERSION})")
    }

    /// The statement that reads the version of the table.
    #[must_use]
    pub fn read_version(self) -> String {
        format!("SELECT version FROM {} WHERE name = '{TABLE}'", self.quote(SCHEMA_TABLE))
    }

    /// The statement that reads the names of the columns that the table has.
    #[must_use]
    pub fn read_columns(self) -> String {
        match self {
            Dialect::MySql => format!(
                "SELECT column_name FROM information_schema.columns \
                 WHERE table_schema = DATABASE() AND table_name = '{TABLE}'"
            ),
            Dialect::Sqlite => format!("SELECT name FROM pragma_table_info('{TABLE}')"),
        }
    }

    /// The statements that make a table of these columns, which an older mppd or somebody else has
    /// made, one of this version; none where nothing is missing. What is there stays.
    #[must_use]
    pub fn migrate(self, present: &[String], version: i64) -> Vec<String> {
        let is_missing = |column: &&Column| {
            let has_name = |name: &String| name.eq_ignore_ascii_case(column.name);
            !column.is_required() && !present.iter().any(has_name)
        };
        let add = |column: &Column| {
            let (table, name) = (self.quote(TABLE), self.quote(column.name));
            format!("ALTER TABLE {table} ADD COLUMN {name} {}", self.type_of(column))
        };
        let mut statements: Vec<String> = COLUMNS.iter().filter(is_missing).map(add).collect();
        if version < VERSION {
            let table = self.quote(SCHEMA_TABLE);
            let note = format!("UPDATE {table} SET version = {VERSION} WHERE name = '{TABLE}'");
            statements.push(note);
        }
        statements
    }

    /// The whole schema, as `mppd schema` prints it.
    #[must_use]
    pub fn schema(self) -> String {
        let (file, hint) = match self {
            Dialect::MySql => ("PPXX0001.sql", "mysql DATABASE < PPXX0001.sql"),
            Dialect::Sqlite => ("requests.sql", "sqlite3 requests.sqlite < requests.sql"),
        };
        let mut text = format!(
            "-- {file}: the tables that mppd keeps its records in.\n-- mppd creates them itself \
             where its user may; else:  {hint}\n-- Made by `mppd schema`; not to be edited.\n"
        );
        if self == Dialect::MySql {
            text.push_str("\nSET NAMES utf8mb4;\n");
        }
        for statement in self.create() {
            text.push('\n');
            text.push_str(&statement);
            text.push_str(";\n");
        }
        text
    }

    fn column_list(self) -> String {
        let names: Vec<String> = COLUMNS.iter().map(|column| self.quote(column.name)).collect();
        names.join(", ")
    }

    /// The beginning of a statement that reads whole rows.
    #[must_use]
    pub fn select(self) -> String {
        format!("SELECT {} FROM {}", self.column_list(), self.quote(TABLE))
    }

    /// The statement that writes so many rows.
    #[must_use]
    pub fn insert(self, rows: usize, on_duplicate: OnDuplicate) -> String {
        let mut text =
            format!("INSERT INTO {} ({}) VALUES ", self.quote(TABLE), self.column_list());
        let row = format!("({})", vec!["?"; COLUMNS.len()].join(","));
        text.push_str(&vec![row; rows].join(","));
        text.push_str(&self.on_duplicate(on_duplicate));
        text
    }

    fn on_duplicate(self, what: OnDuplicate) -> String {
        let assign = |column: &Column| {
            let name = self.quote(column.name);
            match self {
                Dialect::MySql => format!("{name} = VALUES({name})"),
                Dialect::Sqlite => format!("{name} = excluded.{name}"),
            }
        };
        let outcomes = COLUMNS.iter().filter(|column| column.is_outcome());
        let assignments: Vec<String> = outcomes.map(assign).collect();
        match (self, what) {
            (_, OnDuplicate::Fail) => String::new(),
            (Dialect::MySql, OnDuplicate::Keep) => " ON DUPLICATE KEY UPDATE `id` = `id`".into(),
            (Dialect::MySql, OnDuplicate::Complete) => {
                format!(" ON DUPLICATE KEY UPDATE {}", assignments.join(", "))
            }
            (Dialect::Sqlite, OnDuplicate::Keep) => " ON CONFLICT(id) DO NOTHING".into(),
            (Dialect::Sqlite, OnDuplicate::Complete) => {
                format!(" ON CONFLICT(id) DO UPDATE SET {}", assignments.join(", "))
            }
        }
    }
}

/// What a statement that writes rows does about one that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OnDuplicate {
    /// Fails: the row is known to be new.
    Fail,
    /// Leaves it: a `received` never overwrites anything.
    Keep,
    /// Overwrites what a decision changes.
    Complete,
}

fn mysql_table() -> String {
    let mut text = format!("CREATE TABLE IF NOT EXISTS `{TABLE}` (\n");
    for column in COLUMNS {
        let (name, meaning) = (column.name, column.meaning.trim_start().replace('\'', "''"));
        push(
            &mut text,
            format_args!("  `{name}` {} COMMENT '{meaning}',\n", Dialect::MySql.type_of(column)),
        );
    }
    text.push_str("  PRIMARY KEY (`id`)");
    for index in INDEXES {
        let part = |(name, length): &(&str, Option<usize>)| match length {
            Some(length) => format!("`{name}`({length})"),
            None => format!("`{name}`"),
        };
        let parts: Vec<String> = index.columns.iter().map(part).collect();
        push(&mut text, format_args!(",\n  KEY `{}` ({})", index.name, parts.join(", ")));
    }
    text.push_str(
        "\n) ENGINE=InnoDB ROW_FORMAT=DYNAMIC DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin",
    );
    text
}

fn mysql_schema_table() -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS `{SCHEMA_TABLE}` (\n  `name` VARCHAR(64) NOT NULL COMMENT 'A \
         table of mppd.',\n  `version` BIGINT NOT NULL COMMENT 'Version of its schema.',\n  \
         PRIMARY KEY (`name`)\n) ENGINE=InnoDB DEFAULT CHARACTER SET utf8mb4 COLLATE utf8mb4_bin"
    )
}

fn sqlite_table() -> String {
    let mut text = format!("CREATE TABLE IF NOT EXISTS \"{TABLE}\" (\n");
    for column in COLUMNS {
        push(&mut text, format_args!("  -- {}\n", column.meaning.trim_start()));
        push(
            &mut text,
            format_args!("  \"{}\" {},\n", column.name, Dialect::Sqlite.type_of(column)),
        );
    }
    text.push_str("  PRIMARY KEY (\"id\")\n)");
    text
}

fn sqlite_index(index: &Index) -> String {
    let names: Vec<String> = index.columns.iter().map(|(name, _)| format!("\"{name}\"")).collect();
    let (name, names) = (index.name, names.join(", "));
    format!("CREATE INDEX IF NOT EXISTS \"{TABLE}_{name}\" ON \"{TABLE}\" ({names})")
}

fn sqlite_schema_table() -> String {
    format!(
        "CREATE TABLE IF NOT EXISTS \"{SCHEMA_TABLE}\" (\n  \"name\" TEXT NOT NULL PRIMARY \
         KEY,\n  \"version\" INTEGER NOT NULL\n)"
    )
}

pub(super) fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let _infallible = text.write_fmt(arguments);
}

#[cfg(test)]
pub(super) mod tests {
    use std::path::Path;

    use super::*;

    // `MPPD_WRITE_GENERATED=1 cargo test` writes the files anew.
    pub(in crate::tracking) fn is_current(path: &str, text: &str) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
        if std::env::var_os("MPPD_WRITE_GENERATED").is_some() {
            std::fs::write(&path, text).unwrap();
        }
        let written = std::fs::read_to_string(&path).unwrap();
        assert!(written == text, "{} is not current", path.display());
    }

    #[test]
    fn the_schema_file_of_the_module_is_current() {
        is_current("conf/esm/PPXX0001.sql", &Dialect::MySql.schema());
    }
}
