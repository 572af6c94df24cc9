//! What the database answers: the first row, as octets.

use std::borrow::Cow;
use std::sync::Arc;

use mysql_async::Value;
use mysql_async::consts::ColumnType;
use mysql_async::prelude::Protocol;
use mysql_async::{Column, QueryResult, Row};

use crate::failure::QueryError;

/// The largest row that is taken.
const MOST_OCTETS: usize = 1 << 18;

/// What the database answers to one statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether there was a result set at all, with or without rows.
    pub has_rows: bool,
    /// The first row of the first result set: the columns that are not NULL, by name.
    pub row: Vec<(Arc<str>, Vec<u8>)>,
    /// How many rows the first result set had.
    pub rows: u64,
    /// How many rows the statement changed.
    pub affected: u64,
    /// What the statement gave to `LAST_INSERT_ID`; 0 for nothing.
    pub insert_id: u64,
    /// Whether the first column of that row is NULL, and so not in it.
    begins_with_null: bool,
}

impl Answer {
    /// Reads an answer to its end, so that the connection can be used again.
    pub(crate) async fn read<P: Protocol>(
        mut result: QueryResult<'_, '_, P>,
    ) -> Result<Self, QueryError> {
        let columns = result.columns().unwrap_or_default();
        let mut answer = Answer {
            has_rows: !columns.is_empty(),
            row: Vec::new(),
            rows: 0,
            affected: result.affected_rows(),
            insert_id: result.last_insert_id().unwrap_or_default(),
            begins_with_null: false,
        };
        let mut size = 0;
        if answer.has_rows {
            while let Some(row) = result.next().await? {
                if answer.rows == 0 {
                    answer.begins_with_null = matches!(row.as_ref(0), None | Some(Value::NULL));
                    answer.row = read_row(&columns, row);
                    size = answer.size();
                }
                answer.rows += 1;
            }
            answer.affected = result.affected_rows();
        }
        result.drop_result().await?;
        if size > MOST_OCTETS {
            return Err(QueryError::TooLarge { size, most: MOST_OCTETS });
        }
        Ok(answer)
    }

    /// The first column of the first row, unless it is NULL.
    #[must_use]
    pub fn first(&self) -> Option<&[u8]> {
        self.row.first().filter(|_| !self.begins_with_null).map(|(_, value)| &**value)
    }

    /// Octets of its names and values.
    #[must_use]
    pub fn size(&self) -> usize {
        self.row.iter().map(|(name, value)| name.len() + value.len()).sum()
    }
}

fn read_row(columns: &[Column], row: Row) -> Vec<(Arc<str>, Vec<u8>)> {
    let cells = columns.iter().zip(row.unwrap());
    let known =
        cells.filter_map(|(column, value)| Some((name(column).into(), octets(value, column)?)));
    known.collect()
}

/// Names are in the character set of the connection, so UTF-8.
fn name(column: &Column) -> Cow<'_, str> {
    column.name_str()
}

/// A value as the client of the database would show it; nothing for NULL.
fn octets(value: Value, column: &Column) -> Option<Vec<u8>> {
    let text = match value {
        Value::NULL => return None,
        Value::Bytes(octets) => return Some(octets),
        Value::Int(number) => number.to_string(),
        Value::UInt(number) => number.to_string(),
        Value::Float(number) => number.to_string(),
        Value::Double(number) => number.to_string(),
        Value::Date(year, month, day, hour, minute, second, micros) => {
            let date = format!("{year:04}-{month:02}-{day:02}");
            if column.column_type() == ColumnType::MYSQL_TYPE_DATE {
                return Some(date.into_bytes());
            }
            format!("{date} {hour:02}:{minute:02}:{second:02}{}", fraction(micros, column))
        }
        Value::Time(is_negative, days, hours, minutes, seconds, micros) => {
            let sign = if is_negative { "-" } else { "" };
            let hours = u64::from(days) * 24 + u64::from(hours);
            format!("{sign}{hours:02}:{minutes:02}:{seconds:02}{}", fraction(micros, column))
        }
    };
    Some(text.into_bytes())
}

/// As many digits as the column has.
fn fraction(micros: u32, column: &Column) -> String {
    let digits = usize::from(column.decimals().min(6));
    match digits {
        0 => String::new(),
        _ => format!(".{}", &format!("{micros:06}")[..digits]),
    }
}
