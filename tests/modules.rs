//! The drop-in modules: each is enabled by the lines that its own comment tells, with a real
//! database behind it, and does what its page says.

use std::path::Path;

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::mariadb::MariaDb;
use crate::harness::policy_client::PolicyRequest;
use crate::mysql::block_on;

fn shipped(file: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf/esm").join(file);
    std::fs::read_to_string(path).unwrap()
}

#[test]
fn the_pages_of_the_modules_say_what_the_modules_say() {
    for module in ["PPXX0002", "PPXX0003", "PPXX0004"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/modules");
        let page = std::fs::read_to_string(path.join(module).with_extension("md")).unwrap();
        for element in ["policy_check_engines", "engines"] {
            let lines = lines(module, element);
            assert!(!lines.is_empty() && page.contains(&lines), "{module}: {lines}");
        }
        let text = shipped(&format!("{module}.xml"));
        let chain = text.split("<policy_check_engines>").nth(1).unwrap().split('<').next().unwrap();
        assert!(page.contains(&format!("`{chain}`")), "{module}: {chain}");
    }
}

/// The lines that the comment of a module names.
fn lines(module: &str, element: &str) -> String {
    let text = shipped(&format!("{module}.xml"));
    let comment = text.split_once("-->").unwrap().0;
    let begin = format!("<{element} file=");
    let lines = comment.lines().map(str::trim).filter(|line| line.starts_with(&begin));
    lines.collect()
}

/// A server with nothing but these modules, which are enabled as they say.
async fn start(modules: &[&str]) -> (MariaDb, Daemon) {
    let server = MariaDb::start().await;
    let connection = format!("<mppd>{}</mppd>", server.element_named("connection"));
    let mut files = vec![("esm/connection.xml".to_owned(), connection)];
    let (mut chains, mut engines) = (String::new(), String::new());
    for module in modules {
        server.execute(&shipped(&format!("{module}.sql"))).await;
        files.push((format!("esm/{module}.xml"), shipped(&format!("{module}.xml"))));
        chains.push_str(&lines(module, "policy_check_engines"));
        engines.push_str(&lines(module, "engines"));
    }
    let whole = format!("<mppd><common>{chains}</common>{engines}</mppd>");
    let daemon = Daemon::start(Settings { whole: Some(whole), files, ..Settings::default() });
    (server, daemon)
}

fn decision(daemon: &Daemon, attributes: &[(&str, &str)]) -> String {
    let mut request = PolicyRequest::new();
    for (name, value) in attributes {
        request = request.set(name, value);
    }
    daemon.connect().ask(&request.octets()).unwrap()
}

#[test]
fn lists_in_sql_permit_and_refuse() {
    let (server, daemon) = block_on(start(&["PPXX0002"]));
    block_on(async {
        server
            .execute(
                "INSERT INTO PPXX0002_entry (list, attribute, entry, reason) VALUES
                   ('black', 'sender', 'bad.example', 'spam'),
                   ('black', 'sender', 'someone@example.org', 'asked to'),
                   ('white', 'sender', 'friend@mail.bad.example', 'a friend'),
                   ('black', 'client_name', 'dynamic.example', 'dialup'),
                   ('black', 'recipient', 'gone@example.com', 'gone'),
                   ('black', 'client_address', '2001:db8::1', 'one'),
                   ('black', 'sasl_username', 'mallory', 'locked')",
            )
            .await;
        server
            .execute(
                "INSERT INTO PPXX0002_entry VALUES
                   ('black', 'sender', 'past.example', 'old', UTC_TIMESTAMP() - INTERVAL 1 MINUTE)",
            )
            .await;
        server
            .execute(
                "INSERT INTO PPXX0002_network (list, first, last, reason) VALUES
                   ('black', INET6_ATON('198.51.100.0'), INET6_ATON('198.51.100.255'), 'net'),
                   ('white', INET6_ATON('198.51.100.7'), INET6_ATON('198.51.100.7'), 'ours'),
                   ('black', INET6_ATON('2001:db8:1::'),
                     INET6_ATON('2001:db8:1:ffff:ffff:ffff:ffff:ffff'), 'net6')",
            )
            .await;
    });
    let refused = |what: &str, why: &str| {
        format!("REJECT 5.7.1 {what} is on the black list of this site: {why}")
    };
    for (name, value, expected) in [
        ("sender", "x@bad.example", refused("sender", "spam")),
        ("sender", "X@deep.mail.BAD.example", refused("sender", "spam")),
        ("sender", "x@notbad.example", "DUNNO".to_owned()),
        ("sender", "friend@mail.bad.example", "DUNNO".to_owned()),
        ("sender", "Someone@Example.org", refused("sender", "asked to")),
        ("sender", "x@past.example", "DUNNO".to_owned()),
        ("sender", "", "DUNNO".to_owned()),
        ("client_name", "1-2-3.dynamic.example", refused("client_name", "dialup")),
        ("client_name", "unknown", "DUNNO".to_owned()),
        ("recipient", "gone@example.com", refused("recipient", "gone")),
        ("client_address", "2001:db8::1", refused("client_address", "one")),
        ("client_address", "198.51.100.9", refused("client_address", "net")),
        ("client_address", "198.51.100.7", "DUNNO".to_owned()),
        ("client_address", "198.51.101.1", "DUNNO".to_owned()),
        ("client_address", "2001:db8:1::5", refused("client_address", "net6")),
        ("client_address", "unknown", "DUNNO".to_owned()),
        ("sasl_username", "Mallory", refused("sasl_username", "locked")),
        ("sender", "' OR 1=1 -- ", "DUNNO".to_owned()),
    ] {
        assert_eq!(decision(&daemon, &[(name, value)]), expected, "{name}={value}");
    }
}

#[test]
fn who_writes_to_a_spam_trap_is_on_the_list() {
    let (server, daemon) = block_on(start(&["PPXX0003"]));
    block_on(server.execute("INSERT INTO PPXX0003_trap VALUES ('trap@example.com')"));
    let ask = |client: &str, recipient: &str, state: &str| {
        let attributes =
            [("client_address", client), ("recipient", recipient), ("protocol_state", state)];
        decision(&daemon, &attributes)
    };
    let refused = |client: &str| format!("REJECT 5.7.1 {client} wrote to a spam trap of this site");
    assert_eq!(ask("192.0.2.1", "user@example.com", "RCPT"), "DUNNO");
    assert_eq!(ask("192.0.2.1", "Trap@Example.com", "RCPT"), refused("192.0.2.1"));
    assert_eq!(ask("192.0.2.1", "user@example.com", "RCPT"), refused("192.0.2.1"));
    assert_eq!(ask("192.0.2.1", "", "CONNECT"), refused("192.0.2.1"));
    assert_eq!(ask("192.0.2.2", "user@example.com", "RCPT"), "DUNNO");
    block_on(server.execute("UPDATE PPXX0003_client SET listed_until = UTC_TIMESTAMP()"));
    assert_eq!(ask("192.0.2.1", "user@example.com", "RCPT"), "DUNNO");
    assert_eq!(ask("192.0.2.1", "trap@example.com", "RCPT"), refused("192.0.2.1"));
    assert_eq!(ask("unknown", "trap@example.com", "RCPT"), refused("unknown"));
    assert_eq!(ask("unknown", "user@example.com", "RCPT"), "DUNNO");
    block_on(server.execute("DELETE FROM PPXX0003_client WHERE client_address = 'unknown'"));
    let hits = "SELECT CAST(client_address AS CHAR), hits FROM PPXX0003_client";
    let hits = block_on(server.ask::<(String, u32)>(hits));
    assert_eq!(hits, [("192.0.2.1".to_owned(), 2)]);
}

#[test]
fn a_user_can_write_to_as_many_recipients_as_allowed() {
    let (server, daemon) = block_on(start(&["PPXX0004"]));
    block_on(server.execute("INSERT INTO PPXX0004_limit VALUES ('alice', 2), ('bob', 1)"));
    let ask = |user: &str, state: &str| {
        decision(&daemon, &[("sasl_username", user), ("protocol_state", state)])
    };
    let over = "REJECT 5.7.1 alice has written to 2 recipients today";
    assert_eq!(ask("alice", "DATA"), "DUNNO");
    assert_eq!(ask("alice", "RCPT"), "DUNNO");
    assert_eq!(ask("alice", "RCPT"), "DUNNO");
    assert_eq!(ask("alice", "RCPT"), over);
    assert_eq!(ask("Alice", "RCPT"), over.replace("alice", "Alice"));
    assert_eq!(ask("bob", "RCPT"), "DUNNO");
    assert_eq!(ask("carol", "RCPT"), "DUNNO");
    assert_eq!(ask("", "RCPT"), "DUNNO");
    let yesterday = "UPDATE PPXX0004_sent SET day = day - INTERVAL 1 DAY";
    block_on(server.execute(yesterday));
    assert_eq!(ask("alice", "RCPT"), "DUNNO");
}

#[test]
fn a_limit_is_exact_under_fifty_connections_at_once() {
    const LIMIT: usize = 100;
    let (server, daemon) = block_on(start(&["PPXX0004"]));
    block_on(server.execute(&format!("UPDATE PPXX0004_limit SET recipients = {LIMIT}")));
    let barrier = std::sync::Barrier::new(50);
    let ask = || {
        let mut client = daemon.connect();
        barrier.wait();
        let request = || PolicyRequest::new().set("sasl_username", "alice");
        let answers = (0..5).map(|_| client.ask(&request().octets()).unwrap());
        answers.filter(|answer| answer == "DUNNO").count()
    };
    let allowed: usize = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..50).map(|_| scope.spawn(ask)).collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });
    let counted = block_on(server.ask::<u32>("SELECT recipients FROM PPXX0004_sent"));
    assert_eq!((allowed, counted), (LIMIT, vec![250]));
}

#[test]
fn the_modules_stand_together_in_the_order_of_their_lines() {
    let (server, daemon) = block_on(start(&["PPXX0004", "PPXX0002", "PPXX0003"]));
    block_on(async {
        server.execute("INSERT INTO PPXX0003_trap VALUES ('trap@example.com')").await;
        server
            .execute(
                "INSERT INTO PPXX0002_entry (list, attribute, entry) VALUES
                   ('white', 'client_address', '192.0.2.1')",
            )
            .await;
        server.execute("UPDATE PPXX0004_limit SET recipients = 1").await;
    });
    let ask = |client: &str, user: &str| {
        let attributes = [
            ("client_address", client),
            ("sasl_username", user),
            ("recipient", "trap@example.com"),
        ];
        decision(&daemon, &attributes)
    };
    assert_eq!(ask("192.0.2.1", "alice"), "DUNNO");
    assert_eq!(ask("192.0.2.1", "alice"), "REJECT 5.7.1 alice has written to 1 recipients today");
    let trapped = "REJECT 5.7.1 192.0.2.2 wrote to a spam trap of this site";
    assert_eq!(ask("192.0.2.2", ""), trapped);
}
