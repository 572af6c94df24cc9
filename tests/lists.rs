//! White and black lists in the real server: in files of other programs, in a database, and read
//! again.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::process::{Command, Stdio};

use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::eventually;
use crate::harness::mariadb::MariaDb;
use crate::harness::policy_client::{PolicyClient, PolicyRequest};
use crate::mysql::block_on;

/// An engine whose answer tells the status.
fn telling(content: &str) -> Settings {
    Settings::wbl(&format!(
        "{content}<on_white>REJECT white</on_white><on_black>REJECT $text</on_black>"
    ))
}

fn asked(client: &mut PolicyClient, attribute: &str, value: &str) -> String {
    client.ask(&PolicyRequest::new().set(attribute, value).octets()).unwrap()
}

#[test]
fn a_broken_list_file_keeps_the_old_list_until_it_is_mended() {
    let lists = tempfile::tempdir().unwrap();
    let list = lists.path().join("networks");
    std::fs::write(&list, "192.0.2.0/24").unwrap();
    let file = list.display();
    let daemon =
        Daemon::start(telling(&format!("<black><client_address file=\"{file}\"/></black>")));
    let mut client = daemon.connect();
    let listed = "REJECT on the black list: client_address 192.0.2.0/24";
    assert_eq!(asked(&mut client, "client_address", "192.0.2.7"), listed);

    std::fs::write(&list, "198.51.100.0/24\n192.0.2.300").unwrap();
    daemon.hangup();
    let line = daemon.logged("what is broken", |line| mentions(line, "192.0.2.300"));
    assert!(mentions(&line, "networks:2:"), "{line}");
    assert_eq!(asked(&mut client, "client_address", "192.0.2.7"), listed);
    assert_eq!(asked(&mut client, "client_address", "198.51.100.7"), "DUNNO");

    std::fs::write(&list, "198.51.100.0/24").unwrap();
    daemon.hangup();
    let mended = eventually(|| {
        let answer = asked(&mut client, "client_address", "198.51.100.7");
        answer.starts_with("REJECT").then_some(())
    });
    assert!(mended.is_some(), "the mended list is not in force");
    assert_eq!(asked(&mut client, "client_address", "192.0.2.7"), "DUNNO");
}

#[test]
fn the_lists_that_postgrey_comes_with_are_read_as_they_are() {
    let daemon = Daemon::start(telling(
        "<white>
           <client file=\"/etc/postgrey/whitelist_clients\" format=\"postgrey\"/>
           <recipient file=\"/etc/postgrey/whitelist_recipients\" format=\"postgrey\"/>
         </white>",
    ));
    let mut client = daemon.connect();
    for (attribute, value) in [
        ("client_name", "mx.debian.org"),
        ("client_name", "ms-smtp-03.nyc.RR.com"),
        ("client_address", "195.235.39.17"),
        ("client_address", "2a01:4180:4051:800::1"),
        ("recipient", "postmaster+x@example.org"),
    ] {
        assert_eq!(asked(&mut client, attribute, value), "REJECT white", "{value}");
    }
    for (attribute, value) in [("client_name", "notdebian.org"), ("client_address", "195.235.3.9")]
    {
        assert_eq!(asked(&mut client, attribute, value), "DUNNO", "{value}");
    }
}

/// What Postfix finds in a table for each of these keys, in their order; nothing where it finds
/// nothing.
fn postmap(table: &str, keys: &[String]) -> Vec<Option<String>> {
    let mut child = Command::new("postmap")
        .args(["-q", "-", table])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all((keys.join("\n") + "\n").as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let found = String::from_utf8(output.stdout).unwrap();
    let found: Vec<(&str, &str)> = found.lines().filter_map(|line| line.split_once('\t')).collect();
    let result = |key: &String| found.iter().find(|(found, _)| found == key);
    keys.iter().map(|key| result(key).map(|(_, result)| (*result).to_owned())).collect()
}

/// Numbers that look like chance, the same each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }

    /// A table of networks that lie in one another, and exclude one another.
    fn table(&mut self) -> String {
        let mut table = String::new();
        let mut depth = 0;
        for _ in 0..60 {
            let length = 22 + u32::try_from(self.below(11)).unwrap();
            let address = 0xc000_0200_u32 | u32::try_from(self.below(1024)).unwrap();
            let address = Ipv4Addr::from(address & u32::MAX << (32 - length));
            let network = format!("{address}/{length}");
            let sign = if self.below(6) == 0 { "!" } else { "" };
            match self.below(12) {
                0 => {
                    writeln!(table, "if {sign}{network}").unwrap();
                    depth += 1;
                }
                1 | 2 if depth > 0 => {
                    table += "endif\n";
                    depth -= 1;
                }
                3..=6 => writeln!(table, "{sign}{network} REJECT").unwrap(),
                7..=9 => writeln!(table, "{sign}{network} OK").unwrap(),
                _ => writeln!(table, "{sign}{network}\n  DUNNO").unwrap(),
            }
        }
        table + &"endif\n".repeat(depth)
    }
}

#[test]
fn tables_of_networks_say_what_they_say_to_postfix() {
    let lists = tempfile::tempdir().unwrap();
    let file = lists.path().join("table");
    let element = format!("<client_address file=\"{}\" format=\"cidr\"/>", file.display());
    let addresses: Vec<String> = (0..1024_u32)
        .step_by(3)
        .map(|host| format!("192.0.{}.{}", host / 256, host % 256))
        .collect();
    let mut numbers = Numbers(25);
    let mut all = Vec::new();
    for _ in 0..4 {
        std::fs::write(&file, numbers.table()).unwrap();
        let daemon =
            Daemon::start(telling(&format!("<white>{element}</white><black>{element}</black>")));
        let mut client = daemon.connect();
        let found = postmap(&format!("cidr:{}", file.display()), &addresses);
        for (address, found) in addresses.iter().zip(found) {
            let answer = asked(&mut client, "client_address", address);
            let expected = match found.as_deref() {
                Some("OK") => "REJECT white",
                Some("REJECT") => "REJECT on the black list",
                _ => "DUNNO",
            };
            assert!(answer.starts_with(expected), "{address}: {answer}, not {expected}");
            all.push(expected);
        }
    }
    for expected in ["REJECT white", "REJECT on the black list", "DUNNO"] {
        assert!(all.contains(&expected), "the tables never say {expected}");
    }
}

async fn with_table() -> MariaDb {
    let server = MariaDb::start().await;
    server.execute("CREATE TABLE listed (side VARCHAR(9), name VARCHAR(255), entry TEXT)").await;
    server
        .execute(
            "INSERT INTO listed VALUES ('black', 'a@example.org', 'row 1'), \
             ('black', 'b@example.org', NULL), ('white', 'w@example.org', 'row 3'), \
             ('black', 'w@example.org', 'row 4')",
        )
        .await;
    server
}

fn sql(server: &MariaDb, side: &str) -> String {
    let connection = server.element_named("connection");
    format!(
        "<sql>{connection}<statement>SELECT entry FROM listed \
         WHERE side = '{side}' AND name = $sender</statement></sql>"
    )
}

#[test]
fn what_a_statement_finds_is_on_the_list() {
    let server = block_on(with_table());
    let (white, black) = (sql(&server, "white"), sql(&server, "black"));
    let daemon = Daemon::start(telling(&format!(
        "<white>{white}</white>
         <black>{black}<sender>w@example.org x@example.org</sender></black>"
    )));
    let mut client = daemon.connect();
    for (sender, answer) in [
        ("a@example.org", "REJECT on the black list: sql row 1"),
        ("b@example.org", "REJECT on the black list: sql"),
        ("w@example.org", "REJECT white"),
        ("x@example.org", "REJECT on the black list: sender x@example.org"),
        ("' OR ''='", "DUNNO"),
    ] {
        assert_eq!(asked(&mut client, "sender", sender), answer, "{sender}");
    }
}

#[test]
fn a_database_that_is_away_is_an_exception_and_what_is_kept_is_still_known() {
    let mut server = block_on(with_table());
    let black = sql(&server, "black");
    let daemon = Daemon::start(telling(&format!(
        "<white><sender>w@example.org</sender></white><black>{black}</black>
         <on_exception>DEFER $text</on_exception>"
    )));
    let mut client = daemon.connect();
    let listed = "REJECT on the black list: sql row 1";
    assert_eq!(asked(&mut client, "sender", "a@example.org"), listed);
    server.kill();
    assert_eq!(asked(&mut client, "sender", "a@example.org"), listed);
    assert_eq!(asked(&mut client, "sender", "w@example.org"), "REJECT white");
    let answer = asked(&mut client, "sender", "c@example.org");
    assert!(answer.starts_with("DEFER can't ask the database for the black list"), "{answer}");
}
