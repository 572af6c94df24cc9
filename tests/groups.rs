//! Policy groups: who belongs to one, and what it means for its requests.

use std::fmt::Write as _;

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::eventually;
use crate::harness::mariadb::MariaDb;
use crate::harness::policy_client::{PolicyClient, PolicyRequest};
use crate::harness::postfix::{Postfix, PostfixSettings};
use crate::harness::records::{Row, Store};
use crate::harness::smtp::SmtpClient;

/// Engines that refuse every client, each with its ID as the text.
fn refusing(ids: &[&str]) -> String {
    let mut engines = String::new();
    for id in ids {
        write!(
            engines,
            "<wbl id=\"{id}\"><black><client_address>0.0.0.0/0</client_address></black>
             <on_black>REJECT {id}</on_black></wbl>"
        )
        .unwrap();
    }
    engines
}

/// A group with these members whose only check is the engine of its name.
fn group(id: &str, members: &str) -> String {
    format!(
        "<group id=\"{id}\"><members>{members}</members>
         <policy_check_engines>{id}</policy_check_engines></group>"
    )
}

fn by_each_method() -> Settings {
    let groups = [
        group("net", "<ip_list>198.51.100.0/24</ip_list>"),
        group("to", "<address_list_recipient>.example.org</address_list_recipient>"),
        group("from", "<address_list_sender>boss@example.com &lt;&gt;</address_list_sender>"),
        group("user", "<sasl_user>alice</sasl_user>"),
    ];
    Settings {
        groups: groups.concat(),
        engines: refusing(&["net", "to", "from", "user"]),
        ..Settings::default()
    }
}

const OF_EACH: [(&str, &str, &str); 5] = [
    ("client_address", "198.51.100.7", "net"),
    ("recipient", "x@mail.example.org", "to"),
    ("sender", "Boss@example.com", "from"),
    ("sender", "", "from"),
    ("sasl_username", "alice", "user"),
];

fn asked(client: &mut PolicyClient, attributes: &[(&str, &str)]) -> String {
    let mut request = PolicyRequest::new();
    for (name, value) in attributes {
        request = request.set(name, value);
    }
    client.ask(&request.octets()).unwrap()
}

fn from(client: &mut PolicyClient, address: &str) -> String {
    asked(client, &[("client_address", address)])
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().unwrap().block_on(future)
}

#[test]
fn each_method_finds_the_group_of_a_request_and_the_record_names_it() {
    let store = Store::Sqlite;
    let daemon = Daemon::start(store.track(by_each_method()));
    let mut client = daemon.connect();
    for (attribute, value, group) in OF_EACH {
        let answer = asked(&mut client, &[(attribute, value)]);
        assert_eq!(answer, format!("REJECT {group}"), "{attribute} {value}");
    }
    assert_eq!(asked(&mut client, &[]), "DUNNO");
    let groups: Vec<String> = store.rows(&daemon).iter().map(|row| row.text("group_id")).collect();
    assert_eq!(groups, ["net", "to", "from", "from", "user", "default"]);
    daemon.logged("the group", |line| line["group"] == "user");
}

#[test]
fn the_first_method_of_the_sequence_that_finds_a_group_wins() {
    let all = OF_EACH.map(|(attribute, value, _)| (attribute, value));
    for (sequence, expected) in [
        (None, "REJECT net"),
        (Some("sasl_user ip_list"), "REJECT user"),
        (Some("address_list_sender address_list_recipient"), "REJECT from"),
        (Some("address_list_recipient"), "REJECT to"),
    ] {
        let mut settings = by_each_method();
        if let Some(sequence) = sequence {
            let element = format!("<members_global_sequence>{sequence}</members_global_sequence>");
            settings.groups.push_str(&element);
        }
        let daemon = Daemon::start(settings);
        assert_eq!(asked(&mut daemon.connect(), &all), expected, "{sequence:?}");
    }
}

#[test]
fn members_in_a_file_are_read_again_after_a_hangup() {
    let lists = tempfile::tempdir().unwrap();
    let list = lists.path().join("members");
    std::fs::write(&list, "198.51.100.1 # the first\n").unwrap();
    let daemon = Daemon::start(Settings {
        groups: group("a", &format!("<ip_list file=\"{}\"/>", list.display())),
        engines: refusing(&["a"]),
        ..Settings::default()
    });
    let mut client = daemon.connect();
    assert_eq!(from(&mut client, "198.51.100.1"), "REJECT a");
    std::fs::write(&list, "198.51.100.2\n").unwrap();
    daemon.hangup();
    let reloaded = eventually(|| (from(&mut client, "198.51.100.2") == "REJECT a").then_some(()));
    assert!(reloaded.is_some(), "the new member is not in the group");
    assert_eq!(from(&mut client, "198.51.100.1"), "DUNNO");
}

#[test]
fn what_a_group_does_not_set_comes_from_default_and_then_from_common() {
    let settings = |default: &str| Settings {
        checks: "common".into(),
        group: default.into(),
        groups: [
            "<group id=\"plain\"><members><ip_list>198.51.100.1</ip_list></members></group>",
            "<group id=\"none\"><members><ip_list>198.51.100.2</ip_list></members>
               <policy_check_engines/></group>",
            &group("own", "<ip_list>198.51.100.3</ip_list>"),
        ]
        .concat(),
        engines: refusing(&["common", "default", "own"]),
        ..Settings::default()
    };
    let own = "<policy_check_engines>default</policy_check_engines>";
    for (default, inherited) in [("", "REJECT common"), (own, "REJECT default")] {
        let daemon = Daemon::start(settings(default));
        let mut client = daemon.connect();
        assert_eq!(from(&mut client, "203.0.113.1"), inherited);
        assert_eq!(from(&mut client, "198.51.100.1"), inherited);
        assert_eq!(from(&mut client, "198.51.100.2"), "DUNNO");
        assert_eq!(from(&mut client, "198.51.100.3"), "REJECT own");
    }
}

#[test]
fn an_exception_is_answered_with_the_on_error_of_the_group() {
    let store = Store::Sqlite;
    let mut settings = Settings {
        group: "<on_error>DEFER default</on_error>".into(),
        groups: "<group id=\"a\"><on_error>REJECT a</on_error>
                   <members><ip_list>198.51.100.1</ip_list></members></group>
                 <group id=\"b\"><members><ip_list>198.51.100.2</ip_list></members></group>"
            .into(),
        ..Settings::default()
    };
    settings.engines = "<track id=\"late\" timeout=\"50ms\"/>".into();
    settings.common = "<policy_end_engines>late.processed</policy_end_engines>".into();
    let daemon = Daemon::start(settings);
    let mut client = daemon.connect();
    assert_eq!(from(&mut client, "198.51.100.1"), "DUNNO");
    assert_eq!(store.rows(&daemon).len(), 1);
    // While somebody else writes, nothing is put on record in time.
    let path = daemon.state_directory().join("requests.sqlite");
    let busy = rusqlite::Connection::open(path).unwrap();
    busy.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(from(&mut client, "198.51.100.1"), "REJECT a");
    assert_eq!(from(&mut client, "198.51.100.2"), "DEFER default");
    assert_eq!(from(&mut client, "203.0.113.1"), "DEFER default");
    busy.execute_batch("ROLLBACK").unwrap();
}

#[test]
fn a_group_in_dry_run_is_answered_dunno_and_its_record_tells_what_would_have_been() {
    let store = Store::Sqlite;
    let daemon = Daemon::start(
        store.track(Settings {
            checks: "all".into(),
            groups: "<group id=\"dry\"><dry_run>true</dry_run>
                   <members><ip_list>198.51.100.1</ip_list></members></group>"
                .into(),
            engines: refusing(&["all"]),
            ..Settings::default()
        }),
    );
    let mut client = daemon.connect();
    assert_eq!(from(&mut client, "198.51.100.1"), "DUNNO");
    assert_eq!(from(&mut client, "198.51.100.2"), "REJECT all");
    let rows = store.rows(&daemon);
    let told = |row: &Row| [row.text("group_id"), row.text("decision"), row.text("decision_text")];
    assert_eq!(told(&rows[0]), ["dry", "DUNNO", "dry run: REJECT all"]);
    assert_eq!(told(&rows[1]), ["default", "REJECT", "all"]);
    assert!(rows[0].text("checks").contains("black"));
    let line = daemon.logged("the dry run", |line| line["group"] == "dry");
    assert_eq!(line["decision"], "DUNNO");
    assert_eq!(line["text"], "dry run: REJECT all");
}

#[test]
fn a_dry_run_of_default_holds_for_groups_that_do_not_say_otherwise() {
    let daemon = Daemon::start(Settings {
        checks: "all".into(),
        group: "<dry_run>true</dry_run>".into(),
        groups: "<group id=\"a\"><members><ip_list>198.51.100.1</ip_list></members></group>
                 <group id=\"b\" dry_run=\"false\">
                   <members><ip_list>198.51.100.2</ip_list></members></group>"
            .into(),
        engines: refusing(&["all"]),
        ..Settings::default()
    });
    let mut client = daemon.connect();
    assert_eq!(from(&mut client, "203.0.113.1"), "DUNNO");
    assert_eq!(from(&mut client, "198.51.100.1"), "DUNNO");
    assert_eq!(from(&mut client, "198.51.100.2"), "REJECT all");
}

/// Group `default` in the embedded store, `one` and `two` in databases of their own.
fn in_three_places(one: &str, two: &str) -> Settings {
    Settings {
        tracking: true,
        groups: format!(
            "<group id=\"one\"><members><ip_list>198.51.100.1</ip_list></members>{one}</group>
             <group id=\"two\"><members><ip_list>198.51.100.2</ip_list></members>{two}</group>"
        ),
        ..Settings::default()
    }
}

fn ask_each(client: &mut PolicyClient) {
    for address in ["198.51.100.1", "198.51.100.2", "203.0.113.1"] {
        assert_eq!(from(client, address), "DUNNO");
    }
}

fn clients(store: &Store, daemon: &Daemon) -> Vec<String> {
    store.rows(daemon).iter().map(|row| row.text("client_address")).collect()
}

#[test]
fn each_group_is_put_on_record_over_its_own_connection() {
    let (one, two) = (block_on(MariaDb::start()), block_on(MariaDb::start()));
    let daemon = Daemon::start(in_three_places(&one.element(), &two.element()));
    ask_each(&mut daemon.connect());
    let (one, two) = (Store::MariaDb(one), Store::MariaDb(two));
    assert_eq!(clients(&one, &daemon), ["198.51.100.1"]);
    assert_eq!(clients(&two, &daemon), ["198.51.100.2"]);
    assert_eq!(clients(&Store::Sqlite, &daemon), ["203.0.113.1"]);

    let file = daemon.configuration();
    let found = |arguments: &[&str]| {
        let all = ["track", "search", "--json"].iter().chain(arguments);
        let said = Call::new(all).with(&file).succeed();
        let rows = said.lines().map(|line| serde_json::from_str(line).unwrap());
        let mut groups: Vec<String> = rows
            .map(|row: serde_json::Value| row["group_id"].as_str().unwrap().to_owned())
            .collect();
        groups.sort();
        groups
    };
    assert_eq!(found(&["--group", "one"]), ["one"]);
    assert_eq!(found(&["--group", "default"]), ["default"]);
    assert_eq!(found(&[]), ["default", "one", "two"]);
    let schema = |group| Call::new(["schema", "--group", group]).with(&file).succeed();
    assert_eq!(schema("two"), Call::new(["schema", "mysql"]).succeed());
    assert_eq!(schema("default"), Call::new(["schema", "sqlite"]).succeed());
    let said = Call::new(["track", "search", "--group", "tow"]).with(&file).run();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("no group \"tow\"") && said.err.contains("\"two\"?"), "{}", said.err);
}

#[test]
fn a_database_that_is_away_holds_up_its_own_groups_only() {
    let (mut one, two) = (block_on(MariaDb::start()), block_on(MariaDb::start()));
    let daemon = Daemon::start(in_three_places(&one.element(), &two.element()));
    let mut client = daemon.connect();
    block_on(one.stop());
    ask_each(&mut client);
    let two = Store::MariaDb(two);
    assert_eq!(clients(&two, &daemon), ["198.51.100.2"]);
    block_on(one.restart());
    assert_eq!(in_database(&one), ["198.51.100.1"]);
    assert_eq!(clients(&two, &daemon), ["198.51.100.2"]);
}

/// The clients whose requests are in a database, as soon as there are any.
fn in_database(server: &MariaDb) -> Vec<String> {
    let found = eventually(|| {
        let tables: Vec<String> = block_on(server.ask("SHOW TABLES LIKE 'track_policy_request'"));
        let query = "SELECT client_address FROM track_policy_request";
        let clients: Vec<String> =
            if tables.is_empty() { Vec::new() } else { block_on(server.ask(query)) };
        (!clients.is_empty()).then_some(clients)
    });
    found.unwrap_or_default()
}

/// The connections that mppd has to a server.
fn connections(server: &MariaDb) -> Vec<u64> {
    let query = "SELECT id FROM information_schema.processlist WHERE user = 'mppd' ORDER BY id";
    block_on(server.ask(query))
}

#[test]
fn a_reload_keeps_the_connections_that_did_not_change() {
    let (one, two) = (block_on(MariaDb::start()), block_on(MariaDb::start()));
    let mut daemon = Daemon::start(in_three_places(&one.element(), &two.element()));
    let mut client = daemon.connect();
    ask_each(&mut client);
    let (kept, left) = (connections(&one), connections(&two));
    assert_eq!((kept.len(), left.len()), (1, 1));
    daemon.configure(in_three_places(&one.element(), ""));
    daemon.hangup();
    let gone = eventually(|| connections(&two).is_empty().then_some(()));
    assert!(gone.is_some(), "mppd is still connected to a database that no group names");
    ask_each(&mut client);
    assert_eq!(connections(&one), kept);
    assert_eq!(clients(&Store::MariaDb(one), &daemon), ["198.51.100.1"; 2]);
    assert_eq!(clients(&Store::MariaDb(two), &daemon), ["198.51.100.2"]);
    let embedded = ["203.0.113.1", "198.51.100.2", "203.0.113.1"];
    assert_eq!(clients(&Store::Sqlite, &daemon), embedded);
}

#[test]
fn rows_that_wait_for_a_database_are_moved_when_a_group_names_it() {
    let mut server = block_on(MariaDb::start());
    let default = Settings { tracking: true, group: server.element(), ..Settings::default() };
    block_on(server.stop());
    let mut daemon = Daemon::start(default);
    assert_eq!(from(&mut daemon.connect(), "198.51.100.1"), "DUNNO");
    assert!(daemon.terminate().success());
    daemon.configure(in_three_places("", ""));
    let mut daemon = daemon.again();
    let message = "rows for another database wait";
    daemon.logged("that rows wait", |line| mentions(line, message));
    daemon.configure(Settings::default());
    let mut daemon = daemon.again();
    daemon.logged("that rows wait where nothing is tracked", |line| mentions(line, message));
    daemon.configure(in_three_places(&server.element(), ""));
    daemon.hangup();
    block_on(server.restart());
    assert_eq!(in_database(&server), ["198.51.100.1"]);
}

#[test]
fn groups_that_share_a_spool_lose_no_row_over_a_reload() {
    let mut server = block_on(MariaDb::start());
    let patient = |seconds: u32| {
        let timeout = format!("<write_timeout>{seconds}s</write_timeout><host>");
        server.element().replace("<host>", &timeout)
    };
    let settings = |one, two| in_three_places(&patient(one), &patient(two));
    let (before, after) = (settings(4, 5), settings(6, 7));
    let mut daemon = Daemon::start(before);
    let mut client = daemon.connect();
    let mut ask = |count: usize| {
        for address in ["198.51.100.1", "198.51.100.2"].iter().cycle().take(count) {
            assert_eq!(from(&mut client, address), "DUNNO");
        }
    };
    ask(10);
    block_on(server.stop());
    ask(200);
    daemon.configure(after);
    daemon.hangup();
    ask(200);
    daemon.logged("the new configuration", |line| mentions(line, "reloaded"));
    ask(200);
    block_on(server.restart());
    ask(200);
    let query = "SELECT count(*) FROM track_policy_request WHERE decision IS NOT NULL";
    let all = eventually(|| (block_on(server.ask::<u64>(query)) == [810]).then_some(()));
    let there = block_on(server.ask::<u64>(query));
    assert!(all.is_some(), "{there:?} of 810 rows are there");
}

/// Groups `a` and `b`, whose members a table knows by the domain of the recipient.
fn by_sql(server: &MariaDb, sequence: &str, more: &str) -> Settings {
    let connection = server.element().replace("PPXX0001_track_policy_connection", "connection");
    let a = group("a", "<ip_list>198.51.100.1</ip_list>");
    let groups = format!(
        "{sequence}<sql>{connection}
           <statement>SELECT group_id FROM members WHERE domain = $recipient.domain</statement>
           {more}</sql>
         {a}<group id=\"b\"><policy_check_engines>b</policy_check_engines></group>"
    );
    Settings { groups, engines: refusing(&["a", "b"]), ..Settings::default() }
}

fn with_members(rows: &str) -> MariaDb {
    let server = block_on(MariaDb::start());
    block_on(server.execute(&format!(
        "CREATE TABLE members (domain VARCHAR(255) CHARACTER SET utf8mb4, group_id VARCHAR(255)); \
         INSERT INTO members VALUES {rows}"
    )));
    server
}

fn to(client: &mut PolicyClient, recipient: &str) -> String {
    asked(client, &[("recipient", recipient)])
}

#[test]
fn a_database_can_say_who_belongs_to_a_group() {
    let server = with_members(
        "('a.example', 'a'), ('b.example', 'b'), ('n.example', NULL), ('e.example', ''), \
         ('x.example', 'nonesuch')",
    );
    let daemon = Daemon::start(by_sql(&server, "", ""));
    let mut client = daemon.connect();
    for (recipient, answer) in [
        ("x@a.example", "REJECT a"),
        ("x@b.example", "REJECT b"),
        ("x@n.example", "DUNNO"),
        ("x@e.example", "DUNNO"),
        ("x@other.example", "DUNNO"),
        ("' OR 1 = 1 -- @x' OR '1'='1", "DUNNO"),
        ("x@x.example", "DUNNO"),
    ] {
        assert_eq!(to(&mut client, recipient), answer, "{recipient}");
    }
    daemon.logged("the unknown group", |line| line["group"] == "nonesuch");
}

#[test]
fn a_database_is_asked_where_the_sequence_says() {
    let server = with_members("('b.example', 'b')");
    let both = [("client_address", "198.51.100.1"), ("recipient", "x@b.example")];
    for (sequence, answer) in [
        ("", "REJECT a"),
        ("<members_global_sequence>sql ip_list</members_global_sequence>", "REJECT b"),
    ] {
        let daemon = Daemon::start(by_sql(&server, sequence, ""));
        assert_eq!(asked(&mut daemon.connect(), &both), answer, "{sequence}");
    }
}

#[test]
fn answers_of_a_database_are_kept() {
    let server = with_members("('a.example', 'a')");
    let more = "<cache found=\"1h\" empty=\"1h\"/>";
    let daemon = Daemon::start(by_sql(&server, "", more));
    let mut client = daemon.connect();
    assert_eq!(to(&mut client, "x@a.example"), "REJECT a");
    assert_eq!(to(&mut client, "x@b.example"), "DUNNO");
    block_on(server.execute("DELETE FROM members; INSERT INTO members VALUES ('b.example', 'b')"));
    assert_eq!(to(&mut client, "y@a.example"), "REJECT a");
    assert_eq!(to(&mut client, "y@b.example"), "DUNNO");
}

#[test]
fn answers_that_are_kept_hold_while_the_database_is_away() {
    let mut server = with_members("('b.example', 'b')");
    let daemon = Daemon::start(by_sql(&server, "", "<cache found=\"1h\" empty=\"1h\"/>"));
    let mut client = daemon.connect();
    assert_eq!(to(&mut client, "x@b.example"), "REJECT b");
    server.kill();
    assert_eq!(to(&mut client, "x@other.example"), "DUNNO");
    daemon.logged("that it is away", |line| mentions(line, "can't be asked for the group"));
    assert_eq!(to(&mut client, "y@b.example"), "REJECT b");
}

#[test]
fn a_group_that_is_null_is_not_looked_for_in_the_next_column() {
    let server = with_members("('a.example', NULL), ('b.example', 'b')");
    let settings = by_sql(&server, "", "");
    let groups =
        settings.groups.replace("SELECT group_id FROM", "SELECT group_id, $sender.local FROM");
    let daemon = Daemon::start(Settings { groups, ..settings });
    let mut client = daemon.connect();
    let mut ask =
        |recipient| asked(&mut client, &[("recipient", recipient), ("sender", "b@x.example")]);
    assert_eq!(ask("x@a.example"), "DUNNO");
    assert_eq!(ask("x@b.example"), "REJECT b");
}

#[test]
fn while_a_database_is_away_the_other_methods_find_groups() {
    let mut server = with_members("('b.example', 'b')");
    let sequence = "<members_global_sequence>sql ip_list</members_global_sequence>";
    let daemon = Daemon::start(by_sql(&server, sequence, "<cache found=\"1ms\" empty=\"1ms\"/>"));
    let mut client = daemon.connect();
    assert_eq!(to(&mut client, "x@b.example"), "REJECT b");
    server.kill();
    assert_eq!(from(&mut client, "198.51.100.1"), "REJECT a");
    daemon.logged("that it is away", |line| mentions(line, "can't be asked for the group"));
    block_on(server.restart());
    let back = eventually(|| (to(&mut client, "x@b.example") == "REJECT b").then_some(()));
    assert!(back.is_some(), "the database is not asked again");
}

#[test]
fn under_stress_the_lighter_group_answers_and_is_on_record_through_a_real_postfix() {
    let daemon = Daemon::start(Settings {
        checks: "full".into(),
        group: "<under_stress>light</under_stress>".into(),
        groups: "<group id=\"light\"><policy_check_engines>light</policy_check_engines></group>"
            .into(),
        engines: refusing(&["full", "light"]),
        tracking: true,
        ..Settings::default()
    });
    let settings = PostfixSettings::asking(&daemon.endpoint(), &["smtpd_recipient_restrictions"]);
    let postfix = Postfix::start(&settings.service(&[("stress", "yes")]));
    for (port, group) in [(postfix.port(), "full"), (postfix.service_port(0), "light")] {
        let mut client = SmtpClient::connect(port);
        client.come_from("ADDR=192.0.2.17 NAME=mail.example.net");
        client.mail("alice@example.org");
        let answer = client.rcpt("bob@example.com").text();
        assert!(answer.contains(&format!("rejected: {group}")), "{answer}");
    }
    let rows = Store::Sqlite.rows(&daemon);
    let groups: Vec<String> = rows.iter().map(|row| row.text("group_id")).collect();
    assert_eq!(groups, ["default", "light"]);
}
