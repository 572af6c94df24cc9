//! What mppd shows of what others chose: in replies, logs and the output of commands it is text, and
//! never a line, a header or a command to a terminal.

use crate::following::Following;
use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::PolicyRequest;

/// What somebody may try in a value: commands to terminals, ends of lines and of headers, letters
/// that turn the direction, and the quotes of JSON, SQL, LDAP and XML.
const HOSTILE: [&str; 10] = [
    "\u{1b}[2J\u{1b}]0;title\u{7}",
    "\u{9b}31m\u{90}q",
    "a\rX-Header: b\r",
    "\u{202e}moc.elpmaxe@ecila\u{2066}\u{200f}",
    "\u{2028}\u{2029}\u{feff}\u{85}",
    "\",\"decision\":\"OK\"}{\"",
    "' OR 1=1; DROP TABLE track_policy_request; -- ",
    "*)(objectClass=*))(|(a=\\",
    "</value><oops>&amp;&#10;]]>",
    "$sender ${field x} %s %n \\x1b",
];

/// Attributes that a client, or whoever configures it, chooses.
const CHOSEN: [&str; 8] = [
    "sender",
    "recipient",
    "helo_name",
    "client_name",
    "reverse_client_name",
    "sasl_username",
    "ccert_subject",
    "queue_id",
];

/// Whether a character does something to a terminal or to the reading of a line.
fn is_obeyed(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}'
            | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

fn assert_shown_only(what: &str, text: &str) {
    for line in text.lines() {
        let obeyed = line.chars().find(|character| is_obeyed(*character));
        assert_eq!(obeyed, None, "{what}: {line:?}");
    }
}

/// A server that repeats what it is told in its reply and its log, and counts by it.
fn repeating(format: &str) -> Settings {
    Settings {
        tracking: true,
        checks: "said threshold prepend".to_owned(),
        engines: "<log id=\"said\"><text>$sender $recipient $helo</text></log>
            <threshold id=\"threshold\"><key>$sender</key><limit max=\"9000\" per=\"1h\"/>
            <on_over>450 4.7.1 enough of $sender</on_over></threshold>
            <set id=\"prepend\"><on_done>PREPEND X-Sender: $sender $helo</on_done></set>"
            .to_owned(),
        environment: vec![("MPPD_COMMON__LOG__FORMAT", format.to_owned())],
        ..Settings::default()
    }
}

/// Asks with each hostile value in all attributes at once; the replies.
fn provoke(daemon: &Daemon) -> Vec<String> {
    let mut client = daemon.connect();
    let ask = |value: &&str| {
        let set = |request: PolicyRequest, name: &&str| request.set(name, value);
        client.ask(&CHOSEN.iter().fold(PolicyRequest::new(), set).octets()).unwrap()
    };
    HOSTILE.iter().map(ask).collect()
}

#[test]
fn no_reply_has_another_line_or_header_than_its_own() {
    let daemon = Daemon::start(repeating("json"));
    for reply in provoke(&daemon) {
        assert!(reply.starts_with("PREPEND X-Sender: "), "{reply:?}");
        assert!(!reply.chars().any(char::is_control), "{reply:?}");
    }
}

#[test]
fn every_line_of_the_log_is_a_line_of_the_log() {
    for format in ["terminal", "json"] {
        let mut daemon = Daemon::start(repeating(format));
        provoke(&daemon);
        assert!(daemon.terminate().success());
        for line in daemon.log() {
            match format {
                "json" => {
                    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
                    assert!(line.is_object(), "{line}");
                    for (name, value) in line.as_object().unwrap() {
                        assert_ne!((name.as_str(), value.as_str()), ("decision", Some("OK")));
                    }
                }
                _ => assert!(line.starts_with("20"), "{line:?}"),
            }
            assert_shown_only(format, &line);
        }
    }
}

#[test]
fn input_that_is_no_request_is_shown_and_not_obeyed() {
    for format in ["terminal", "json"] {
        let mut daemon = Daemon::start(repeating(format));
        for hostile in HOSTILE {
            let mut client = daemon.connect();
            client.send(format!("{hostile}\u{0}\n\n").as_bytes()).unwrap();
            assert_eq!(client.until_closed().unwrap(), b"", "{hostile:?}");
        }
        assert!(daemon.terminate().success());
        let log = daemon.log();
        let told = log.iter().filter(|line| line.contains("bad input"));
        assert_eq!(told.count(), HOSTILE.len(), "{log:?}");
        for line in &log {
            assert_shown_only(format, line);
        }
    }
}

#[test]
fn no_command_prints_what_a_terminal_would_obey() {
    let daemon = Daemon::start(repeating("json"));
    provoke(&daemon);
    let call = |arguments: &[&str]| Call::new(arguments).with(&daemon.configuration()).run();
    let found = call(&["track", "search", "--json"]).out;
    assert_eq!(found.lines().count(), HOSTILE.len(), "{found}");
    for row in found.lines() {
        let id = serde_json::from_str::<serde_json::Value>(row).unwrap()["id"].clone();
        for how in [None, Some("--all"), Some("--json")] {
            let arguments = ["track", "show", id.as_str().unwrap()].into_iter().chain(how);
            let shown = call(&arguments.collect::<Vec<_>>());
            assert_eq!(shown.code, Some(0), "{}", shown.err);
            assert_shown_only("track show", &shown.out);
        }
    }
    for how in [None, Some("--json")] {
        let arguments: Vec<&str> = ["-n", "100"].into_iter().chain(how).collect();
        let mut following = Following::start(&daemon, &arguments);
        for _ in HOSTILE {
            assert_shown_only("track tail", &following.line());
        }
        assert!(following.interrupt().success());
    }
    assert_shown_only("track search --json", &found);
    let endpoint = daemon.endpoint().to_string();
    for hostile in HOSTILE {
        for arguments in [
            &["track", "show", hostile][..],
            &["track", "search", "--sender", hostile],
            &["track", "search", "--where", hostile],
            &["track", "search", "--where", &format!("{hostile}=1")],
            &["track", "search", "--where", &format!("size={hostile}")],
            &["track", "search", "--text", hostile],
            &["track", "search", "--client", &format!("{hostile}/8")],
            &["track", "search", "--before", hostile],
            &["track", "search", "--since", hostile],
            &["track", "stats", "--status", hostile],
            &["threshold", "list", hostile],
            &["ask", "--to", &endpoint, "--attr", &format!("sender={hostile}")],
            &["check", "--set", hostile],
            &["status", "--state-directory", hostile],
        ] {
            let said = call(arguments);
            assert_shown_only(&format!("{arguments:?}"), &(said.out + &said.err));
        }
    }
    for arguments in [
        &["track", "search"][..],
        &["track", "search", "--plan"],
        &["track", "stats"],
        &["track", "stats", "--json"],
        &["track", "stats", "--by", "sender,recipient,reason,client-name,sasl-user"],
        &["track", "stats", "--by", "sender,client-name,sasl-user", "--json"],
        &["threshold", "list"],
        &["status"],
    ] {
        let said = call(arguments);
        assert_shown_only(&format!("{arguments:?}"), &(said.out + &said.err));
    }
}
