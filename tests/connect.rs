//! `mppd check --connect`: what the configuration connects to is tried, against real servers and
//! against none, and nothing is written.

use std::net::TcpListener;

use mppd_dns::testkit::{Server as NameServer, Zones};
use mppd_engines::testkit::{SmtpScript, SmtpServer};

use crate::harness::command::{Call, Said};
use crate::harness::mariadb::{MariaDb, tls_file};
use crate::harness::ports::free_port;
use crate::harness::redis::Redis;
use crate::harness::slapd::{PASSWORD, READER, Slapd};
use crate::harness::web::WebService;
use crate::mysql::block_on;

/// A configuration in parts.
#[derive(Default)]
struct Parts {
    common: String,
    groups: String,
    group: String,
    engines: String,
    checks: &'static str,
    tracks: bool,
}

impl Parts {
    fn xml(&self) -> String {
        let Parts { common, groups, group, engines, checks, tracks } = self;
        let (begin, track) = match tracks {
            true => (
                "<policy_begin_engines>rows.received</policy_begin_engines>
                 <policy_end_engines>rows.processed</policy_end_engines>",
                "<track id=\"rows\"/>",
            ),
            false => ("", ""),
        };
        format!(
            "<mppd>
               <common>{begin}<policy_check_engines>{checks}</policy_check_engines>{common}</common>
               <groups>{groups}<group id=\"default\">{group}</group></groups>
               <engines>{track}{engines}</engines>
             </mppd>"
        )
    }

    fn check(&self, arguments: &[&str]) -> Said {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("mppd.conf.xml");
        std::fs::write(&file, self.xml()).unwrap();
        Call::new(["check", "--connect"].iter().chain(arguments)).with(&file).run()
    }
}

/// The line that tells of somebody's connection.
fn line<'a>(said: &'a Said, by: &str) -> &'a str {
    let start = format!("  {by}  ");
    let found = said.out.lines().find(|line| line.contains(&start));
    found.unwrap_or_else(|| panic!("{by}: {}{}", said.out, said.err))
}

fn assert_fails(said: &Said, by: &str, words: &[&str]) {
    assert_eq!(said.code, Some(1), "{}{}", said.out, said.err);
    let line = line(said, by);
    assert!(line.starts_with("failed  "), "{line}");
    for word in words {
        assert!(line.contains(word), "{word}: {line}");
    }
}

fn assert_works(said: &Said, by: &str, words: &[&str]) {
    let line = line(said, by);
    assert!(line.starts_with("ok      "), "{line}");
    for word in words {
        assert!(line.contains(word), "{word}: {line}");
    }
}

fn tracking(server: &MariaDb) -> Parts {
    Parts { tracks: true, group: server.element(), ..Parts::default() }
}

fn lists(server: &MariaDb, statement: &str) -> Parts {
    let connection = server.element_named("connection");
    let engines = format!(
        "<mysql id=\"lists\">{connection}<query id=\"blocked\"><statement>{statement}</statement>\
         </query></mysql>"
    );
    Parts { checks: "lists.blocked", engines, ..Parts::default() }
}

fn ldap(url: &str, password: &str, base: &str) -> Parts {
    let engines = format!(
        "<ldap id=\"people\"><url>{url}</url><bind_dn>{READER}</bind_dn>\
         <password>{password}</password><base>{base}</base><filter>(mail=$recipient)</filter></ldap>"
    );
    Parts { checks: "people", engines, ..Parts::default() }
}

async fn tables(server: &MariaDb) -> Vec<String> {
    server.ask("SELECT table_name FROM information_schema.tables WHERE table_schema = 'mppd'").await
}

#[test]
fn everything_that_a_database_is_asked_for_is_tried_and_nothing_is_written() {
    let server = block_on(MariaDb::start());
    let (connection, tracking) = (server.element_named("connection"), server.element());
    block_on(server.execute("CREATE TABLE mppd.lists (client VARCHAR(64), hourly INT)"));
    let statement = "<statement>SELECT client FROM lists WHERE client = $ip</statement>";
    let parts = Parts {
        common: format!("<state_store><mysql>{connection}</mysql></state_store>"),
        groups: format!("<sql>{connection}{statement}</sql>"),
        group: tracking,
        engines: format!(
            "<mysql id=\"lists\">{connection}<query id=\"blocked\">{statement}</query></mysql>
             <wbl><black><sql>{connection}{statement}</sql></black></wbl>
             <recipient><domain name=\"example.org\"><sql>{connection}{statement}</sql></domain>
             </recipient>
             <threshold><key>$sender</key><limit id=\"hourly\" max=\"5\" per=\"1h\"/>
               <exceptions>{connection}<statement>SELECT hourly FROM lists WHERE client = $sender
               </statement></exceptions></threshold>"
        ),
        checks: "lists.blocked wbl recipient threshold",
        tracks: true,
    };
    let said = parts.check(&[]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    let target = format!("mysql://mppd@127.0.0.1:{}/mppd", server.port());
    let family = if MariaDb::is_mariadb() { "MariaDB" } else { "MySQL" };
    let makes = "mppd makes the table track_policy_request when it starts";
    assert_works(&said, "tracking of default", &[&target, family, makes]);
    assert_works(&said, "state store", &["mppd makes the table state_store when it starts"]);
    for by in ["choice of groups", "engine lists.blocked", "engine wbl", "engine recipient"] {
        assert_works(&said, by, &[&target, family, "the statement can be carried out"]);
    }
    assert_works(&said, "engine threshold", &["the statement can be carried out"]);
    assert!(said.out.ends_with("All 7 connections work.\n"), "{}", said.out);
    assert!(!said.out.contains("secret") && !said.err.contains("secret"), "{}", said.out);
    assert_eq!(block_on(tables(&server)), ["lists"]);
}

#[test]
fn every_server_that_is_not_there_is_told_with_what_to_do() {
    let port = free_port();
    let connection = format!("<connection><host>127.0.0.1</host><port>{port}</port></connection>");
    let parts = Parts {
        common: format!(
            "<dns><server>127.0.0.1:{port}</server><timeout>400ms</timeout></dns>
             <state_store><redis><url>redis://127.0.0.1:{port}</url></redis></state_store>"
        ),
        engines: format!(
            "<mysql id=\"lists\">{connection}<query id=\"blocked\">
               <statement>SELECT 1</statement></query></mysql>
             <delegate id=\"inet\"><server>inet:127.0.0.1:{port}</server></delegate>
             <delegate id=\"unix\"><server>unix:/nonexistent/socket</server></delegate>
             <delegate id=\"name\"><server>inet:nowhere.invalid:10040</server></delegate>
             <http><uri>http://127.0.0.1:{port}/$ip</uri></http>
             <ldap><url>ldap://127.0.0.1:{port}</url><base>dc=example</base><filter>(a=b)</filter>
             </ldap>
             <recipient><domain name=\"example.org\">
               <callout><host>127.0.0.1</host><port>{port}</port></callout></domain></recipient>"
        ),
        checks: "lists.blocked inet unix name http ldap recipient",
        ..Parts::default()
    };
    let said = parts.check(&[]);
    let start = "start the server, or correct host and port";
    assert_fails(&said, "state store", &["redis://127.0.0.1", "refused", "correct its url"]);
    assert_fails(&said, "dns", &[&format!("dns://127.0.0.1:{port}"), "another one in <dns>"]);
    assert_fails(&said, "engine lists.blocked", &["mysql://mppd@127.0.0.1", "refused", start]);
    assert_fails(&said, "engine inet", &["inet:127.0.0.1", "refused", start]);
    assert_fails(&said, "engine unix", &["unix:/nonexistent/socket", "the path of its socket"]);
    assert_fails(&said, "engine name", &["nowhere.invalid", "correct the name of the host"]);
    assert_fails(&said, "engine http", &["http://127.0.0.1", "refused", start]);
    assert_fails(&said, "engine ldap", &["ldap://127.0.0.1", "refused", start]);
    assert_fails(&said, "engine recipient", &["smtp://127.0.0.1", "refused", start]);
    assert!(said.out.ends_with("9 of 9 connections failed.\n"), "{}", said.out);
}

#[test]
fn servers_of_every_kind_that_are_there_are_reached() {
    let name_server = NameServer::start(Zones::read("example.org A 192.0.2.1"));
    let delegate = TcpListener::bind("127.0.0.1:0").unwrap();
    let web = WebService::start(|_| (200, String::new()));
    let mail_server = SmtpServer::start(SmtpScript::default());
    let parts = Parts {
        common: format!("<dns><server>{}</server></dns>", name_server.address()),
        engines: format!(
            "<delegate><server>inet:{}</server></delegate>
             <http><uri>{}/$ip</uri></http>
             <recipient><domain name=\"example.org\">
               <callout><host>127.0.0.1</host><port>{}</port></callout></domain></recipient>",
            delegate.local_addr().unwrap(),
            web.origin,
            mail_server.port(),
        ),
        checks: "delegate http recipient",
        ..Parts::default()
    };
    let said = parts.check(&[]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert_works(&said, "dns", &["answers"]);
    assert_works(&said, "engine delegate", &["takes connections"]);
    assert_works(&said, "engine http", &["takes connections"]);
    assert_works(&said, "engine recipient", &["220 mx.example.org ESMTP"]);
    assert!(web.lines.try_recv().is_err(), "the service was asked");
}

#[test]
fn a_wrong_password_is_told_and_not_shown() {
    let server = block_on(MariaDb::start());
    let mut parts = tracking(&server);
    parts.group = parts.group.replace(">secret<", ">geheim<");
    let said = parts.check(&[]);
    let words = ["Access denied for user 'mppd'", "correct user and password"];
    assert_fails(&said, "tracking of default", &words);
    assert!(!said.out.contains("geheim"), "{}", said.out);
    parts.group = parts.group.replace(">geheim<", ">secret<").replace(">mppd<", ">mpdd<");
    assert_fails(&parts.check(&[]), "tracking of default", &["ccess denied", "correct "]);
}

#[test]
fn a_database_that_is_not_there_is_told() {
    let server = block_on(MariaDb::start());
    block_on(server.execute("GRANT ALL ON *.* TO mppd@'%'"));
    let mut parts = tracking(&server);
    parts.group = parts.group.replace("<database>mppd<", "<database>mppt<");
    let words = ["Unknown database", "make the database, or correct its name"];
    assert_fails(&parts.check(&[]), "tracking of default", &words);
}

#[test]
fn a_statement_must_find_its_table_and_its_columns() {
    let server = block_on(MariaDb::start());
    let said = lists(&server, "SELECT reason FROM blocked WHERE client = $ip").check(&[]);
    let words = ["blocked' doesn't exist", "make the table, or correct its name"];
    assert_fails(&said, "engine lists.blocked", &words);
    block_on(server.execute("CREATE TABLE mppd.blocked (client VARCHAR(64))"));
    let said = lists(&server, "SELECT reason FROM blocked WHERE client = $ip").check(&[]);
    assert_fails(&said, "engine lists.blocked", &["Unknown column", "add the column"]);
    let said = lists(&server, "SELECT client FROM blocked WHERE client = $ip").check(&[]);
    assert_works(&said, "engine lists.blocked", &["the statement can be carried out"]);
}

#[test]
fn a_statement_that_writes_is_tried_without_writing() {
    let server = block_on(MariaDb::start());
    block_on(server.execute("CREATE TABLE mppd.seen (client VARCHAR(64))"));
    let said = lists(&server, "INSERT INTO seen VALUES ($ip)").check(&[]);
    assert_works(&said, "engine lists.blocked", &["the statement can be carried out"]);
    assert_eq!(block_on(server.ask::<u64>("SELECT count(*) FROM mppd.seen")), [0]);
    block_on(
        server.execute("REVOKE ALL ON mppd.* FROM mppd@'%'; GRANT SELECT ON mppd.* TO mppd@'%'"),
    );
    let said = lists(&server, "INSERT INTO seen VALUES ($ip)").check(&[]);
    assert_fails(
        &said,
        "engine lists.blocked",
        &["INSERT command denied", "GRANT what is missing"],
    );
}

#[test]
fn records_need_a_table_of_a_known_version_that_the_user_may_write() {
    let server = block_on(MariaDb::start());
    let mut parts = tracking(&server);
    parts.common = "<tracking><retention><keep>30d</keep></retention></tracking>".to_owned();
    let allow = |rights: &str| {
        let grant = format!("GRANT {rights} ON mppd.* TO mppd@'%'");
        block_on(server.execute(&format!("REVOKE ALL ON mppd.* FROM mppd@'%'; {grant}")));
    };
    allow("SELECT, INSERT, UPDATE, DELETE");
    let words = ["is missing and can't be made", "CREATE command denied", "`mppd schema mysql`"];
    assert_fails(&parts.check(&[]), "tracking of default", &words);

    let schema = Call::new(["schema", "mysql"]).succeed();
    block_on(server.execute(&format!("USE mppd; {schema}")));
    let words = ["the table track_policy_request of version 1 is there and can be written"];
    assert_works(&parts.check(&[]), "tracking of default", &words);

    allow("SELECT, INSERT, UPDATE");
    let words = ["DELETE command denied", "`mppd schema grants`"];
    assert_fails(&parts.check(&[]), "tracking of default", &words);
    allow("SELECT");
    assert_fails(&parts.check(&[]), "tracking of default", &["INSERT command denied"]);

    block_on(server.execute("UPDATE mppd.mppd_schema SET version = 99"));
    let words = ["has version 99 of its schema", "use the newer mppd"];
    assert_fails(&parts.check(&[]), "tracking of default", &words);
    assert_eq!(block_on(server.ask::<u64>("SELECT count(*) FROM mppd.track_policy_request")), [0]);
}

#[test]
fn a_database_that_only_copies_another_is_of_no_use_for_records() {
    let server = block_on(MariaDb::start());
    block_on(server.execute("SET GLOBAL read_only = 1"));
    let words = ["takes no changes", "the server that this one copies"];
    assert_fails(&tracking(&server).check(&[]), "tracking of default", &words);
}

#[test]
fn a_server_that_says_nothing_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let group = format!(
        "<PPXX0001_track_policy_connection><host>127.0.0.1</host><port>{port}</port>\
         </PPXX0001_track_policy_connection>"
    );
    let said = Parts { tracks: true, group, ..Parts::default() }.check(&["--timeout", "200ms"]);
    assert_fails(&said, "tracking of default", &["no answer within 200ms"]);
}

/// An engine that keeps something in this state store.
fn redis(options: &str) -> Parts {
    Parts {
        common: format!("<state_store><redis>{options}</redis></state_store>"),
        engines: "<greylist/>".to_owned(),
        checks: "greylist",
        ..Parts::default()
    }
}

#[test]
fn a_redis_is_asked_for_its_password_and_its_role() {
    let server = Redis::start_with(&["--requirepass", "s3cret"]);
    let url = format!("<url>{}</url>", server.url());
    let said = redis(&url).check(&[]);
    assert_fails(&said, "state store", &["redis://127.0.0.1", "give the server's <password>"]);
    let said = redis(&format!("{url}<password>wrong1</password>")).check(&[]);
    assert_fails(&said, "state store", &["correct user and password"]);
    assert!(!said.out.contains("wrong1"), "{}", said.out);
    let said = redis(&format!("{url}<password>s3cret</password>")).check(&[]);
    assert_eq!(said.code, Some(0), "{}", said.out);
    let line = line(&said, "state store");
    assert!(line.contains("Redis ") || line.contains("Valkey "), "{line}");
}

#[test]
fn a_redis_that_only_copies_another_is_of_no_use() {
    let port = free_port().to_string();
    let server = Redis::start_with(&["--replicaof", "127.0.0.1", &port]);
    let said = redis(&format!("<url>{}</url>", server.url())).check(&[]);
    assert_fails(&said, "state store", &["redis://127.0.0.1"]);
}

#[test]
fn a_directory_must_take_the_bind_and_have_the_base() {
    let server = Slapd::start("");
    let base = "ou=people,dc=example,dc=org";
    let said = ldap(&server.url(), PASSWORD, base).check(&[]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert_works(&said, "engine people", &["takes the bind of cn=reader", "the base is there"]);
    let said = ldap(&server.url(), "wr0ng", base).check(&[]);
    assert_fails(&said, "engine people", &["refuses the bind", "correct bind_dn and password"]);
    assert!(!said.out.contains("wr0ng"), "{}", said.out);
    let said = ldap(&server.url(), PASSWORD, "ou=nobody,dc=example,dc=org").check(&[]);
    assert_fails(&said, "engine people", &["refuses the search", "correct the base"]);
}

#[test]
fn a_service_must_have_a_certificate_that_is_trusted() {
    // Any server that speaks TLS will do: nothing is asked.
    let server = Slapd::start("");
    let origin = server.tls_url().replace("ldaps:", "https:");
    let http = |tls: &str| Parts {
        checks: "http",
        engines: format!("<http><uri>{origin}/$ip</uri>{tls}</http>"),
        ..Parts::default()
    };
    let authority = tls_file("ca.pem");
    let said = http(&format!("<tls><ca_file>{}</ca_file></tls>", authority.display())).check(&[]);
    assert_works(&said, "engine http", &["its certificate is trusted"]);
    let said = http("").check(&[]);
    assert_fails(&said, "engine http", &["no encryption", "see to the service's certificate"]);
}

#[test]
fn machines_get_one_object_for_each_connection() {
    let port = free_port();
    let delegate = TcpListener::bind("127.0.0.1:0").unwrap();
    let parts = Parts {
        checks: "here away",
        engines: format!(
            "<delegate id=\"here\"><server>inet:{}</server></delegate>
             <delegate id=\"away\"><server>inet:127.0.0.1:{port}</server></delegate>",
            delegate.local_addr().unwrap()
        ),
        ..Parts::default()
    };
    let said = parts.check(&["--json"]);
    assert_eq!(said.code, Some(1));
    let tried: Vec<serde_json::Value> =
        said.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(tried.len(), 2, "{}", said.out);
    assert_eq!((&tried[0]["by"], &tried[0]["reached"]), (&"engine here".into(), &true.into()));
    assert_eq!(tried[0]["help"], serde_json::Value::Null);
    assert_eq!(tried[1]["reached"], false);
    assert_eq!(tried[1]["target"], format!("inet:127.0.0.1:{port}"));
    assert!(tried[1]["text"].as_str().unwrap().contains("refused"));
    assert!(tried[1]["help"].as_str().unwrap().contains("start the server"));
}

#[test]
fn what_a_server_says_is_shown_as_inert_text() {
    let greeting = "220 \u{1b}[2J\u{202e}mx";
    let server = SmtpServer::start(SmtpScript::default().greeting(greeting));
    let parts = Parts {
        checks: "recipient",
        engines: format!(
            "<recipient><domain name=\"example.org\"><callout><host>127.0.0.1</host>\
             <port>{}</port></callout></domain></recipient>",
            server.port()
        ),
        ..Parts::default()
    };
    let said = parts.check(&[]);
    assert_works(&said, "engine recipient", &["mx"]);
    assert!(!said.out.contains(['\u{1b}', '\u{202e}']), "{:?}", said.out);
}

#[test]
fn who_connects_to_nothing_is_told_so() {
    let said = Parts::default().check(&[]);
    assert_eq!(said.code, Some(0));
    assert_eq!(said.out, "The configuration is good.\nIt connects to nothing.\n");
}

#[test]
fn nobody_is_asked_for_a_faulty_configuration() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    server.set_nonblocking(true).unwrap();
    let parts = Parts {
        checks: "delegate nonesuch",
        engines: format!(
            "<delegate><server>inet:{}</server></delegate>",
            server.local_addr().unwrap()
        ),
        ..Parts::default()
    };
    let said = parts.check(&[]);
    assert_eq!((said.code, said.out.as_str()), (Some(78), ""));
    assert!(server.accept().is_err(), "it was connected to");
}
