//! `mppd password`: the hash of a password or of a new token, for `<admin>`.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::Args;
use nix::sys::termios::{LocalFlags, SetArg, Termios, tcgetattr, tcsetattr};

use crate::admin::accounts::{Hash, HashError, new_token};

/// The longest password, in octets.
const LONGEST: u64 = 1_024;

/// The shortest password, in characters.
const SHORTEST: usize = 8;

/// Options of `mppd password`.
#[derive(Debug, Args)]
pub(super) struct PasswordArguments {
    /// Makes a token for a program instead, and prints it with its hash
    #[arg(long)]
    token: bool,
}

#[derive(Debug, thiserror::Error)]
enum PasswordError {
    #[error("can't read the password: {0}")]
    Read(#[source] io::Error),
    #[error("the password is not UTF-8")]
    Text,
    #[error("a password has at least {SHORTEST} characters")]
    Short,
    #[error("that was another one")]
    Different,
    #[error(transparent)]
    Hash(#[from] HashError),
    #[error("can't print: {0}")]
    Print(#[source] io::Error),
}

/// Prints the hash of a password that is asked for, or stands on standard input.
pub(super) fn run(arguments: &PasswordArguments) -> ExitCode {
    let printed = if arguments.token { make_token() } else { hash_password() };
    match printed {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("mppd password: {error}");
            ExitCode::FAILURE
        }
    }
}

fn make_token() -> Result<(), PasswordError> {
    let (token, hash) = new_token()?;
    eprintln!("The program says the token, the configuration its hash.");
    print(&format!("token {token}\nhash {hash}\n"))
}

fn hash_password() -> Result<(), PasswordError> {
    let password =
        if io::stdin().is_terminal() { ask_twice()? } else { read_line(io::stdin().lock())? };
    if password.chars().count() < SHORTEST {
        return Err(PasswordError::Short);
    }
    print(&format!("{}\n", Hash::of(&password)?.as_str()))
}

fn print(text: &str) -> Result<(), PasswordError> {
    let mut out = io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(PasswordError::Print)
}

fn ask_twice() -> Result<String, PasswordError> {
    let first = ask("Password: ")?;
    if ask("Once more: ")? != first {
        return Err(PasswordError::Different);
    }
    Ok(first)
}

fn ask(question: &str) -> Result<String, PasswordError> {
    eprint!("{question}");
    let _quiet = Quiet::start().map_err(PasswordError::Read)?;
    let line = read_line(io::stdin().lock());
    eprintln!();
    line
}

fn read_line(input: impl io::BufRead) -> Result<String, PasswordError> {
    let mut line = Vec::new();
    input.take(LONGEST).read_until(b'\n', &mut line).map_err(PasswordError::Read)?;
    let line = String::from_utf8(line).map_err(|_| PasswordError::Text)?;
    let line = line.strip_suffix('\n').unwrap_or(&line);
    Ok(line.strip_suffix('\r').unwrap_or(line).to_owned())
}

/// A terminal that does not show what is typed, for as long as this lives.
struct Quiet(Termios);

impl Quiet {
    fn start() -> io::Result<Self> {
        let before = tcgetattr(io::stdin())?;
        let mut quiet = before.clone();
        quiet.local_flags.remove(LocalFlags::ECHO);
        tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &quiet)?;
        Ok(Quiet(before))
    }
}

impl Drop for Quiet {
    fn drop(&mut self) {
        // A terminal that is gone needs no echo.
        let _gone = tcsetattr(io::stdin(), SetArg::TCSAFLUSH, &self.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_read_without_its_end_and_no_further() {
        assert_eq!(read_line(&b"geheim \r\nmore\n"[..]).unwrap(), "geheim ");
        assert_eq!(read_line(&b"geheim"[..]).unwrap(), "geheim");
        assert!(read_line(&b"\xff\n"[..]).is_err());
    }
}
