//! Cells of the records as text: for people, and as JSON.

use std::fmt::Write as _;
use std::io::{self, Write};

use jiff::Timestamp;
use mppd_engine::Escaped;

use crate::tracking::row::Cell;
use crate::tracking::search::Found;
use crate::tracking::story::is_checks;
use crate::tracking::table::{COLUMNS, Kind};

pub(super) fn local_time(cell: Cell<'_>) -> String {
    let Cell::Time(microseconds) = cell else { return String::new() };
    let Ok(time) = Timestamp::from_microsecond(microseconds) else { return String::new() };
    let zoned = time.to_zoned(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string()
}

pub(super) fn show(cell: Cell<'_>, kind: Kind) -> String {
    match (cell, kind) {
        (Cell::Null, _) => String::new(),
        (Cell::Integer(number), _) => number.to_string(),
        (Cell::Time(_), _) => local_time(cell),
        (Cell::Text(text), _) => Escaped(text.as_bytes()).to_string(),
        (Cell::Octets(octets), Kind::Key) => show_key(octets),
        (Cell::Octets(octets), _) => escaped_octets(octets),
    }
}

fn show_key(octets: &[u8]) -> String {
    match octets.try_into() {
        Ok(key) => mppd_engine::RequestKey(key).to_string(),
        Err(_) => escaped_octets(octets),
    }
}

fn escaped_octets(octets: &[u8]) -> String {
    let mut text = String::with_capacity(octets.len() + 16);
    for octet in octets {
        match octet {
            b'\\' => text.push_str("\\\\"),
            b'\n' => text.push_str("\\n"),
            b' '..=b'~' => text.push(char::from(*octet)),
            _ => {
                // Writing to a String cannot fail.
                let _infallible = write!(text, "\\x{octet:02x}");
            }
        }
    }
    text
}

pub(super) fn print_json(rows: &[Found], out: &mut dyn Write) -> io::Result<()> {
    for Found { row, spooled } in rows {
        write!(out, "{{")?;
        for (column, cell) in COLUMNS.iter().zip(row.cells()) {
            write!(out, "\"{}\":{},", column.name, json(cell, column.kind))?;
        }
        writeln!(out, "\"spooled\":{spooled}}}")?;
    }
    Ok(())
}

pub(super) fn json(cell: Cell<'_>, kind: Kind) -> String {
    match (cell, kind) {
        (Cell::Null, _) => "null".to_owned(),
        (Cell::Integer(number), _) => number.to_string(),
        (Cell::Time(microseconds), _) => match Timestamp::from_microsecond(microseconds) {
            Ok(time) => format!("\"{time:.6}\""),
            Err(_) => "null".to_owned(),
        },
        (Cell::Text(text), Kind::Json) if is_checks(text) => plain(text),
        (Cell::Text(text), _) => plain(&serde_json::Value::from(text).to_string()),
        (Cell::Octets(octets), Kind::Key) => format!("\"{}\"", show_key(octets)),
        (Cell::Octets(octets), _) => serde_json::Value::from(escaped_octets(octets)).to_string(),
    }
}

// JSON in which everything that a terminal could obey is an escape.
pub(in crate::cli) fn plain(json: &str) -> String {
    let mut plain = String::with_capacity(json.len());
    let mut units = [0; 2];
    for character in json.chars() {
        let is_shown = character.is_ascii_graphic()
            || character == ' '
            || (!character.is_ascii() && character.escape_debug().len() == 1);
        if is_shown {
            plain.push(character);
            continue;
        }
        for unit in character.encode_utf16(&mut units) {
            // Writing to a String cannot fail.
            let _infallible = write!(plain, "\\u{unit:04x}");
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_cannot_command_a_terminal() {
        let hostile = "a\"\u{1b}[2J\u{9b}\u{202e}\u{7f}\u{e0001}ö";
        let shown = json(Cell::Text(hostile), Kind::Text);
        assert_eq!(shown, r#""a\"\u001b[2J\u009b\u202e\u007f\udb40\udc01ö""#);
        assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), hostile);
    }

    #[test]
    fn octets_are_shown_as_escapes() {
        assert_eq!(escaped_octets(b"a=\\\xff\n\x1b"), "a=\\\\\\xff\\n\\x1b");
    }

    #[test]
    fn checks_stay_in_the_order_in_which_they_ran() {
        let checks = r#"{"b":{"status":"x","ms":0.001},"a":{"status":"y","ms":1.000}}"#;
        assert_eq!(json(Cell::Text(checks), Kind::Json), checks);
        assert_eq!(json(Cell::Text("no json"), Kind::Json), "\"no json\"");
    }

    #[test]
    fn a_time_in_json_is_utc() {
        let shown = json(Cell::Time(1_795_352_400_000_042), Kind::Time);
        assert_eq!(shown, "\"2026-11-22T13:00:00.000042Z\"");
    }
}
