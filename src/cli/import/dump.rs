//! Berkeley DB databases, as `db_dump` prints them. The library itself is not needed: its files
//! differ from version to version, and the program that fits them is in every distribution.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use mppd_engine::Escaped;

/// The databases of postgrey.
const DATABASES: [&str; 2] = ["postgrey.db", "postgrey_clients.db"];

/// What prints a database, by the name that distributions give it.
const PROGRAMS: [&str; 3] = ["db5.3_dump", "db_dump", "db53_dump"];

/// What the text of a dump begins with.
const MAGIC: &[u8] = b"VERSION=";

/// Why a database can't be read.
#[derive(Debug, thiserror::Error)]
pub enum DumpError {
    /// A file that can't be read.
    #[error("can't read {path}: {source}")]
    Read {
        /// Its path.
        path: String,
        /// Why.
        source: io::Error,
    },
    /// A directory without databases.
    #[error("there is no {} in {directory}", DATABASES[0])]
    NoDatabase {
        /// Its path.
        directory: String,
    },
    /// Nothing is installed that reads them.
    #[error(
        "postgrey's databases are read by the program {}, which is not installed: install the \
         package db-util (Debian, Ubuntu), or give what db_dump -p prints where it is",
        PROGRAMS[0]
    )]
    NoProgram,
    /// What reads them does not start.
    #[error("can't start {program}: {source}")]
    Start {
        /// Its name.
        program: &'static str,
        /// Why.
        source: io::Error,
    },
    /// What reads them refuses.
    #[error("{program} can't read {path}: {said}")]
    Refused {
        /// Its name.
        program: &'static str,
        /// What it was to read.
        path: String,
        /// What it said.
        said: String,
    },
    /// No dump.
    #[error("{name} is not what db_dump prints: it does not begin with \"VERSION=\"")]
    NoDump {
        /// What it is called.
        name: String,
    },
}

/// What a database holds.
#[derive(Debug, Default)]
pub struct Dump {
    /// Where it comes from, for people.
    pub name: String,
    /// Its entries.
    pub pairs: Vec<Pair>,
    /// Lines that are none, and why.
    pub faults: Vec<(usize, &'static str)>,
}

/// A key and its value.
#[derive(Debug, PartialEq, Eq)]
pub struct Pair {
    /// The line of the key, from 1.
    pub line: usize,
    /// The key.
    pub key: Vec<u8>,
    /// The value.
    pub value: Vec<u8>,
}

/// Reads what stands at a path: a directory with databases, a database, a dump; `-` is a dump on
/// standard input.
pub(super) fn read(path: &Path) -> Result<Vec<Dump>, DumpError> {
    if path == Path::new("-") {
        let mut text = Vec::new();
        let read = io::stdin().lock().read_to_end(&mut text);
        read.map_err(|source| DumpError::Read { path: "standard input".to_owned(), source })?;
        return Ok(vec![parse("standard input".to_owned(), &text)?]);
    }
    if path.is_dir() {
        let there: Vec<&str> =
            DATABASES.into_iter().filter(|name| path.join(name).exists()).collect();
        if there.is_empty() {
            return Err(DumpError::NoDatabase { directory: path.display().to_string() });
        }
        return there.into_iter().map(|name| print(path, name)).collect();
    }
    let text = std::fs::read(path)
        .map_err(|source| DumpError::Read { path: path.display().to_string(), source })?;
    if text.starts_with(MAGIC) {
        return Ok(vec![parse(path.display().to_string(), &text)?]);
    }
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(vec![print(&directory_of(path), &name)?])
}

fn directory_of(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

/// Has a database printed. It is read together with the environment that it is in: what postgrey
/// changed last is in there only.
fn print(directory: &Path, name: &str) -> Result<Dump, DumpError> {
    for program in PROGRAMS {
        let mut command = Command::new(program);
        let printed = match command.arg("-p").arg("-h").arg(directory).arg(name).output() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(source) => return Err(DumpError::Start { program, source }),
            Ok(printed) => printed,
        };
        let path = directory.join(name).display().to_string();
        if !printed.status.success() {
            let said = Escaped(printed.stderr.trim_ascii()).to_string();
            return Err(DumpError::Refused { program, path, said });
        }
        return parse(path, &printed.stdout);
    }
    Err(DumpError::NoProgram)
}

/// How the octets of a dump are written.
#[derive(Clone, Copy)]
enum Form {
    /// `format=bytevalue`: two hexadecimal digits each.
    Digits,
    /// `format=print`: as they are, or as `\` and two digits.
    Text,
}

/// Where in a dump a line stands.
enum Part {
    Header(Form),
    Data(Form),
}

/// Reads what such a program printed; the name is where it comes from, for people.
///
/// # Errors
/// Nothing that such a program prints. Single lines that are wrong are among the faults.
pub fn parse(name: String, text: &[u8]) -> Result<Dump, DumpError> {
    if !text.starts_with(MAGIC) {
        return Err(DumpError::NoDump { name });
    }
    let mut dump = Dump { name, ..Dump::default() };
    let mut part = Part::Header(Form::Digits);
    let mut key = None;
    let mut last = 0;
    for (index, line) in text.split(|octet| *octet == b'\n').enumerate() {
        last = index + 1;
        part = match part {
            Part::Header(_) if line == b"HEADER=END" => match part {
                Part::Header(form) | Part::Data(form) => Part::Data(form),
            },
            Part::Header(_) if line == b"format=print" => Part::Header(Form::Text),
            Part::Header(form) => Part::Header(form),
            // Another database may follow.
            Part::Data(_) if line == b"DATA=END" => Part::Header(Form::Digits),
            Part::Data(form) => {
                dump.take(last, line, form, &mut key);
                Part::Data(form)
            }
        };
    }
    if matches!(part, Part::Data(_)) || key.is_some() {
        dump.faults.push((last, "the dump ends before its end"));
    }
    Ok(dump)
}

impl Dump {
    /// Takes a line of data: a key, or the value of the key before it.
    fn take(
        &mut self,
        line: usize,
        text: &[u8],
        form: Form,
        key: &mut Option<(usize, Option<Vec<u8>>)>,
    ) {
        if text.is_empty() {
            return;
        }
        let octets = text.strip_prefix(b" ").and_then(|text| decode(text, form));
        if octets.is_none() {
            self.faults.push((line, "it is not a line of such a dump"));
        }
        match key.take() {
            None => *key = Some((line, octets)),
            Some((line, found)) => {
                if let (Some(key), Some(value)) = (found, octets) {
                    self.pairs.push(Pair { line, key, value });
                }
            }
        }
    }
}

fn decode(text: &[u8], form: Form) -> Option<Vec<u8>> {
    let mut octets = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, behind)) = rest.split_first() {
        rest = match (form, first) {
            (Form::Text, b'\\') if behind.first() == Some(&b'\\') => {
                octets.push(b'\\');
                &behind[1..]
            }
            (Form::Text, b'\\') => {
                octets.push(two_digits(behind)?);
                &behind[2..]
            }
            (Form::Text, octet) => {
                octets.push(*octet);
                behind
            }
            (Form::Digits, _) => {
                octets.push(two_digits(rest)?);
                &rest[2..]
            }
        };
    }
    Some(octets)
}

fn two_digits(text: &[u8]) -> Option<u8> {
    let digits = text.get(..2).filter(|digits| digits.iter().all(u8::is_ascii_hexdigit))?;
    u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dump(text: &str) -> Dump {
        parse("test".to_owned(), text.as_bytes()).unwrap()
    }

    fn pair(line: usize, key: &str, value: &str) -> Pair {
        Pair { line, key: key.as_bytes().to_vec(), value: value.as_bytes().to_vec() }
    }

    #[test]
    fn a_printed_dump_is_read() {
        let text =
            "VERSION=3\nformat=print\ntype=btree\nHEADER=END\n a\\\\b\\c3\\a4\n 1,2\nDATA=END\n";
        let dump = dump(text);
        assert_eq!(dump.pairs, [pair(5, "a\\bä", "1,2")]);
        assert!(dump.faults.is_empty(), "{:?}", dump.faults);
    }

    #[test]
    fn a_dump_in_digits_is_read() {
        let dump = dump("VERSION=3\nformat=bytevalue\nHEADER=END\n 6162\n 312c32\nDATA=END\n");
        assert_eq!(dump.pairs, [pair(4, "ab", "1,2")]);
    }

    #[test]
    fn several_dumps_in_one_file_are_read() {
        let one = "VERSION=3\nformat=print\nHEADER=END\n a\n 1\nDATA=END\n";
        let dump = dump(&format!("{one}{one}"));
        assert_eq!(dump.pairs, [pair(4, "a", "1"), pair(10, "a", "1")]);
    }

    #[test]
    fn lines_that_do_not_belong_there_are_told() {
        let dump = dump("VERSION=3\nformat=print\nHEADER=END\n a\\zz\n 1\n b\n 2\nnonsense\n 3\n");
        assert_eq!(dump.pairs, [pair(6, "b", "2")]);
        let lines: Vec<usize> = dump.faults.iter().map(|(line, _)| *line).collect();
        assert_eq!(lines, [4, 8, 10]);
    }

    #[test]
    fn what_is_no_dump_is_refused() {
        let error = parse("x".to_owned(), b"junk").unwrap_err();
        assert!(error.to_string().starts_with("x is not what db_dump prints"), "{error}");
    }
}
