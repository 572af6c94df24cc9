//! SQL injection: hostile values in every form of statement, with every `sql_mode` that the server
//! knows. Nothing but the bound value ever arrives.
//!
//! Values are made of pieces that have broken other programs: quotes, backslashes, comments, ends
//! of statements, halves of multi-byte characters, placeholders, and 2 KiB of them. What arrived is
//! read from a table that logs it octet for octet; a second table must stay untouched.

use mppd_database::Pool;
use mppd_engine::Escaped;
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::mariadb::MariaDb;
use crate::harness::policy_client::PolicyRequest;
use crate::mysql::{ask, block_on, pool_of};

/// Statements that log a value of the sender, with what they put around it.
const LOGGING: [(&str, &str, &str); 11] = [
    ("INSERT INTO arrived (value) VALUES ($sender)", "", ""),
    ("INSERT INTO arrived (value) VALUES ('$sender')", "", ""),
    ("INSERT INTO arrived (value) VALUES ('${escape $sender}')", "", ""),
    ("INSERT INTO arrived (value) VALUES('%$sender%')", "%", "%"),
    ("INSERT INTO arrived (value) VALUES ('it''s \"$sender\" -- /*')", "it's \"", "\" -- /*"),
    ("INSERT INTO arrived (value) VALUES ($sender) /* ' */ -- '\n # \" ? :a\n", "", ""),
    ("INSERT INTO arrived (value) SELECT $sender FROM canary", "", ""),
    ("INSERT INTO `arrived` SET value=$sender", "", ""),
    ("INSERT INTO arrived (value) VALUES (IF('a''b'='$sender', 'equal', $sender))", "", ""),
    ("REPLACE INTO arrived (value) VALUES ($sender);", "", ""),
    ("CALL log_it($sender)", "", ""),
];

/// One that has the server make a table of its own, where a value is text.
const BY_DERIVED_TABLE: &str =
    "INSERT INTO arrived (value) SELECT s.value FROM (SELECT $sender AS value) s";

/// A statement that leaves one row, with the last value.
const UPDATING: &str = "INSERT INTO arrived (id, value) VALUES (1, $sender)
    ON DUPLICATE KEY UPDATE value = '$sender'";

/// What no request can hold, but a template can.
const WITH_NUL: [(&str, &[u8]); 2] = [
    (r#"INSERT INTO arrived (value) VALUES (${lower "\x00' OR \\"})"#, b"\x00' or \\"),
    (r#"INSERT INTO arrived (value) VALUES ('${lower "\x00';"}--')"#, b"\x00';--"),
];

/// Statements that would do something to the canary if the value were more than a value.
const HARMLESS: [&str; 6] = [
    "SELECT value FROM canary WHERE value = $sender",
    "SELECT value FROM canary WHERE text = '$sender' OR value IN ('x', '${escape $sender}')",
    "SELECT value FROM canary WHERE (text, value) = ('%$sender', $sender)",
    "DELETE FROM canary WHERE value = '$sender' OR text = $sender",
    "UPDATE canary SET value = 'dead' WHERE value = $sender",
    "DELETE FROM canary WHERE text = concat('$sender', '''', $sender)",
];

/// Values that have broken other programs, and any mixture of their pieces.
fn hostile_values(count: usize) -> Vec<Vec<u8>> {
    let pieces: [&[u8]; 40] = [
        b"'",
        b"''",
        b"\"",
        b"`",
        b"\\",
        b"\\'",
        b"\\\\'",
        b"\\x00",
        b"\\0",
        b"-- ",
        b"--",
        b"#",
        b"/*",
        b"*/",
        b"/*!99999 ",
        b";",
        b"?",
        b":a",
        b"%",
        b"_",
        b"$sender",
        b"${escape x}",
        b"' OR 1=1 -- ",
        b"'; DROP TABLE canary; -- ",
        b"\"); DELETE FROM canary; #",
        b"' UNION SELECT 1 -- ",
        b"\xbf\x27",
        b"\xbf\x5c\x27",
        b"\xe5\x5c",
        b"\x81\x27",
        b"\xc0\xa7",
        b"\xff",
        b"\xf0\x9f\x98",
        "\u{2019}\u{2bc}\u{ff07}".as_bytes(),
        b"\x1a",
        b"\r\t\x08",
        b" ",
        b"a",
        b"||",
        b")",
    ];
    let mixture = prop::collection::vec(prop::sample::select(pieces.to_vec()), 1..40);
    let rng = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut values: Vec<Vec<u8>> = Vec::new();
    values.extend(pieces[22..31].iter().map(|piece| piece.to_vec()));
    values.extend([b"'\\".repeat(1024), b"\xbf'".repeat(1024)]);
    while values.len() < count {
        let mixed = mixture.new_tree(&mut runner).unwrap().current().concat();
        // The blank column of a request is another matter, and white space at the ends as well.
        if !mixed.trim_ascii().is_empty() {
            values.push(mixed);
        }
    }
    values
}

async fn prepare(server: &MariaDb) {
    for statement in [
        "CREATE TABLE arrived (id INT AUTO_INCREMENT PRIMARY KEY, value LONGBLOB)
         ENGINE = MyISAM",
        "CREATE TABLE canary (value VARBINARY(4000), text VARCHAR(255) CHARACTER SET utf8mb4)",
        "CREATE PROCEDURE log_it(value LONGBLOB) INSERT INTO arrived (value) VALUES (value)",
        "INSERT INTO canary VALUES ('alive', 'alive')",
    ] {
        server.execute(statement).await;
    }
}

async fn arrived(server: &MariaDb) -> Vec<Vec<u8>> {
    let arrived = server.ask("SELECT value FROM arrived ORDER BY id").await;
    server.execute("TRUNCATE TABLE arrived").await;
    arrived
}

async fn assert_unharmed(server: &MariaDb, when: &str) {
    let canary = server.ask::<(String, String)>("SELECT value, text FROM canary").await;
    assert_eq!(canary, [("alive".to_owned(), "alive".to_owned())], "{when}");
    let tables = server.ask::<String>("SHOW TABLES").await;
    assert_eq!(tables, ["arrived", "canary"], "{when}");
}

async fn log_each(pool: &Pool, server: &MariaDb, mode: &str, values: &[Vec<u8>]) {
    for (text, before, after) in LOGGING {
        let around = |value: &Vec<u8>| [before.as_bytes(), value, after.as_bytes()].concat();
        let expected: Vec<Vec<u8>> = values.iter().map(around).collect();
        log(pool, server, mode, text, values, &expected).await;
    }
    let is_text = |value: &&Vec<u8>| std::str::from_utf8(value).is_ok();
    let texts: Vec<Vec<u8>> = values.iter().filter(is_text).cloned().collect();
    log(pool, server, mode, BY_DERIVED_TABLE, &texts, &texts).await;
    log(pool, server, mode, UPDATING, values, &values[values.len() - 1..]).await;
    for (text, expected) in WITH_NUL {
        log(pool, server, mode, text, &[Vec::new()], &[expected.to_vec()]).await;
    }
}

async fn log(
    pool: &Pool,
    server: &MariaDb,
    mode: &str,
    text: &str,
    values: &[Vec<u8>],
    expected: &[Vec<u8>],
) {
    for value in values {
        let reply = ask(pool, text, value).await;
        assert!(reply.is_ok(), "{mode}: {text}: {value:x?}: {reply:?}");
    }
    let shown = |values: &[Vec<u8>]| -> Vec<String> {
        values.iter().map(|value| Escaped(value).to_string()).collect()
    };
    assert_eq!(shown(&arrived(server).await), shown(expected), "{mode}: {text}");
}

async fn harm_nothing(pool: &Pool, mode: &str, values: &[Vec<u8>]) {
    for text in HARMLESS {
        for value in values {
            let answer = ask(pool, text, value).await;
            let answer =
                answer.unwrap_or_else(|error| panic!("{mode}: {text}: {value:x?}: {error}"));
            assert_eq!((answer.rows, answer.affected), (0, 0), "{mode}: {text}: {value:x?}");
        }
    }
}

/// All that `sql_mode` can be.
async fn sql_modes(server: &MariaDb) -> String {
    if !MariaDb::is_mariadb() {
        return "ALLOW_INVALID_DATES,ANSI_QUOTES,ERROR_FOR_DIVISION_BY_ZERO,HIGH_NOT_PRECEDENCE,\
                IGNORE_SPACE,NO_AUTO_VALUE_ON_ZERO,NO_BACKSLASH_ESCAPES,NO_DIR_IN_CREATE,\
                NO_ENGINE_SUBSTITUTION,NO_UNSIGNED_SUBTRACTION,NO_ZERO_DATE,NO_ZERO_IN_DATE,\
                ONLY_FULL_GROUP_BY,PAD_CHAR_TO_FULL_LENGTH,PIPES_AS_CONCAT,REAL_AS_FLOAT,\
                STRICT_ALL_TABLES,STRICT_TRANS_TABLES,TIME_TRUNCATE_FRACTIONAL,ANSI,TRADITIONAL"
            .to_owned();
    }
    let sql = "SELECT enum_value_list FROM information_schema.system_variables
               WHERE variable_name = 'SQL_MODE'";
    server.ask(sql).await.remove(0)
}

#[test]
fn nothing_but_the_bound_value_arrives_whatever_sql_mode_is() {
    block_on(async {
        let server = MariaDb::start().await;
        prepare(&server).await;
        let modes = sql_modes(&server).await;
        let all = "PIPES_AS_CONCAT,ANSI_QUOTES,IGNORE_SPACE,NO_BACKSLASH_ESCAPES";
        let modes: Vec<&str> = modes.split(',').chain(["", all]).collect();
        assert!(modes.len() > 20 && modes.contains(&"NO_BACKSLASH_ESCAPES"), "{modes:?}");
        let values = hostile_values(18);
        for mode in modes {
            server.execute(&format!("SET GLOBAL sql_mode = '{mode}'")).await;
            let pool = pool_of(1, server.connection());
            let sql_mode = ask(&pool, "SELECT @@sql_mode", "").await.unwrap().row[0].1.clone();
            let sql_mode = String::from_utf8(sql_mode).unwrap();
            assert!(sql_mode.contains(mode), "{mode} is not in force: {sql_mode}");
            server.execute("SET GLOBAL sql_mode = ''").await;
            log_each(&pool, &server, mode, &values).await;
            harm_nothing(&pool, mode, &values).await;
            assert_unharmed(&server, mode).await;
        }
    });
}

#[test]
fn nothing_but_the_bound_value_arrives_whatever_character_sets_the_server_has() {
    block_on(async {
        let server = MariaDb::start().await;
        prepare(&server).await;
        let values = hostile_values(24);
        for charset in ["gbk", "big5", "sjis", "cp932", "latin1", "utf8mb3"] {
            for variable in ["server", "client", "connection", "results", "database"] {
                let set = format!("SET GLOBAL character_set_{variable} = {charset}");
                server.execute(&set).await;
            }
            server.execute(&format!("SET GLOBAL init_connect = 'SET NAMES {charset}'")).await;
            let pool = pool_of(1, server.connection());
            log_each(&pool, &server, charset, &values).await;
            harm_nothing(&pool, charset, &values).await;
            assert_unharmed(&server, charset).await;
        }
    });
}

#[test]
fn a_hostile_sender_arrives_in_the_database_as_he_is_and_nowhere_else() {
    let server = block_on(async {
        let server = MariaDb::start().await;
        prepare(&server).await;
        server
    });
    let queries: Vec<String> = ["$sender", "'$sender'", "'${escape $sender}'"]
        .iter()
        .enumerate()
        .map(|(number, value)| {
            format!(
                "<query id=\"q{number}\"><statement>INSERT INTO arrived (value) VALUES ({value})
                 </statement></query>"
            )
        })
        .collect();
    let daemon = Daemon::start(Settings {
        checks: "db.q0 db.q1 db.q2".to_owned(),
        engines: format!(
            "<mysql id=\"db\" on_exception=\"REJECT failed\">{}{}</mysql>",
            server.element_named("connection"),
            queries.concat()
        ),
        ..Settings::default()
    });
    let mut client = daemon.connect();
    let values = hostile_values(200);
    for value in &values {
        let request = PolicyRequest::new().set("sender", value);
        assert_eq!(client.ask(&request.octets()).unwrap(), "DUNNO", "{value:x?}");
    }
    block_on(async {
        let expected: Vec<Vec<u8>> =
            values.iter().flat_map(|value| std::iter::repeat_n(value.clone(), 3)).collect();
        assert!(arrived(&server).await == expected, "something else arrived");
        assert_unharmed(&server, "over the wire").await;
    });
}
