//! Logging: slog records as lines for people, as JSON, or to the system's logger.
//!
//! A record is formatted where it is made and written by a thread of its own, many lines in one
//! write, so that a request never waits for the log. What a peer chose (HELO, addresses, names) is
//! escaped: it can neither end a line nor reach a terminal as a command.

mod format;
mod syslog;
mod writer;

use std::fmt;
use std::io::Write as _;
use std::sync::Mutex;

use slog::{Discard, Drain, Logger, o};

pub use self::writer::Flush;
use self::writer::{Destination, Lines};
use crate::config::settings::{LogFormat, LogLevel, LogOptions};

/// A logger as configured. The log is complete when the second value is dropped, at the very end.
pub fn start(options: &LogOptions) -> (Logger, Flush) {
    let level = level(options.level);
    match options.format {
        LogFormat::Terminal => {
            let (lines, flush) = Lines::start(Destination::StandardError);
            (Logger::root(format::Terminal::new(lines).filter_level(level).fuse(), o!()), flush)
        }
        LogFormat::Json => {
            let (lines, flush) = Lines::start(Destination::StandardError);
            let json = slog_json::Json::new(lines)
                .set_newlines(true)
                .set_flush(true)
                .add_default_keys()
                .build();
            (Logger::root(Mutex::new(json).filter_level(level).fuse(), o!()), flush)
        }
        LogFormat::Syslog => {
            let mut socket = syslog::Socket::default();
            if let Err(error) = socket.try_to_connect() {
                // With standard error gone as well, nobody can be told.
                let _untold = writeln!(
                    std::io::stderr(),
                    "mppd: the system's logger can't be reached for now: {error}"
                );
            }
            let (lines, flush) = Lines::start(Destination::Syslog(socket));
            (Logger::root(format::Syslog::new(lines).filter_level(level).fuse(), o!()), flush)
        }
    }
}

/// A logger that says nothing, for `mppd check` and tests.
pub fn silent() -> Logger {
    Logger::root(Discard, o!())
}

fn level(level: LogLevel) -> slog::Level {
    match level {
        LogLevel::Critical => slog::Level::Critical,
        LogLevel::Error => slog::Level::Error,
        LogLevel::Warning => slog::Level::Warning,
        LogLevel::Info => slog::Level::Info,
        LogLevel::Debug => slog::Level::Debug,
        LogLevel::Trace => slog::Level::Trace,
    }
}

/// Writes a text with its unsafe characters escaped. Backslashes are left alone: what a peer chose
/// comes escaped already ([`Escaped`](mppd_engine::Escaped)), and would be so twice.
///
/// # Errors
/// When the writer fails.
pub fn write_safe(text: &str, to: &mut impl fmt::Write) -> fmt::Result {
    // Nearly all that is logged is plain, and this is quicker than looking at each character.
    if text.bytes().all(|octet| matches!(octet, b' '..=b'~')) {
        return to.write_str(text);
    }
    let mut rest = text;
    while let Some((at, unsafe_character)) = rest.char_indices().find(|(_, c)| is_unsafe(*c)) {
        to.write_str(&rest[..at])?;
        write!(to, "{}", unsafe_character.escape_default())?;
        rest = &rest[at + unsafe_character.len_utf8()..];
    }
    to.write_str(rest)
}

/// A line of JSON with its unsafe characters as escapes; `None` where it has none.
fn safe_json(line: &str) -> Option<String> {
    let text = line.strip_suffix('\n').unwrap_or(line);
    if text.bytes().all(|octet| matches!(octet, b' '..=b'~')) || !text.contains(is_unsafe) {
        return None;
    }
    let mut safe = String::with_capacity(line.len() + 16);
    for character in text.chars() {
        if is_unsafe(character) {
            // All that are unsafe are in the basic plane. Writing to a String can't fail.
            let _infallible =
                fmt::Write::write_fmt(&mut safe, format_args!("\\u{:04x}", u32::from(character)));
        } else {
            safe.push(character);
        }
    }
    safe.push_str(&line[text.len()..]);
    Some(safe)
}

/// Whether a character can do something to a terminal or to the reading of a line.
fn is_unsafe(c: char) -> bool {
    c.is_control()
        || matches!(c,
            '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}'
            | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_of_json_says_the_same_without_unsafe_characters() {
        let line = "{\"text\":\"a\u{9b}31m\u{202e}\u{e9}\"}\n";
        let safe = safe_json(line).unwrap();
        assert_eq!(safe, "{\"text\":\"a\\u009b31m\\u202e\u{e9}\"}\n");
        let read = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
        assert_eq!(read(&safe), read(line));
        assert_eq!(safe_json("{\"text\":\"\u{e9}\"}\n"), None);
    }

    #[test]
    fn a_text_can_neither_end_a_line_nor_command_a_terminal() {
        let mut safe = String::new();
        write_safe("a\u{1b}[31m\nb\\é\u{202e}", &mut safe).unwrap();
        assert_eq!(safe, "a\\u{1b}[31m\\nb\\é\\u{202e}");
    }
}
