//! Fills a table of records with rows, to see how searches and statistics do on many of them:
//!
//! ```sh
//! cargo run --release --example records -- sqlite DIRECTORY/requests.sqlite 10000000 30
//! cargo run --release --example records -- mysql mysql://root@localhost/mppd?socket=/run/db.sock 10000000 30
//! ```
//!
//! The last two are the number of rows and of days up to now that they spread over. The secondary
//! keys are made when the rows are there, which is much faster than keeping them up meanwhile.

#![allow(missing_docs, clippy::unwrap_used, clippy::expect_used, reason = "a bench is a test")]

mod rows;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Instant;

use mppd::tracking::row::Cell;
use mppd::tracking::table::{COLUMNS, Dialect, INDEXES, OnDuplicate, TABLE};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use rows::Rows;
use rusqlite::Connection;
use rusqlite::types::Value;

const DAY: i64 = 86_400_000_000;

/// Rows in one transaction.
const TOGETHER: i64 = 50_000;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [kind, target, count, days] = arguments.as_slice() else {
        eprintln!("records sqlite|mysql FILE|URL ROWS DAYS");
        std::process::exit(2);
    };
    let (count, days): (i64, i64) = (count.parse().unwrap(), days.parse().unwrap());
    let end = rows::now();
    let rows = Rows::new(count, end - days * DAY, end);
    let begin = Instant::now();
    match kind.as_str() {
        "sqlite" => sqlite(Path::new(target), rows, count),
        _ => actix_rt::System::new().block_on(mysql(target, rows, count)),
    }
    println!("{count} rows in {:.0?}", begin.elapsed());
}

fn sqlite(path: &Path, mut rows: Rows, count: i64) {
    let mut connection = Connection::open(path).unwrap();
    connection.pragma_update(None, "journal_mode", "WAL").unwrap();
    connection.pragma_update(None, "synchronous", "OFF").unwrap();
    connection.pragma_update(None, "cache_size", -(1 << 20)).unwrap();
    let (indexes, tables): (Vec<String>, Vec<String>) =
        Dialect::Sqlite.create().into_iter().partition(|sql| sql.starts_with("CREATE INDEX"));
    connection.execute_batch(&tables.join(";\n")).unwrap();
    let insert = Dialect::Sqlite.insert(1, OnDuplicate::Fail);
    let mut made = 0;
    while made < count {
        let transaction = connection.transaction().unwrap();
        let mut statement = transaction.prepare_cached(&insert).unwrap();
        for _ in 0..TOGETHER.min(count - made) {
            let row = rows.next();
            statement.execute(rusqlite::params_from_iter(row.cells().map(value))).unwrap();
        }
        drop(statement);
        transaction.commit().unwrap();
        made += TOGETHER;
        tell(made, count);
    }
    for sql in indexes {
        connection.execute_batch(&sql).unwrap();
    }
    connection.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
}

fn value(cell: Cell<'_>) -> Value {
    match cell {
        Cell::Null => Value::Null,
        Cell::Integer(number) => Value::Integer(number),
        Cell::Time(microseconds) => Value::Text(civil(microseconds)),
        Cell::Text(text) => Value::Text(text.to_owned()),
        Cell::Octets(octets) => Value::Blob(octets.to_vec()),
    }
}

fn civil(microseconds: i64) -> String {
    let time = jiff::Timestamp::from_microsecond(microseconds).unwrap();
    let time = jiff::tz::Offset::UTC.to_datetime(time);
    let (date, fraction) = (time.date(), time.subsec_nanosecond() / 1_000);
    let (hour, minute, second) = (time.hour(), time.minute(), time.second());
    format!("{date} {hour:02}:{minute:02}:{second:02}.{fraction:06}")
}

async fn mysql(url: &str, mut rows: Rows, count: i64) {
    let mut connection = Conn::from_url(url).await.unwrap();
    connection.query_drop("SET time_zone = '+00:00', sql_log_bin = 0").await.unwrap();
    for sql in Dialect::MySql.create() {
        connection.query_drop(sql).await.unwrap();
    }
    let all: Vec<String> =
        INDEXES.iter().map(|index| format!("DROP KEY `{}`", index.name)).collect();
    connection.query_drop(format!("ALTER TABLE {TABLE} {}", all.join(", "))).await.unwrap();
    let names: Vec<&str> = COLUMNS
        .iter()
        .map(|column| if column.name == "id" { "@id" } else { column.name })
        .collect();
    let load = format!(
        "LOAD DATA LOCAL INFILE 'rows' INTO TABLE {TABLE} CHARACTER SET utf8mb4 ({}) \
         SET id = UNHEX(@id)",
        names.join(", ")
    );
    let mut made = 0;
    while made < count {
        let pieces: Vec<_> = (0..TOGETHER.min(count - made) / 1_000)
            .map(|_| Ok(lines(&mut rows).into_bytes().into()))
            .collect();
        let pieces = futures_util::stream::iter(pieces);
        connection.set_infile_handler(async move { Ok(Box::pin(pieces) as _) });
        connection.query_drop(&load).await.unwrap();
        made += TOGETHER;
        tell(made, count);
    }
    let part = |(name, length): &(&str, Option<usize>)| match length {
        Some(length) => format!("`{name}`({length})"),
        None => format!("`{name}`"),
    };
    let add = INDEXES.iter().map(|index| {
        let parts: Vec<String> = index.columns.iter().map(part).collect();
        format!("ADD KEY `{}` ({})", index.name, parts.join(", "))
    });
    let all: Vec<String> = add.collect();
    connection.query_drop(format!("ALTER TABLE {TABLE} {}", all.join(", "))).await.unwrap();
    connection.disconnect().await.unwrap();
}

/// A thousand rows as LOAD DATA reads them.
fn lines(rows: &mut Rows) -> String {
    let mut lines = String::with_capacity(1 << 20);
    for _ in 0..1_000 {
        for cell in rows.next().cells() {
            match cell {
                Cell::Null => lines.push_str("\\N"),
                Cell::Integer(number) => write!(lines, "{number}").unwrap(),
                Cell::Time(microseconds) => lines.push_str(&civil(microseconds)),
                Cell::Text(text) => lines.push_str(text),
                Cell::Octets(octets) => {
                    for octet in octets {
                        write!(lines, "{octet:02x}").unwrap();
                    }
                }
            }
            lines.push('\t');
        }
        lines.pop();
        lines.push('\n');
    }
    lines
}

fn tell(made: i64, count: i64) {
    if made % 1_000_000 == 0 {
        eprintln!("{made} of {count}");
    }
}
