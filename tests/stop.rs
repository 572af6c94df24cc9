//! SIGTERM while engines are slow: what is under way is answered and on record. A second signal
//! waits for nothing, and the next run knows what was cut off. So it is whatever answers wait for.

use std::io::Write as _;
use std::net::{Ipv4Addr, TcpListener, TcpStream};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::eventually;
use crate::harness::policy_client::{PolicyClient, PolicyRequest};
use crate::harness::records::sqlite;

const DURABILITIES: [&str; 3] = ["answer", "strict", "relaxed"];

/// A server whose only check waits until this test answers it, or for minutes.
struct Slow {
    daemon: Daemon,
    client: PolicyClient,
    asked: TcpStream,
    _listener: TcpListener,
}

impl Slow {
    /// Starts it, and has a request under way and on record.
    fn start(durability: &str) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let server = listener.local_addr().unwrap();
        let daemon = Daemon::start(Settings {
            tracking: true,
            common: format!("<tracking><durability>{durability}</durability></tracking>"),
            policy_server: "<drain_timeout>5m</drain_timeout>\
                            <request_deadline>5m</request_deadline>"
                .to_owned(),
            checks: "slow".to_owned(),
            engines: format!(
                "<delegate id=\"slow\" timeout=\"4m\"><server>inet:{server}</server></delegate>"
            ),
            ..Settings::default()
        });
        let mut client = daemon.connect();
        client.send(&PolicyRequest::new().octets()).unwrap();
        let (asked, _) = listener.accept().unwrap();
        let slow = Slow { daemon, client, asked, _listener: listener };
        eventually(|| (slow.states() == ["received"]).then_some(())).expect("it is on record");
        slow
    }

    /// SIGTERM, and its line in the log.
    fn tell_to_stop(&self, said: &str) {
        let pid = Pid::from_raw(i32::try_from(self.daemon.pid()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        self.daemon.logged(said, |line| mentions(line, said));
    }

    fn states(&self) -> Vec<String> {
        sqlite(&self.daemon.state_directory()).iter().map(|row| row.text("state")).collect()
    }

    /// Waits for the end.
    fn end(&mut self) {
        eventually(|| (!self.daemon.is_running()).then_some(())).expect("mppd ends");
    }
}

#[test]
fn what_is_under_way_at_a_stop_is_answered_and_on_record_whatever_the_durability() {
    for durability in DURABILITIES {
        let mut slow = Slow::start(durability);
        slow.tell_to_stop("stopping");
        assert!(slow.daemon.is_running());
        slow.asked.write_all(b"action=REJECT in the end\n\n").unwrap();
        assert_eq!(slow.client.reply().unwrap(), "action=REJECT in the end", "{durability}");
        assert_eq!(slow.client.until_closed().unwrap(), b"");
        slow.end();
        let rows = sqlite(&slow.daemon.state_directory());
        let row = |column: &str| rows.iter().map(|row| row.text(column)).collect::<Vec<_>>();
        assert_eq!(
            (row("state"), row("decision")),
            (vec!["processed".into()], vec!["REJECT".into()])
        );
    }
}

#[test]
fn a_second_signal_waits_for_nothing_and_the_next_run_closes_what_was_cut_off() {
    for durability in DURABILITIES {
        let mut slow = Slow::start(durability);
        slow.tell_to_stop("stopping");
        slow.tell_to_stop("ending at once");
        slow.end();
        assert_eq!(slow.client.until_closed().unwrap(), b"", "{durability}");
        assert_eq!(slow.states(), ["received"], "{durability}");
        let next = slow.daemon.again();
        let closed = || {
            let rows = sqlite(&next.state_directory());
            let texts: Vec<String> = rows.iter().map(|row| row.text("error_text")).collect();
            (texts == ["mppd ended before this request was decided"]).then_some(())
        };
        eventually(closed).expect("it is closed");
    }
}
