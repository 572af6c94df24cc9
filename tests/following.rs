//! `mppd track tail` of the real binary, beside the server whose decisions it shows.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::PolicyRequest;

/// A `mppd track tail` that runs. It is killed when it is dropped.
pub(crate) struct Following {
    child: Child,
    lines: Option<BufReader<ChildStdout>>,
}

impl Following {
    pub(crate) fn start(daemon: &Daemon, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mppd"));
        command.args(["track", "tail"]).args(arguments);
        command.arg("--config").arg(daemon.configuration());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit());
        let mut child = command.spawn().unwrap();
        let lines = child.stdout.take().map(BufReader::new);
        Following { child, lines }
    }

    /// The next line; waits for it.
    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.as_mut().unwrap().read_line(&mut line).unwrap();
        assert!(line.ends_with('\n'), "it has ended: {line:?}");
        line.trim_end_matches('\n').to_owned()
    }

    /// Has it end as Ctrl-C does.
    pub(crate) fn interrupt(mut self) -> ExitStatus {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(pid, Signal::SIGINT).unwrap();
        self.child.wait().unwrap()
    }

    /// Nobody reads any more.
    fn close(&mut self) {
        self.lines = None;
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn tracking() -> Settings {
    Settings {
        tracking: true,
        checks: "wbl".to_owned(),
        engines: "<wbl><black><sender>spam@example.org</sender></black></wbl>".to_owned(),
        ..Settings::default()
    }
}

fn ask(daemon: &Daemon, sender: &str, recipient: &str) {
    let request = PolicyRequest::new().set("sender", sender).set("recipient", recipient);
    daemon.connect().ask(&request.octets()).unwrap();
}

#[test]
fn decisions_are_shown_as_they_are_made() {
    let daemon = Daemon::start(tracking());
    ask(&daemon, "alice@example.org", "before@example.com");
    let mut following = Following::start(&daemon, &[]);
    assert!(following.line().contains("alice@example.org → before@example.com  DUNNO"));
    for number in 0..3 {
        let recipient = format!("user{number}@example.com");
        ask(&daemon, "alice@example.org", &recipient);
        let line = following.line();
        assert!(line.contains(&recipient), "{line}");
    }
    assert_eq!(following.interrupt().code(), Some(0));
}

#[test]
fn only_what_was_asked_for_is_followed() {
    let daemon = Daemon::start(tracking());
    let arguments = ["--recipient", "wanted@example.com", "--json", "-n", "1"];
    ask(&daemon, "alice@example.org", "wanted@example.com");
    let mut following = Following::start(&daemon, &arguments);
    let row = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();
    assert_eq!(row(&following.line())["sender_local"], "alice");
    ask(&daemon, "alice@example.org", "unwanted@example.com");
    ask(&daemon, "bob@example.org", "wanted@example.com");
    let row = row(&following.line());
    assert_eq!((&row["sender_local"], &row["recipient_local"]), (&"bob".into(), &"wanted".into()));
}

#[test]
fn it_ends_when_nobody_reads_any_more() {
    let daemon = Daemon::start(tracking());
    ask(&daemon, "alice@example.org", "bob@example.com");
    let mut following = Following::start(&daemon, &[]);
    following.line();
    following.close();
    let status = loop {
        ask(&daemon, "alice@example.org", "carol@example.com");
        if let Some(status) = following.child.try_wait().unwrap() {
            break status;
        }
        crate::harness::pause(std::time::Duration::from_millis(50));
    };
    assert_eq!(status.code(), Some(0));
}
