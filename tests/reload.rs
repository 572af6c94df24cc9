//! SIGHUP: a new configuration comes into force without a connection noticing, a broken one
//! changes nothing.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::eventually;
use crate::harness::mariadb::MariaDb;
use crate::harness::policy_client::{PolicyClient, PolicyRequest};
use crate::mysql::block_on;

fn refusing(sender: &str) -> Settings {
    Settings::wbl(&format!(
        "<black><sender>{sender}</sender></black><on_black>REJECT no</on_black>"
    ))
}

fn decision(client: &mut PolicyClient, sender: &str) -> String {
    client.ask(&PolicyRequest::new().set("sender", sender).octets()).unwrap()
}

#[test]
fn new_lists_are_in_force_on_open_connections_after_a_hangup() {
    let mut daemon = Daemon::start(refusing("old@example.org"));
    let mut client = daemon.connect();
    assert_eq!(decision(&mut client, "old@example.org"), "REJECT no");
    assert_eq!(decision(&mut client, "new@example.org"), "DUNNO");
    daemon.configure(refusing("new@example.org"));
    daemon.hangup();
    let reloaded =
        eventually(|| (decision(&mut client, "new@example.org") == "REJECT no").then_some(()));
    assert!(reloaded.is_some(), "the new list is not in force");
    assert_eq!(decision(&mut client, "old@example.org"), "DUNNO");
}

#[test]
fn a_list_in_a_file_is_read_again_after_a_hangup() {
    let lists = tempfile::tempdir().unwrap();
    let list = lists.path().join("senders");
    std::fs::write(&list, "old@example.org\n").unwrap();
    let daemon = Daemon::start(Settings::wbl(&format!(
        "<black><sender file=\"{}\"/></black><on_black>REJECT no</on_black>",
        list.display()
    )));
    let mut client = daemon.connect();
    assert_eq!(decision(&mut client, "old@example.org"), "REJECT no");
    std::fs::write(&list, "new@example.org\n").unwrap();
    daemon.hangup();
    let reloaded =
        eventually(|| (decision(&mut client, "new@example.org") == "REJECT no").then_some(()));
    assert!(reloaded.is_some(), "the new list is not in force");
}

#[test]
fn a_broken_configuration_changes_nothing_and_is_reported() {
    let mut daemon = Daemon::start(refusing("old@example.org"));
    let mut client = daemon.connect();
    daemon.write_configuration("<mppd><common><no_such_option/></common></mppd>");
    daemon.hangup();
    let line = daemon.logged("what is broken", |line| mentions(line, "no_such_option"));
    let level = line["level"].as_str().unwrap();
    assert!(["ERRO", "ERROR", "CRIT"].contains(&level), "{line}");
    assert!(daemon.is_running());
    assert_eq!(decision(&mut client, "old@example.org"), "REJECT no");
    assert_eq!(decision(&mut daemon.connect(), "old@example.org"), "REJECT no");
}

#[test]
fn a_configuration_mended_after_a_broken_one_comes_into_force() {
    let mut daemon = Daemon::start(refusing("old@example.org"));
    let mut client = daemon.connect();
    daemon.write_configuration("<mppd>");
    daemon.hangup();
    daemon.logged("that the file is broken", |line| mentions(line, "mppd.conf.xml"));
    daemon.configure(refusing("new@example.org"));
    daemon.hangup();
    let reloaded =
        eventually(|| (decision(&mut client, "new@example.org") == "REJECT no").then_some(()));
    assert!(reloaded.is_some(), "the mended list is not in force");
}

#[test]
fn no_request_is_lost_while_the_configuration_is_read_again_and_again() {
    let daemon = Daemon::start(refusing("old@example.org"));
    std::thread::scope(|scope| {
        let clients: Vec<_> = (0..4)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = daemon.connect();
                    for _ in 0..500 {
                        assert_eq!(decision(&mut client, "old@example.org"), "REJECT no");
                    }
                })
            })
            .collect();
        while !clients.iter().all(std::thread::ScopedJoinHandle::is_finished) {
            daemon.hangup();
            crate::harness::pause(std::time::Duration::from_millis(20));
        }
    });
}

/// What `mppd status` says.
fn status(daemon: &Daemon) -> serde_json::Value {
    let call = Call::new(["status", "--json", "--state-directory"]);
    serde_json::from_str(&call.argument(daemon.state_directory()).run().out).unwrap()
}

#[test]
fn under_a_hundred_reloads_each_request_gets_its_own_answer_once_and_no_connection_ends() {
    let settings = |round: usize| Settings {
        tracking: true,
        checks: "echo".into(),
        // Each configuration has engines of its own.
        engines: format!("<set id=\"echo\"><on_done>REJECT $sender {round}</on_done></set>"),
        ..Settings::default()
    };
    let mut daemon = Daemon::start(settings(0));
    let (endpoint, ends) = (daemon.endpoint(), AtomicBool::new(false));
    let asked: usize = std::thread::scope(|scope| {
        let ask = |client: usize| {
            let (endpoint, ends) = (&endpoint, &ends);
            move || {
                let mut connection = PolicyClient::connect(endpoint).unwrap();
                let (mut asked, mut last) = (0, 0);
                while !ends.load(Ordering::Relaxed) {
                    let reply = decision(&mut connection, &format!("{client}.{asked}@example.org"));
                    let round =
                        reply.strip_prefix(&format!("REJECT {client}.{asked}@example.org "));
                    let round: usize = round.expect(&reply).parse().unwrap();
                    assert!(round >= last, "configuration {round} after {last}");
                    (asked, last) = (asked + 1, round);
                }
                asked
            }
        };
        let clients: Vec<_> = (0..4).map(|client| scope.spawn(ask(client))).collect();
        for round in 1..=100 {
            daemon.configure(settings(round));
            daemon.hangup();
            let reloads = || {
                let log = daemon.log();
                log.iter().filter(|line| line.contains("configuration reloaded")).count()
            };
            eventually(|| (reloads() == round).then_some(())).expect("it is reloaded");
        }
        ends.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum()
    });
    let status = status(&daemon);
    assert!(asked > 100, "{asked}");
    assert_eq!(status["configuration"]["reloads"], 100);
    assert_eq!(
        (&status["traffic"]["answered"], &status["traffic"]["shed"]),
        (&asked.into(), &0.into())
    );
    assert!(daemon.terminate().success());
    let rows = crate::harness::records::sqlite(&daemon.state_directory());
    let senders: HashSet<String> = rows.iter().map(|row| row.text("sender_local")).collect();
    assert_eq!((rows.len(), senders.len()), (asked, asked));
    assert!(rows.iter().all(|row| row.text("decision") == "REJECT"));
}

/// How many threads a process has.
fn threads(pid: u32) -> usize {
    std::fs::read_dir(format!("/proc/{pid}/task")).unwrap().count()
}

#[test]
fn threads_and_connections_of_old_configurations_end() {
    let server = block_on(MariaDb::start());
    let connection = server.element_named("connection");
    let settings = |round: usize| {
        let statement = "<statement>SELECT 'one' FROM dual WHERE $ip = '192.0.2.7'</statement>";
        let tracking =
            server.element().replace("</host>", "</host><write_timeout>9s</write_timeout>");
        let tracking = tracking.replace("9s", &format!("{}s", 20 + round));
        Settings {
            tracking: true,
            groups: format!(
                "<sql>{connection}{statement}</sql>
                 <group id=\"one\"><members><ip_list>192.0.2.9</ip_list></members>{tracking}</group>"
            ),
            checks: "m.q".to_owned(),
            engines: format!(
                "<mysql id=\"m\">{connection}<query id=\"q\"><statement>SELECT {round} AS n, $sender
                 </statement><on_found>REJECT ${{field n}}</on_found></query></mysql>"
            ),
            ..Settings::default()
        }
    };
    let mut daemon = Daemon::start(settings(0));
    let mut client = daemon.connect();
    let mut ask = |round: usize| {
        let expected = format!("REJECT {round}");
        let answered = eventually(|| {
            let request = PolicyRequest::new().set("client_address", "192.0.2.9");
            (client.ask(&request.octets()).unwrap() == expected).then_some(())
        });
        assert!(answered.is_some(), "configuration {round} is not in force");
    };
    ask(0);
    let connections = "SELECT count(*) FROM information_schema.processlist WHERE user = 'mppd'";
    let count = || block_on(server.ask::<u64>(connections))[0];
    let before = (threads(daemon.pid()), count());
    for round in 1..=50 {
        daemon.configure(settings(round));
        daemon.hangup();
        ask(round);
    }
    let ended = eventually(|| {
        let now = (threads(daemon.pid()), count());
        (now.0 <= before.0 + 1 && now.1 <= before.1).then_some(())
    });
    let now = (threads(daemon.pid()), count());
    assert!(ended.is_some(), "threads and connections: first {before:?}, now {now:?}");
}

#[test]
fn a_hangup_during_the_start_is_obeyed_after_it() {
    // A database that lets nobody in, which is waited for.
    let database = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let mut daemon = Daemon::start(Settings {
        tracking: true,
        group: format!(
            "<PPXX0001_track_policy_connection><host>127.0.0.1</host><port>{}</port>
             <database>mppd</database><connect_timeout>1s</connect_timeout>
             </PPXX0001_track_policy_connection>",
            database.local_addr().unwrap().port()
        ),
        ..Settings::default()
    });
    daemon.kill9();
    database.set_nonblocking(true).unwrap();
    while database.accept().is_ok() {}
    let daemon = daemon.next();
    // It is about to start once it is seen there.
    assert!(eventually(|| database.accept().ok()).is_some(), "it does not start");
    assert!(daemon.log().iter().all(|line| !line.contains("mppd is ready")), "it has started");
    daemon.hangup();
    daemon.logged("the reload", |line| mentions(line, "configuration reloaded"));
}

#[test]
fn a_question_that_was_answered_before_a_restart_is_checked_anew() {
    let mut daemon = Daemon::start(Settings { tracking: true, ..refusing("old@example.org") });
    let request = PolicyRequest::new().set("sender", "old@example.org").octets();
    for _ in 0..2 {
        assert_eq!(daemon.connect().ask(&request).unwrap(), "REJECT no");
    }
    daemon.configure(Settings { tracking: true, ..refusing("new@example.org") });
    let daemon = daemon.again();
    assert_eq!(daemon.connect().ask(&request).unwrap(), "DUNNO");
    let rows = crate::harness::records::sqlite(&daemon.state_directory());
    let repeats: Vec<bool> = rows.iter().map(|row| row.has("repeat_of")).collect();
    assert_eq!(repeats, [false, true, false]);
}
