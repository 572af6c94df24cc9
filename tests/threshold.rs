//! The engine `threshold` in a running server: limits that hold however many ask at once, behind a
//! real Postfix, over a reload.

use crate::harness::command::{Call, Said};
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::eventually;
use crate::harness::policy_client::{PolicyClient, PolicyRequest};
use crate::harness::postfix::{Postfix, PostfixSettings};
use crate::harness::smtp::SmtpClient;

fn settings(options: &str) -> Settings {
    Settings {
        checks: "threshold".into(),
        engines: format!("<threshold>{options}</threshold>"),
        ..Settings::default()
    }
}

fn decision(client: &mut PolicyClient, user: &str) -> String {
    client.ask(&PolicyRequest::new().set("sasl_username", user).octets()).unwrap()
}

#[test]
fn of_ten_thousand_at_once_exactly_as_many_pass_as_the_limit_says() {
    const SESSIONS: usize = 20;
    const REQUESTS: usize = 10_000 / SESSIONS;
    let daemon = Daemon::start(Settings {
        policy_server: "<workers>2</workers>".into(),
        ..settings(
            r#"<key>$sasl_username</key> <limit max="3333" per="1h"/> <on_over>DEFER no</on_over>"#,
        )
    });
    let passed: usize = std::thread::scope(|scope| {
        let ask = |_| {
            let mut client = daemon.connect();
            scope.spawn(move || {
                (0..REQUESTS).filter(|_| decision(&mut client, "alice") == "DUNNO").count()
            })
        };
        let sessions: Vec<_> = (0..SESSIONS).map(ask).collect();
        sessions.into_iter().map(|session| session.join().unwrap()).sum()
    });
    assert_eq!(passed, 3_333);
}

#[test]
fn a_reload_keeps_what_was_counted() {
    let with = |max: u32| {
        settings(&format!(
            r#"<key>$sasl_username</key> <limit max="{max}" per="1h"/>
               <on_over>DEFER over $max</on_over>"#
        ))
    };
    let mut daemon = Daemon::start(with(2));
    let mut client = daemon.connect();
    let asked = [(); 3].map(|()| decision(&mut client, "alice"));
    assert_eq!(asked, ["DUNNO", "DUNNO", "DEFER over 2"]);
    daemon.configure(with(3));
    daemon.hangup();
    // Asked for again and again until the new limit is in force; one more passes by it, no more.
    let mut passed = 0;
    let reloaded = eventually(|| match decision(&mut client, "alice").as_str() {
        "DUNNO" => {
            passed += 1;
            None
        }
        "DEFER over 3" => Some(()),
        _ => None,
    });
    assert!(reloaded.is_some(), "the new limit is not in force");
    assert_eq!(passed, 1);
}

/// Postfix with a policy service at DATA, where recipients at `refused.example` are refused by
/// Postfix itself.
fn postfix_at_data(daemon: &Daemon) -> Postfix {
    let refuse = "check_recipient_access inline:{{refused.example=REJECT}}";
    let settings = PostfixSettings::asking(&daemon.endpoint(), &["smtpd_data_restrictions"]);
    Postfix::start(&settings.set("smtpd_recipient_restrictions", refuse))
}

#[test]
fn recipients_that_postfix_refuses_do_not_count() {
    let daemon = Daemon::start(settings(
        r#"<key>$ip</key> <count>recipients</count> <limit max="5" per="1h"/>
           <on_over>450 4.7.1 $count of $max, $remaining left</on_over>"#,
    ));
    let postfix = postfix_at_data(&daemon);
    let mut client = SmtpClient::connect(postfix.port());
    client.come_from("ADDR=192.0.2.17 NAME=mail.example.net");
    assert_eq!(client.mail("alice@example.org").code, 250);
    for number in 0..3 {
        assert_eq!(client.rcpt(&format!("r{number}@example.com")).code, 250);
        assert_eq!(client.rcpt(&format!("r{number}@refused.example")).code, 554);
    }
    assert_eq!(client.data("Subject: x\r\n\r\nx").code, 250);
    assert_eq!(client.mail("alice@example.org").code, 250);
    for number in 0..3 {
        assert_eq!(client.rcpt(&format!("r{number}@example.com")).code, 250);
    }
    let answer = client.command("DATA");
    let over = "450 4.7.1 <DATA>: Data command rejected: 3 of 5, 2 left";
    assert_eq!(answer.text(), over);
    assert_eq!(client.command("RSET").code, 250);
    assert_eq!(client.mail("alice@example.org").code, 250);
    assert_eq!(client.rcpt("r@example.com").code, 250);
    assert_eq!(client.rcpt("s@example.com").code, 250);
    assert_eq!(client.data("Subject: x\r\n\r\nx").code, 250);
}

#[test]
fn a_recipient_that_four_lists_ask_about_counts_once() {
    let daemon = Daemon::start(settings(
        r#"<key>$ip</key> <limit max="2" per="1h"/> <on_over>450 4.7.1 enough</on_over>"#,
    ));
    // Questions of lists with contexts of their own differ, so that none is a mere repeat.
    let mut settings = PostfixSettings::default();
    for list in ["client", "helo", "sender", "recipient"] {
        let service = format!("{{ {}, policy_context={list} }}", daemon.endpoint());
        let name = format!("smtpd_{list}_restrictions");
        settings = settings.set(&name, &format!("check_policy_service {service}"));
    }
    let postfix = Postfix::start(&settings);
    let mut client = SmtpClient::greeted(postfix.port());
    assert_eq!(client.mail("alice@example.org").code, 250);
    let codes = ["a", "a", "b", "c"].map(|local| client.rcpt(&format!("{local}@example.com")).code);
    assert_eq!(codes, [250, 250, 250, 450]);
}

#[test]
fn octets_are_counted_at_the_end_of_the_message() {
    let daemon = Daemon::start(settings(
        r#"<key>$ip</key> <count>octets</count> <limit max="2KiB" per="1h"/>
           <on_over>450 4.7.1 enough for now</on_over>"#,
    ));
    let lists = ["smtpd_end_of_data_restrictions"];
    let postfix = Postfix::start(&PostfixSettings::asking(&daemon.endpoint(), &lists));
    let line = "x".repeat(70);
    let body = format!("Subject: x\r\n\r\n{}", [line.as_str(); 20].join("\r\n"));
    let send = || {
        let mut client = SmtpClient::greeted(postfix.port());
        assert_eq!(client.mail("alice@example.org").code, 250);
        assert_eq!(client.rcpt("bob@example.com").code, 250);
        client.data(&body).code
    };
    assert_eq!([send(), send()], [250, 450]);
}

#[test]
fn a_limit_holds_behind_postfix_under_load() {
    let daemon = Daemon::start(settings(
        r#"<key>all</key> <count>recipients</count> <limit max="90" per="1h"/>
           <on_over>450 4.7.1 enough</on_over>"#,
    ));
    let postfix = postfix_at_data(&daemon);
    // Ten sessions at once, 100 messages to three recipients each: thirty fit.
    // Without -A it would give up at the first refusal, with messages half sent in other sessions.
    // How many were taken is in Postfix's log alone.
    std::process::Command::new("/usr/sbin/smtp-source")
        .args(["-A", "-s", "10", "-m", "100", "-r", "3", "-N", "-f", "alice@example.org"])
        .args(["-t", "bob@example.com", &format!("inet:127.0.0.1:{}", postfix.port())])
        .stderr(std::process::Stdio::null())
        .status()
        .unwrap();
    let queued = || postfix.mail_log().matches("nrcpt=3 (queue active)").count();
    let all = eventually(|| (queued() == 30).then_some(()));
    assert!(all.is_some(), "{} messages", queued());
}

/// What `mppd threshold` says with these arguments.
fn threshold(daemon: &Daemon, arguments: &[&str]) -> Said {
    Call::new(["threshold"].iter().chain(arguments)).with(&daemon.configuration()).run()
}

const TWO: &str = r#"<key>$sasl_username</key> <limit max="2" per="1h"/> <limit max="9" per="1d"/>
    <on_over>DEFER no</on_over>"#;

#[test]
fn what_was_counted_is_listed_and_reset_while_the_server_runs() {
    let daemon = Daemon::start(settings(TWO));
    let mut client = daemon.connect();
    for user in ["alice", "bob", "alice", "alice"] {
        decision(&mut client, user);
    }
    let listed = threshold(&daemon, &["list"]);
    let lines: Vec<Vec<&str>> =
        listed.out.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["engine", "key", "counted", "blacklisted", "until"], "{}", listed.err);
    assert_eq!(lines[1].join(" "), "threshold alice 2 of 2 per 1h; 2 of 9 per 1d");
    assert_eq!(lines[2].join(" "), "threshold bob 1 of 2 per 1h; 1 of 9 per 1d");
    assert_eq!(lines.len(), 3);
    assert_eq!(decision(&mut client, "alice"), "DEFER no");
    let reset = threshold(&daemon, &["reset", "alice"]);
    assert_eq!((reset.code, reset.out.as_str()), (Some(0), "1 reset\n"), "{}", reset.err);
    assert_eq!(decision(&mut client, "alice"), "DUNNO");
    let listed = threshold(&daemon, &["list", "--json", "al"]).out;
    let alice: serde_json::Value = serde_json::from_str(&listed).unwrap();
    let limit = |per, count: u64, max: u64| {
        serde_json::json!({
            "per": per, "count": count, "max": max, "burst": null, "remaining": max - count
        })
    };
    let expected = serde_json::json!({
        "engine": "threshold",
        "key": "alice",
        "limits": [limit("1h", 1, 2), limit("1d", 1, 9)],
        "blacklisted_until": null,
    });
    assert_eq!(alice, expected);
}

#[test]
fn what_was_counted_is_listed_and_reset_while_no_server_runs() {
    let mut daemon = Daemon::start(settings(TWO));
    let mut client = daemon.connect();
    for user in ["alice", "alice", "bob"] {
        assert_eq!(decision(&mut client, user), "DUNNO");
    }
    assert!(daemon.terminate().success());
    let listed = threshold(&daemon, &["list", "a"]).out;
    assert!(listed.contains("2 of 2 per 1h") && !listed.contains("bob"), "{listed}");
    let reset = threshold(&daemon, &["reset", "--engine", "threshold", "--all"]);
    assert_eq!((reset.code, reset.out.as_str()), (Some(0), "2 reset\n"), "{}", reset.err);
    let empty = threshold(&daemon, &["list"]);
    assert_eq!((empty.out.as_str(), empty.err.as_str()), ("", "nothing has been counted\n"));
    let daemon = daemon.again();
    assert_eq!(decision(&mut daemon.connect(), "alice"), "DUNNO");
}

#[test]
fn what_is_not_there_can_not_be_reset() {
    let daemon = Daemon::start(settings(TWO));
    let nobody = threshold(&daemon, &["reset", "nobody"]);
    assert_eq!(nobody.code, Some(1));
    assert_eq!(nobody.err, "nothing has been counted for nobody\n");
    let engine = threshold(&daemon, &["list", "--engine", "treshold"]);
    assert_eq!(engine.code, Some(1));
    let message = "mppd threshold: there is no <threshold> \"treshold\" in the configuration; did \
                   you mean \"threshold\"?\n";
    assert_eq!(engine.err, message);
}

#[test]
fn counts_survive_the_end_of_the_server() {
    let mut daemon = Daemon::start(settings(TWO));
    let mut client = daemon.connect();
    assert_eq!([(); 2].map(|()| decision(&mut client, "alice")), ["DUNNO", "DUNNO"]);
    assert!(daemon.terminate().success());
    let daemon = daemon.again();
    assert_eq!(decision(&mut daemon.connect(), "alice"), "DEFER no");
}
