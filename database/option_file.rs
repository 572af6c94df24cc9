//! Option files of the MySQL and MariaDB clients (`my.cnf`): what their `[client]` sections say
//! about a connection.

use std::ops::Range;
use std::path::PathBuf;

use crate::options::Secret;

/// The sections that are read.
const SECTIONS: [&str; 3] = ["client", "client-server", "client-mariadb"];

/// What an option file says about a connection; the last word on each option counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct OptionFile {
    pub(crate) host: Option<String>,
    pub(crate) port: Option<u16>,
    pub(crate) user: Option<String>,
    pub(crate) password: Option<Secret>,
    pub(crate) socket: Option<PathBuf>,
    pub(crate) database: Option<String>,
    /// Relative to the directory of the option file.
    pub(crate) ssl_ca: Option<PathBuf>,
}

/// Something that is wrong in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Where in its text, in octets.
    pub place: Range<usize>,
    /// What is wrong, in one line without a full stop.
    pub message: String,
    /// What to do.
    pub help: Option<&'static str>,
}

impl Fault {
    fn new(place: Range<usize>, message: impl Into<String>) -> Self {
        Fault { place, message: message.into(), help: None }
    }
}

/// Reads the text of an option file.
pub(crate) fn parse(text: &str) -> Result<OptionFile, Vec<Fault>> {
    let mut reader =
        Reader { section: Section::None, options: OptionFile::default(), faults: Vec::new() };
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        reader.line(line, start);
        start += line.len();
    }
    if reader.faults.is_empty() { Ok(reader.options) } else { Err(reader.faults) }
}

enum Section {
    None,
    Ours,
    Other,
}

struct Reader {
    section: Section,
    options: OptionFile,
    faults: Vec<Fault>,
}

impl Reader {
    fn line(&mut self, line: &str, start: usize) {
        let start = start + (line.len() - line.trim_start().len());
        let line = line.trim();
        let place = start..start + line.len();
        if line.is_empty() || line.starts_with(['#', ';']) {
            return;
        }
        if line.starts_with('!') {
            let fault = Fault::new(place, "option files that include others are not followed");
            let help = Some("write the options of [client] into this file");
            self.faults.push(Fault { help, ..fault });
            return;
        }
        if let Some(section) = line.strip_prefix('[') {
            self.section(section, place);
            return;
        }
        match self.section {
            Section::None => {
                let message = "an option before the first [section]";
                self.faults.push(Fault::new(place, message));
            }
            Section::Ours => self.option(line, place),
            Section::Other => {}
        }
    }

    fn section(&mut self, text: &str, place: Range<usize>) {
        let Some((name, _)) = text.split_once(']') else {
            self.faults.push(Fault::new(place, "this section's name is not closed by \"]\""));
            return;
        };
        let is_ours = SECTIONS.contains(&name.trim());
        self.section = if is_ours { Section::Ours } else { Section::Other };
    }

    fn option(&mut self, line: &str, place: Range<usize>) {
        let (key, raw) = line.split_once('=').unwrap_or((line, ""));
        let key_place = place.start..place.start + key.trim_end().len();
        let value = match value(raw) {
            Ok(value) => value,
            Err(message) => {
                self.faults.push(Fault::new(key_place, message));
                return;
            }
        };
        // The place is that of the name: the value may be a secret.
        match key.trim().replace('_', "-").as_str() {
            "host" => self.options.host = Some(value),
            "user" => self.options.user = Some(value),
            "password" => self.options.password = Some(Secret::from(value)),
            "socket" => self.options.socket = Some(PathBuf::from(value)),
            "database" => self.options.database = Some(value),
            "ssl-ca" => self.options.ssl_ca = Some(PathBuf::from(value)),
            "port" => {
                self.options.port = value.parse().ok();
                if self.options.port.is_none() {
                    let message = format!("\"{value}\" is not a port (0 to 65535)");
                    self.faults.push(Fault::new(place, message));
                }
            }
            // The other clients have options that are none of mppd's business.
            _ => {}
        }
    }
}

/// The value of an option, without its quotes, escapes and comment.
fn value(raw: &str) -> Result<String, &'static str> {
    let raw = raw.trim();
    let Some(quote) = raw.chars().next().filter(|quote| matches!(quote, '"' | '\'')) else {
        let end = raw.find('#').unwrap_or(raw.len());
        return Ok(unescaped(raw[..end].trim_end()));
    };
    let inside = &raw[1..];
    let mut escaped = false;
    for (at, letter) in inside.char_indices() {
        if letter == quote && !escaped {
            let behind = inside[at + 1..].trim_start();
            if behind.is_empty() || behind.starts_with('#') {
                return Ok(unescaped(&inside[..at]));
            }
            return Err("text behind the closing quote of this option's value");
        }
        escaped = letter == '\\' && !escaped;
    }
    Err("the quote of this option's value is not closed")
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter != '\\' {
            plain.push(letter);
            continue;
        }
        match letters.next() {
            Some('n') => plain.push('\n'),
            Some('t') => plain.push('\t'),
            Some('r') => plain.push('\r'),
            Some('b') => plain.push('\u{8}'),
            Some('s') => plain.push(' '),
            Some(quoted @ ('\\' | '"' | '\'')) => plain.push(quoted),
            Some(other) => plain.extend(['\\', other]),
            None => plain.push('\\'),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<OptionFile, Vec<String>> {
        parse(text).map_err(|faults| {
            let shown =
                |fault: &Fault| format!("{}: {}", &text[fault.place.clone()], fault.message);
            faults.iter().map(shown).collect()
        })
    }

    #[test]
    fn the_client_sections_are_read() {
        let options = read(
            "# comment\n[mysqld]\nport=1\n[client]\nhost = db.example.com # ours\nport=3307\n\
             user='a # b'\npassword=\"x\\\"y\\\\\"\nquick\n[client-mariadb]\nssl_ca=/etc/ca.pem\n\
             ; comment\ndatabase=\nsocket=/run/my\\ssql\n",
        )
        .unwrap();
        assert_eq!(options.host.as_deref(), Some("db.example.com"));
        assert_eq!(options.port, Some(3307));
        assert_eq!(options.user.as_deref(), Some("a # b"));
        assert_eq!(options.password.unwrap().reveal(), "x\"y\\");
        assert_eq!(options.ssl_ca.unwrap(), PathBuf::from("/etc/ca.pem"));
        assert_eq!(options.database.as_deref(), Some(""));
        assert_eq!(options.socket, Some(PathBuf::from("/run/my sql")));
    }

    #[test]
    fn every_fault_is_found_and_none_shows_a_secret() {
        let faults = read(
            "user=x\n[client]\nport=many\npassword='never closed\n!includedir /etc/x\n[oops\n\
             password='a' b\n",
        );
        assert_eq!(
            faults.unwrap_err(),
            [
                "user=x: an option before the first [section]",
                "port=many: \"many\" is not a port (0 to 65535)",
                "password: the quote of this option's value is not closed",
                "!includedir /etc/x: option files that include others are not followed",
                "[oops: this section's name is not closed by \"]\"",
                "password: text behind the closing quote of this option's value",
            ]
        );
    }
}
