//! The command line, as an administrator uses it.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::{Endpoint, PolicyRequest};
use crate::harness::records::Store;

/// A directory with a configuration of this content.
fn configuration(xml: &str) -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mppd.conf.xml");
    std::fs::write(&file, xml).unwrap();
    (directory, file)
}

fn shipped() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("conf/mppd.conf.xml")
}

#[test]
fn the_shipped_configuration_is_good() {
    let said = Call::new(["check", "--deny-warnings"]).with(&shipped()).run();
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert_eq!(said.out, "The configuration is good.\n");
}

#[test]
fn every_fault_of_a_configuration_is_told_at_once_with_its_place() {
    let (_directory, file) = configuration(
        "<mppd>
  <common>
    <policy_server><listen>inet:nowhere</listen><max_conections>5</max_conections></policy_server>
    <policy_check_engines>wbl nonesuch</policy_check_engines>
  </common>
  <groups><group id=\"default\"><on_error>REJCT</on_error></group></groups>
  <engines>
    <wbl><on_blak>REJECT</on_blak><black><client_address>1.2.3</client_address></black></wbl>
    <gryelist/>
  </engines>
</mppd>",
    );
    let said = Call::new(["check"]).with(&file).run();
    assert_eq!(said.code, Some(78));
    for (place, what) in [
        (":3:28", "\"nowhere\" is not a port"),
        (":3:50", "did you mean \"max_connections\"?"),
        (":4:31", "unknown engine \"nonesuch\""),
        (":6:41", "did you mean \"REJECT\"?"),
        (":8:11", "did you mean \"on_black\"?"),
        (":8:58", "1.2.3"),
        (":9:6", "unknown engine \"gryelist\""),
    ] {
        assert!(said.err.contains(place), "{place}: {}", said.err);
        assert!(said.err.contains(what), "{what}: {}", said.err);
    }
    assert!(said.err.ends_with("7 errors\n"), "{}", said.err);
}

#[test]
fn what_would_stop_the_service_is_refused() {
    for option in [
        "policy_server.max_connections=0",
        "policy_server.max_line=0",
        "policy_server.request_deadline=0s",
        "policy_server.engine_queue=0",
        "policy_server.workers=0",
        "tracking.queue=0",
    ] {
        let said =
            Call::new(["check", "--set", &format!("common.{option}")]).with(&shipped()).run();
        assert_eq!(said.code, Some(78), "{option}");
        assert!(said.err.contains("0 makes no sense here"), "{option}: {}", said.err);
    }
}

#[test]
fn a_socket_that_is_named_twice_is_told_with_its_place() {
    let (_directory, file) = configuration(
        "<mppd><common><policy_server>
<listen>inet:127.0.0.1:10040</listen>
<listen>inet:127.0.0.1:10040</listen>
</policy_server></common></mppd>",
    );
    let said = Call::new(["check"]).with(&file).run();
    assert!(said.err.contains(":3:9"), "{}", said.err);
    assert!(said.err.contains("inet:127.0.0.1:10040 is listened on twice"), "{}", said.err);
}

#[test]
fn an_engine_that_no_chain_names_is_warned_of() {
    let (_directory, file) = configuration("<mppd><engines><log id=\"idle\"/></engines></mppd>");
    let said = Call::new(["check"]).with(&file).run();
    assert_eq!(said.code, Some(0));
    assert!(said.err.contains("no chain names the engine \"idle\""), "{}", said.err);
    let said = Call::new(["check", "--deny-warnings"]).with(&file).run();
    assert_eq!(said.code, Some(78));
}

#[test]
fn authorities_that_cannot_be_read_are_told_before_the_database_is_asked() {
    let (directory, file) = configuration(
        "<mppd><groups><group id=\"default\"><PPXX0001_track_policy_connection>
<tls><ca_file>none.pem</ca_file></tls>
</PPXX0001_track_policy_connection></group></groups></mppd>",
    );
    let said = Call::new(["check"]).with(&file).run();
    assert_eq!(said.code, Some(78));
    assert!(said.err.contains(":2:15") && said.err.contains("none.pem"), "{}", said.err);
    std::fs::write(directory.path().join("none.pem"), "no certificate").unwrap();
    let said = Call::new(["check"]).with(&file).run();
    assert!(said.err.contains("holds no certificate"), "{}", said.err);
}

#[test]
fn an_empty_variable_names_no_configuration() {
    let said = Call::new(["check"]).environment("MPPD_CONFIG", "").run();
    assert_eq!(said.code, Some(0), "{}", said.err);
}

#[test]
fn a_faulty_configuration_does_not_start() {
    let (_directory, file) = configuration("<mppd><common><lgo/></common></mppd>");
    let said = Call::new(["run"]).with(&file).run();
    assert_eq!(said.code, Some(78));
    assert!(said.err.contains("unknown element \"lgo\""), "{}", said.err);
}

#[test]
fn environment_and_command_line_override_and_are_named_in_errors() {
    let call = || Call::new(["check", "--set", "common.tracking.queue=5"]).with(&shipped());
    call().environment("MPPD_COMMON__LOG__LEVEL", "debug").succeed();
    let said = call().environment("MPPD_COMMON__LOG__LEVEL", "loud").run();
    assert_eq!(said.code, Some(78));
    assert!(said.err.contains("environment variable MPPD_COMMON__LOG__LEVEL"), "{}", said.err);
    let said = Call::new(["check", "--set", "common.log.levle=debug"]).with(&shipped()).run();
    assert_eq!(said.code, Some(78));
    assert!(said.err.contains("command line"), "{}", said.err);
}

#[test]
fn the_schema_is_what_the_drop_in_ships() {
    let shipped = include_str!("../conf/esm/PPXX0001.sql");
    assert_eq!(Call::new(["schema", "mysql"]).succeed(), shipped);
    let sqlite = Call::new(["schema", "sqlite"]).succeed();
    let connection = rusqlite::Connection::open_in_memory().unwrap();
    connection.execute_batch(&sqlite).unwrap();
    let rows: i64 = connection
        .query_row("SELECT count(*) FROM track_policy_request", [], |row| row.get(0))
        .unwrap();
    assert_eq!(rows, 0);
}

fn refusing() -> Settings {
    Settings::wbl("<black><sender>spam.example</sender></black><on_black>REJECT no</on_black>")
}

fn to(daemon: &Daemon) -> String {
    format!("--to={}", daemon.endpoint())
}

#[test]
fn ask_sends_attributes_a_file_or_standard_input() {
    let daemon = Daemon::start(refusing());
    let attributes = ["ask", &to(&daemon), "--attr", "sender=x@spam.example"];
    assert_eq!(Call::new(attributes).succeed(), "action=REJECT no\n");
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("requests");
    let two = [PolicyRequest::new().octets(), PolicyRequest::new().octets()].concat();
    std::fs::write(&file, &two).unwrap();
    let from_file = Call::new(["ask", &to(&daemon), file.to_str().unwrap()]).succeed();
    assert_eq!(from_file, "action=DUNNO\naction=DUNNO\n");
    let json = Call::new(["ask", &to(&daemon), "--json"]);
    let json = json.input(b"request=smtpd_access_policy\nsender=x@spam.example\n").succeed();
    assert_eq!(json, "{\"action\":\"REJECT\",\"text\":\"no\"}\n");
}

#[test]
fn ask_finds_the_first_socket_of_the_configuration() {
    let directory = tempfile::tempdir().unwrap();
    let listen = vec![("", Endpoint::Unix(directory.path().join("policy")))];
    let daemon = Daemon::start(Settings { listen, ..Settings::default() });
    let call = Call::new(["ask", "--attr", "sender=a@example.org"]).with(&daemon.configuration());
    assert_eq!(call.succeed(), "action=DUNNO\n");
}

#[test]
fn ask_says_what_went_wrong() {
    let port = crate::harness::ports::free_port();
    let said = Call::new(["ask", &format!("--to=inet:127.0.0.1:{port}"), "--attr", "a=b"]).run();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("is mppd running there?"), "{}", said.err);
    let daemon = Daemon::start(Settings::default());
    let long = format!("sender={}", "x".repeat(20_000));
    let said = Call::new(["ask", &to(&daemon), "--attr", &long]).run();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("closed the connection without a reply"), "{}", said.err);
}

#[test]
fn track_finds_and_shows_what_was_asked_in_either_store() {
    for store in Store::each() {
        let daemon = Daemon::start(store.track(refusing()));
        let mut client = daemon.connect();
        let sub = PolicyRequest::new().set("sender", "x@mail.spam.example");
        let other = PolicyRequest::new().set("recipient", "x\x1b[31m@example.com");
        client.ask(&sub.octets()).unwrap();
        client.ask(&other.octets()).unwrap();
        let track = |arguments: &[&str]| {
            let arguments = ["track"].iter().chain(arguments);
            Call::new(arguments).with(&daemon.configuration()).run()
        };
        let json = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap();

        let found = track(&["search", "--domain", "spam.example", "--json"]);
        assert_eq!(found.out.lines().count(), 1, "{}", found.err);
        let row = json(&found.out);
        assert_eq!(row["sender_reverse_domain"], "example.spam.mail");
        assert_eq!((&row["decision"], &row["decision_text"]), (&"REJECT".into(), &"no".into()));
        assert_eq!(row["checks"]["wbl"]["status"], "black");

        let all = track(&["search", "--since", "1h", "--json"]);
        assert_eq!(all.out.lines().count(), 2);
        assert_eq!(track(&["search", "--decision", "DEFER", "--json"]).out, "");
        let shown = track(&["search", "--decision", "DUNNO"]);
        assert!(shown.out.contains("x\\u{1b}[31m@example.com"), "{}", shown.out);
        assert!(!shown.out.contains('\x1b'));

        let by_id = track(&["show", row["id"].as_str().unwrap(), "--all"]);
        assert!(by_id.out.contains("example.spam.mail"), "{}", by_id.out);
        let by_instance = track(&["show", &sub.instance()]);
        assert!(by_instance.out.contains("from x@mail.spam.example"), "{}", by_instance.out);
        let none = track(&["show", "no.such.instance"]);
        assert_eq!(none.code, Some(1));
    }
}

#[test]
fn a_second_server_on_the_same_state_directory_is_refused() {
    let daemon = Daemon::start(Store::Sqlite.track(Settings::default()));
    let xml = std::fs::read_to_string(daemon.configuration()).unwrap();
    let port = crate::harness::ports::free_port();
    let elsewhere = format!("inet:127.0.0.1:{port}");
    let (_directory, file) =
        configuration(&xml.replace(&daemon.endpoint().to_string(), &elsewhere));
    let said = Call::new(["run"]).with(&file).run();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("another mppd uses the state directory"), "{}", said.err);
}

#[test]
fn an_engine_that_was_skipped_is_on_record_as_such() {
    let skipped = "<precondition>$helo $EQ friend</precondition>\
                   <black><sender>spam.example</sender></black><on_black>REJECT no</on_black>";
    let daemon = Daemon::start(Store::Sqlite.track(Settings::wbl(skipped)));
    let request = PolicyRequest::new().set("sender", "x@spam.example").set("helo_name", "stranger");
    assert_eq!(daemon.connect().ask(&request.octets()).unwrap(), "DUNNO");
    let search = Call::new(["track", "search", "--json"]).with(&daemon.configuration());
    let row: serde_json::Value = serde_json::from_str(&search.succeed()).unwrap();
    assert_eq!(row["checks"]["wbl"]["status"], "skipped");
    assert_eq!(row["wbl"], "skipped");
}
