//! A real Postfix in front of the real binary.

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::postfix::{LISTS, Postfix, PostfixSettings};
use crate::harness::records::{self, Row, Store};
use crate::harness::smtp::SmtpClient;

const SESSIONS: usize = 100;

const RECIPIENTS: &[&str] = &["smtpd_recipient_restrictions"];

/// Puts each message on hold, so that its header can be looked at.
const HOLD: (&str, &str) = ("smtpd_data_restrictions", "check_client_access static:HOLD");

fn tracking(settings: Settings) -> Settings {
    Settings { tracking: true, ..settings }
}

fn behind_postfix(settings: Settings) -> (Daemon, Postfix) {
    let daemon = Daemon::start(settings);
    let postfix = Postfix::start(&PostfixSettings::asking(&daemon.endpoint(), RECIPIENTS));
    (daemon, postfix)
}

fn rows(daemon: &Daemon) -> Vec<Row> {
    records::sqlite(&daemon.state_directory())
}

fn queue_id(answer: &str) -> &str {
    answer.rsplit(' ').next().unwrap()
}

#[test]
fn mail_is_accepted_and_on_record_in_either_store() {
    for store in Store::each() {
        let (daemon, postfix) = behind_postfix(store.track(Settings::default()));
        accept_mail(&postfix);
        assert_accepted(&store.rows(&daemon), &postfix);
    }
}

fn accept_mail(postfix: &Postfix) {
    let mut client = SmtpClient::connect(postfix.port());
    client.come_from("ADDR=192.0.2.17 NAME=mail.example.net");
    assert_eq!(client.mail("Alice@Example.org").code, 250);
    assert_eq!(client.rcpt("bob@mail.example.com").code, 250);
    assert_eq!(client.data("Subject: x\r\n\r\nx").code, 250);
}

/// Compares a row field by field with what was asked.
fn assert_accepted(rows: &[Row], postfix: &Postfix) {
    assert_eq!(rows.len(), 1);
    let row = &rows[0];
    for (column, value) in [
        ("state", "processed"),
        ("request", "smtpd_access_policy"),
        ("protocol_state", "RCPT"),
        ("protocol_name", "ESMTP"),
        ("client_address", "192.0.2.17"),
        ("client_name", "mail.example.net"),
        ("helo_name", "client.example.net"),
        ("sender_local", "Alice"),
        ("sender_reverse_domain", "org.example"),
        ("recipient_local", "bob"),
        ("recipient_reverse_domain", "com.example.mail"),
        ("recipient_count", "0"),
        ("queue_id", ""),
        ("sasl_username", ""),
        ("server_address", "127.0.0.1"),
        ("server_port", &postfix.port().to_string()),
        ("group_id", "default"),
        ("decision", "DUNNO"),
        ("error_text", ""),
    ] {
        assert_eq!(row.text(column), value, "{column}");
    }
    assert!(!row.text("instance").is_empty());
    assert!(row.has("received_timestamp") && row.has("processed_timestamp"));
    assert!(!row.has("repeat_of"));
    let raw_request = row.text("raw_request");
    assert!(raw_request.contains("\nsender=Alice@Example.org\n"), "{raw_request:?}");
}

#[test]
fn black_senders_are_rejected_and_others_are_not() {
    let (daemon, postfix) = behind_postfix(tracking(Settings::wbl(
        "<black><sender>spam.example</sender></black><on_black>REJECT 5.7.9 Not you</on_black>",
    )));
    let mut client = SmtpClient::greeted(postfix.port());
    assert_eq!(client.mail("x@mail.spam.example").code, 250);
    let answer = client.rcpt("bob@example.com");
    let rejected = "554 5.7.9 <bob@example.com>: Recipient address rejected: Not you";
    assert_eq!(answer.text(), rejected);
    assert_eq!(client.command("RSET").code, 250);
    assert_eq!(client.mail("x@ham.example").code, 250);
    assert_eq!(client.rcpt("bob@example.com").code, 250);
    let rows = rows(&daemon);
    let record: Vec<(String, String, String)> = rows
        .iter()
        .map(|row| (row.text("wbl"), row.text("decision"), row.text("decision_text")))
        .collect();
    let line = |status: &str, decision: &str, text: &str| {
        (status.to_owned(), decision.to_owned(), text.to_owned())
    };
    assert_eq!(record, [line("black", "REJECT", "5.7.9 Not you"), line("none", "DUNNO", "")]);
}

#[test]
fn black_clients_are_deferred() {
    let daemon = Daemon::start(Settings::wbl(
        "<black><client_address>192.0.2.0/24</client_address>
         <client_address>2001:db8::/32</client_address></black>
         <on_black>DEFER Come back later</on_black>",
    ));
    let settings = PostfixSettings::asking(&daemon.endpoint(), RECIPIENTS);
    let postfix = Postfix::start(&settings.set("inet_protocols", "all"));
    for (client_address, code) in
        [("192.0.2.99", 450), ("198.51.100.1", 250), ("IPV6:2001:db8:a::25", 450)]
    {
        let mut client = SmtpClient::connect(postfix.port());
        client.come_from(&format!("ADDR={client_address}"));
        assert_eq!(client.mail("alice@example.org").code, 250);
        let answer = client.rcpt("bob@example.com");
        assert_eq!(answer.code, code, "{client_address}: {}", answer.text());
        assert_eq!(answer.text().contains("Come back later"), code == 450);
    }
}

#[test]
fn white_entries_spare_what_is_black_as_well() {
    let (_daemon, postfix) = behind_postfix(Settings::wbl(
        "<white><recipient>postmaster@example.com</recipient></white>
         <black><client_address>127.0.0.1</client_address></black>
         <on_black>REJECT no</on_black>",
    ));
    let mut client = SmtpClient::greeted(postfix.port());
    assert_eq!(client.mail("alice@example.org").code, 250);
    assert_eq!(client.rcpt("bob@example.com").code, 554);
    assert_eq!(client.rcpt("postmaster@example.com").code, 250);
}

#[test]
fn a_header_is_prepended_once_however_many_recipients_a_message_has() {
    let daemon = Daemon::start(tracking(Settings::wbl(
        "<black><sender>example.org</sender></black>
         <on_black>PREPEND X-Policy: seen</on_black>",
    )));
    let settings = PostfixSettings::asking(&daemon.endpoint(), RECIPIENTS).set(HOLD.0, HOLD.1);
    let postfix = Postfix::start(&settings);
    let mut client = SmtpClient::greeted(postfix.port());
    for message in 0..2 {
        assert_eq!(client.mail("alice@example.org").code, 250);
        for index in 0..5 {
            assert_eq!(client.rcpt(&format!("r{index}@example.com")).code, 250);
        }
        let answer = client.data("Subject: x\r\n\r\nx");
        assert_eq!(answer.code, 250, "{}", answer.text());
        let stored = postfix.queued_message(queue_id(&answer.text()));
        assert_eq!(stored.matches("X-Policy: seen").count(), 1, "message {message}: {stored}");
    }
    assert_eq!(rows(&daemon).len(), 10);
}

#[test]
fn without_a_server_postfix_puts_mail_off_with_its_own_words() {
    let (mut daemon, postfix) = behind_postfix(Settings::default());
    daemon.kill9();
    let mut client = SmtpClient::greeted(postfix.port());
    assert_eq!(client.mail("alice@example.org").code, 250);
    let answer = client.rcpt("bob@example.com");
    assert_eq!(answer.code, 451, "{}", answer.text());
    assert!(answer.text().contains("4.3.5"), "{}", answer.text());
}

#[test]
fn four_lists_that_ask_the_same_get_one_decision() {
    let daemon = Daemon::start(tracking(Settings::wbl(
        "<black><sender>example.org</sender></black>
         <on_black>PREPEND X-Policy: seen</on_black>",
    )));
    let settings = PostfixSettings::asking(&daemon.endpoint(), LISTS).set(HOLD.0, HOLD.1);
    let postfix = Postfix::start(&settings);
    let mut client = SmtpClient::greeted(postfix.port());
    assert_eq!(client.mail("alice@example.org").code, 250);
    assert_eq!(client.rcpt("bob@example.com").code, 250);
    let answer = client.data("Subject: x\r\n\r\nx");
    let stored = postfix.queued_message(queue_id(&answer.text()));
    assert_eq!(stored.matches("X-Policy: seen").count(), 1, "{stored}");
    let rows = rows(&daemon);
    assert_eq!(rows.len(), 4);
    assert!(!rows[0].has("repeat_of"), "the first is asked for the first time");
    for row in &rows[1..] {
        assert_eq!(row.octets("repeat_of"), rows[0].octets("id"));
    }
    for row in &rows {
        assert_eq!(row.text("state"), "processed");
        assert_eq!(row.text("instance"), rows[0].text("instance"));
    }
}

#[test]
fn a_restriction_list_after_every_command_is_on_record_with_its_state() {
    let daemon = Daemon::start(tracking(Settings::default()));
    let ask = format!("check_policy_service {}", daemon.endpoint());
    let mut settings = PostfixSettings::asking(&daemon.endpoint(), LISTS)
        .set("smtpd_data_restrictions", &ask)
        .set("smtpd_end_of_data_restrictions", &ask)
        .set("smtpd_etrn_restrictions", &ask);
    settings = settings.service(&[("smtpd_delay_reject", "no")]);
    let postfix = Postfix::start(&settings);
    let mut client = SmtpClient::greeted(postfix.service_port(0));
    assert_eq!(client.mail("alice@example.org").code, 250);
    assert_eq!(client.rcpt("bob@example.com").code, 250);
    assert_eq!(client.data("Subject: x\r\n\r\nx").code, 250);
    client.command("ETRN example.com");
    let rows = rows(&daemon);
    let states: Vec<String> = rows.iter().map(|row| row.text("protocol_state")).collect();
    // Waiting for the port to greet is a client that connects, too.
    let states: Vec<&str> =
        states.iter().map(String::as_str).skip_while(|state| *state == "CONNECT").collect();
    assert_eq!(states, ["EHLO", "MAIL", "RCPT", "DATA", "END-OF-MESSAGE", "ETRN"]);
}

#[test]
fn smtputf8_addresses_are_checked_and_on_record() {
    let (daemon, postfix) = behind_postfix(tracking(Settings::wbl(
        "<black><sender>jürgen@bücher.example</sender></black>
         <on_black>REJECT Grüße</on_black>",
    )));
    let mut client = SmtpClient::greeted(postfix.port());
    assert_eq!(client.command("MAIL FROM:<jürgen@bücher.example> SMTPUTF8").code, 250);
    let answer = client.rcpt("δοκιμή@παράδειγμα.example");
    assert_eq!(answer.code, 554);
    assert!(answer.text().ends_with(": Grüße"), "{}", answer.text());
    assert_eq!(client.command("RSET").code, 250);
    assert_eq!(client.command("MAIL FROM:<andere@bücher.example> SMTPUTF8").code, 250);
    assert_eq!(client.rcpt("δοκιμή@παράδειγμα.example").code, 250);
    let rows = rows(&daemon);
    assert_eq!(rows[0].text("sender_local"), "jürgen");
    assert_eq!(rows[0].text("recipient_local"), "δοκιμή");
    assert_eq!(rows[0].text("recipient_reverse_domain"), "example.παράδειγμα");
    assert_eq!(rows[1].text("decision"), "DUNNO");
}

#[test]
fn the_null_sender_is_answered_and_on_record() {
    let (daemon, postfix) =
        behind_postfix(tracking(Settings::wbl("<black><sender>example.org</sender></black>")));
    let mut client = SmtpClient::greeted(postfix.port());
    assert_eq!(client.mail("").code, 250);
    assert_eq!(client.rcpt("bob@example.com").code, 250);
    let rows = rows(&daemon);
    assert_eq!(rows.len(), 1);
    assert_eq!(rows[0].text("sender_local"), "");
    assert_eq!(rows[0].text("sender_reverse_domain"), "");
    assert_eq!(rows[0].text("decision"), "DUNNO");
}

#[test]
fn an_address_longer_than_postfix_buffers_does_not_keep_anyone_waiting() {
    let (_daemon, postfix) = behind_postfix(Settings::default());
    let mut client = SmtpClient::connect(postfix.port());
    let name = format!("{}.example.net", vec!["h".repeat(57); 4].join("."));
    assert_eq!(client.command(&format!("EHLO {name}")).code, 250);
    let local_part = "x".repeat(1_700);
    let begin = std::time::Instant::now();
    assert_eq!(client.mail(&format!("{local_part}@example.org")).code, 250);
    assert_eq!(client.rcpt(&format!("{local_part}@example.com")).code, 250);
    assert!(begin.elapsed().as_secs() < 3, "took {:?}", begin.elapsed());
}

#[test]
fn the_smtp_line_of_a_long_text_stays_below_its_limit() {
    let text = "Grüße ".repeat(200);
    let (_daemon, postfix) = behind_postfix(Settings::wbl(&format!(
        "<black><sender>example.org</sender></black><on_black>REJECT {text}</on_black>"
    )));
    for length in [1, 64, 250] {
        let mut client = SmtpClient::greeted(postfix.port());
        assert_eq!(client.command("MAIL FROM:<alice@example.org> SMTPUTF8").code, 250);
        let recipient = format!("{}@example.com", "r".repeat(length));
        let answer = client.rcpt(&recipient);
        assert_eq!(answer.code, 554, "{}", answer.text());
        assert_eq!(answer.lines.len(), 1);
        let octets = &answer.lines[0];
        assert!(octets.len() + "\r\n".len() <= 512, "{} octets", octets.len());
        let line = std::str::from_utf8(octets).expect("cut inside a character");
        assert!(line.contains("rejected: Grüße"), "{line}");
    }
}

#[test]
fn a_hundred_sessions_at_once_are_answered_and_on_record_in_either_store() {
    for store in Store::each() {
        let (daemon, postfix) = behind_postfix(store.track(Settings::wbl(
            "<black><sender>spam.example</sender></black><on_black>REJECT no</on_black>",
        )));
        deliver_from_all(&postfix);
        let rows = store.rows(&daemon);
        assert_eq!(rows.len(), 2 * SESSIONS);
        assert!(rows.iter().all(|row| row.text("state") == "processed"));
        let rejected = rows.iter().filter(|row| row.text("decision") == "REJECT").count();
        assert_eq!(rejected, SESSIONS);
    }
}

/// From each of many sessions at once a message that is refused and one that is not.
fn deliver_from_all(postfix: &Postfix) {
    let clients: Vec<_> = (0..SESSIONS).map(|_| SmtpClient::greeted(postfix.port())).collect();
    std::thread::scope(|scope| {
        for (index, mut client) in clients.into_iter().enumerate() {
            scope.spawn(move || {
                assert_eq!(client.mail(&format!("s{index}@spam.example")).code, 250);
                assert_eq!(client.rcpt("bob@example.com").code, 554);
                assert_eq!(client.command("RSET").code, 250);
                assert_eq!(client.mail(&format!("h{index}@ham.example")).code, 250);
                assert_eq!(client.rcpt("bob@example.com").code, 250);
                assert_eq!(client.data("Subject: x\r\n\r\nx").code, 250);
            });
        }
    });
}

#[test]
fn mail_over_a_unix_socket_is_answered() {
    let directory = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), mode).unwrap();
    let endpoint = crate::harness::policy_client::Endpoint::Unix(directory.path().join("policy"));
    let settings =
        Settings::wbl("<black><sender>spam.example</sender></black><on_black>REJECT no</on_black>");
    let listen = vec![(" mode=\"0660\" group=\"postfix\"", endpoint)];
    let (_daemon, postfix) = behind_postfix(Settings { listen, ..settings });
    let mut client = SmtpClient::greeted(postfix.port());
    assert_eq!(client.mail("x@spam.example").code, 250);
    assert_eq!(client.rcpt("bob@example.com").code, 554);
}
