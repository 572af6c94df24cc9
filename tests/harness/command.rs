//! The commands of the real binary, each run to its end.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use nix::pty::{OpenptyResult, openpty};

/// One call of `mppd`, away from the settings of whoever runs the tests.
pub(crate) struct Call {
    command: Command,
    input: Vec<u8>,
}

/// How a call ended, and what it said.
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Call {
    pub(crate) fn new<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mppd"));
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MPPD_") {
                command.env_remove(name);
            }
        }
        command.args(arguments);
        Call { command, input: Vec::new() }
    }

    /// Started in this directory.
    pub(crate) fn within(mut self, directory: &Path) -> Self {
        self.command.current_dir(directory);
        self
    }

    /// With one more argument.
    pub(crate) fn argument(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// With this configuration.
    pub(crate) fn with(mut self, configuration: &Path) -> Self {
        self.command.arg("--config").arg(configuration);
        self
    }

    pub(crate) fn environment(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// With these octets as its standard input.
    pub(crate) fn input(mut self, octets: &[u8]) -> Self {
        self.input = octets.to_vec();
        self
    }

    /// Runs it with a terminal as its standard input, on which these lines were typed.
    pub(crate) fn run_at_terminal(mut self, typed: &str) -> Said {
        let OpenptyResult { master, slave } = openpty(None, None).unwrap();
        let mut keyboard = File::from(master);
        // It waits there until somebody reads.
        keyboard.write_all(typed.as_bytes()).unwrap();
        self.command.stdin(slave).stdout(Stdio::piped()).stderr(Stdio::piped());
        let child = self.command.spawn().unwrap();
        // Only the child has its end of the terminal now.
        drop(self.command);
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |octets| String::from_utf8(octets).expect("text is UTF-8");
        Said { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    pub(crate) fn run(mut self) -> Said {
        self.command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = self.command.spawn().unwrap();
        // A command that reads nothing may be gone already.
        drop(child.stdin.take().unwrap().write_all(&self.input));
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        let text = |octets| String::from_utf8(octets).expect("text is UTF-8");
        Said { code: status.code(), out: text(stdout), err: text(stderr) }
    }

    /// Runs a call that must succeed; what it printed.
    pub(crate) fn succeed(self) -> String {
        let said = self.run();
        assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
        said.out
    }
}
