//! Records as lines of text: the message, then `key=value` for what has a value.

use std::cell::RefCell;
use std::fmt::{self, Write as _};

use slog::{Drain, KV, Key, OwnedKVList, Record, Serializer};

use super::writer::Lines;
use super::{syslog, write_safe};

thread_local! {
    /// The line under way, so that a record costs no allocation.
    static LINE: RefCell<Line> = RefCell::default();
}

/// A line under way. slog hands out the values of a record last first; they wait here until all
/// are there, and are read backwards.
#[derive(Default)]
struct Line {
    text: String,
    values: String,
    ends: Vec<usize>,
}

impl Line {
    fn clear(&mut self) {
        self.text.clear();
        self.values.clear();
        self.ends.clear();
    }

    /// Adds the values that wait, in the order in which they were written down.
    fn add_values(&mut self) {
        while let Some(end) = self.ends.pop() {
            let start = self.ends.last().copied().unwrap_or_default();
            self.text.push_str(&self.values[start..end]);
        }
        self.values.clear();
    }
}

/// Lines for people: time (UTC), level, message, values.
pub(super) struct Terminal(Lines);

impl Terminal {
    pub(super) fn new(lines: Lines) -> Self {
        Terminal(lines)
    }
}

impl Drain for Terminal {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        let now = jiff::Timestamp::now();
        let head = format_args!("{now:.3} {:<5} ", record.level().as_short_str());
        write_line(&self.0, head, record, values);
        Ok(())
    }
}

/// Lines for the system's logger.
pub(super) struct Syslog(Lines);

impl Syslog {
    pub(super) fn new(lines: Lines) -> Self {
        Syslog(lines)
    }
}

impl Drain for Syslog {
    type Ok = ();
    type Err = slog::Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), slog::Never> {
        write_line(&self.0, format_args!("{}", syslog::head(record.level())), record, values);
        Ok(())
    }
}

fn write_line(to: &Lines, head: fmt::Arguments<'_>, record: &Record<'_>, values: &OwnedKVList) {
    LINE.with_borrow_mut(|line| {
        line.clear();
        // Writing to a string fails only where a value's own Display does.
        if write_record(line, head, record, values).is_err() {
            line.text.push_str(" (a value could not be shown)");
        }
        line.text.push('\n');
        to.add(line.text.as_bytes());
    });
}

fn write_record(
    line: &mut Line,
    head: fmt::Arguments<'_>,
    record: &Record<'_>,
    values: &OwnedKVList,
) -> fmt::Result {
    line.text.write_fmt(head)?;
    let start = line.text.len();
    write!(Safe(&mut line.text), "{}", record.msg())?;
    // A message that could be read as values of the line, as the text of a `log` engine can.
    if line.text[start..].contains(['=', '"']) {
        quote(&mut line.text, start);
    }
    let failed = |_| fmt::Error;
    record.kv().serialize(record, &mut Values(line)).map_err(failed)?;
    line.add_values();
    values.serialize(record, &mut Values(line)).map_err(failed)?;
    line.add_values();
    Ok(())
}

/// Appends what is safe to show.
struct Safe<'a>(&'a mut String);

impl fmt::Write for Safe<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        write_safe(text, self.0)
    }
}

/// Takes `key=value` pairs; what has nothing to say is left out.
struct Values<'a>(&'a mut Line);

impl Serializer for Values<'_> {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        let values = &mut self.0.values;
        let before = values.len();
        values.push(' ');
        values.push_str(key);
        values.push('=');
        let start = values.len();
        write!(Safe(values), "{value}")?;
        if values.len() == start {
            values.truncate(before);
            return Ok(());
        }
        if values[start..].bytes().any(|octet| matches!(octet, b' ' | b'"' | b'=')) {
            quote(values, start);
        }
        self.0.ends.push(self.0.values.len());
        Ok(())
    }
}

/// Puts what stands behind `start` in quotes.
fn quote(text: &mut String, start: usize) {
    let quoted = format!("\"{}\"", text[start..].replace('"', "\\\""));
    text.replace_range(start.., &quoted);
}

#[cfg(test)]
mod tests {
    use mppd_engine::slog::{b, o, record};

    use super::*;

    #[test]
    fn a_line_has_its_values_in_the_order_written_and_leaves_out_empty_ones() {
        let mut line = Line::default();
        let logger = slog::Logger::root(slog::Discard, o!("engine" => "wbl"));
        write_record(
            &mut line,
            format_args!("head "),
            &record!(
                slog::Level::Info,
                "",
                &format_args!("said\n"),
                b!("first" => "1", "empty" => "", "second" => "a \"b\"")
            ),
            logger.list(),
        )
        .unwrap();
        assert_eq!(line.text, "head said\\n first=1 second=\"a \\\"b\\\"\" engine=wbl");
    }

    #[test]
    fn a_message_cannot_pass_for_values() {
        let mut line = Line::default();
        let logger = slog::Logger::root(slog::Discard, o!());
        write_record(
            &mut line,
            format_args!(""),
            &record!(
                slog::Level::Info,
                "",
                &format_args!("hello decision=\"OK\""),
                b!("decision" => "DUNNO")
            ),
            logger.list(),
        )
        .unwrap();
        assert_eq!(line.text, "\"hello decision=\\\"OK\\\"\" decision=DUNNO");
    }
}
