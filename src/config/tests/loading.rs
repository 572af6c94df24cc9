//! What a configuration comes to: files, layers, groups.

use std::time::Duration;

use mppd_engine::Element;

use mppd_engine::config::Positive;

use super::*;
use crate::config::settings::{Durability, LogLevel};
use mppd_database::{Secret, Tls};

const PPXX0001: &str = "<mppd>
  <common>
    <policy_begin_engines>PPXX0001.received</policy_begin_engines>
    <policy_end_engines>PPXX0001.processed</policy_end_engines>
  </common>
  <engines><track id='PPXX0001'/></engines>
</mppd>";

fn words(list: &[mppd_engine::Spanned<String>]) -> Vec<&str> {
    list.iter().map(|item| item.value.as_str()).collect()
}

fn ids(engines: &[Element]) -> Vec<String> {
    engines.iter().map(|engine| engine_id(engine).value).collect()
}

#[test]
fn the_smallest_configuration_has_a_default_group() {
    let configuration = Files::main("<mppd/>").loaded();
    assert_eq!(configuration.groups.len(), 1);
    assert_eq!(configuration.groups[0].id.value, "default");
    assert!(configuration.engines.is_empty() && configuration.connections.is_empty());
    assert_eq!(configuration.common.log.level, LogLevel::Info);
}

#[test]
fn the_configuration_that_comes_with_mppd_is_good() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let request = LoadRequest {
        file: ConfigurationFile::Path(root.join("conf/mppd.conf.xml")),
        environment: BTreeMap::new(),
        set: Vec::new(),
    };
    let configuration = load(&request).unwrap();
    assert!(configuration.warnings.is_empty());
    let common = &configuration.common;
    assert_eq!(common.policy_server.listen[0].endpoint.value, "inet:127.0.0.1:10040");
    assert_eq!(common.state_directory, PathBuf::from("var"));
    assert_eq!(words(&common.policy_begin_engines), ["PPXX0001.received"]);
    assert_eq!(words(&common.policy_check_engines), ["ch_wbl spam_traps wbl spf rbl greylist"]);
    assert_eq!(words(&common.policy_end_engines), ["PPXX0001.processed"]);
    assert_eq!(words(&common.policy_end_exception_engines), ["PPXX0001.exception"]);
    assert_eq!(
        ids(&configuration.engines),
        ["PPXX0001", "ch_wbl", "spam_traps", "wbl", "spf", "rbl", "greylist"]
    );
}

#[test]
fn a_configuration_that_is_compiled_in_is_read_the_same_way() {
    let embedded = ConfigurationFile::Embedded {
        main: ("mppd.conf.xml", include_str!("../../../conf/mppd.conf.xml")),
        included: &[("esm/PPXX0001.xml", include_str!("../../../conf/esm/PPXX0001.xml"))],
    };
    let request = LoadRequest { file: embedded, environment: BTreeMap::new(), set: Vec::new() };
    let configuration = load(&request).unwrap();
    assert_eq!(
        ids(&configuration.engines),
        ["PPXX0001", "ch_wbl", "spam_traps", "wbl", "spf", "rbl", "greylist"]
    );
}

#[test]
fn an_include_brings_attributes_children_and_text_before_its_own() {
    let files = Files::new(&[
        (
            "mppd.conf.xml",
            "<mppd><engines><e id='own' file='more.xml' xpath='/x/y[@n=\"1\"]'><c/>end</e></engines></mppd>",
        ),
        ("more.xml", "<x><y n='0'><no/></y><y n='1' id='theirs' z='2'><a/>begin<b/></y></x>"),
    ]);
    let engine = &files.loaded().engines[0];
    let attributes: Vec<(&str, &str)> = engine
        .attributes
        .iter()
        .map(|attribute| (attribute.name.as_str(), attribute.value.as_str()))
        .collect();
    assert_eq!(attributes, [("id", "own"), ("n", "1"), ("z", "2")]);
    let children: Vec<&str> = engine.children.iter().map(|child| child.name.as_str()).collect();
    assert_eq!(children, ["a", "b", "c"]);
    assert_eq!(engine.text.split_whitespace().collect::<Vec<_>>(), ["begin", "end"]);
}

#[test]
fn places_in_included_files_are_those_of_the_file() {
    let main = "<mppd><engines file='a/one.xml' xpath='/mppd/engines'/></mppd>";
    let one = "<mppd>\n<engines><wbl file='two.xml' xpath='/wbl'/></engines></mppd>";
    let two = "\n\n<wbl><white>x</white></wbl>";
    let files = Files::new(&[("main.xml", main), ("a/one.xml", one), ("a/two.xml", two)]);
    let configuration = files.loaded();
    let wbl = &configuration.engines[0];
    let white = wbl.child("white").unwrap();
    let sources = &configuration.sources;
    assert!(sources.get(wbl.name_span.source).name().ends_with("a/one.xml"));
    assert!(sources.get(white.text_span.source).name().ends_with("a/two.xml"));
    assert_eq!(sources.position(white.text_span), (3, 13));
    assert!(sources.directory(white.name_span.source).ends_with("a"));
}

#[test]
fn a_module_adds_itself_to_lists_and_every_piece_keeps_its_place() {
    let main = "<mppd>
      <common>
        <policy_begin_engines file='p.xml' xpath='/mppd/common/policy_begin_engines'>mine</policy_begin_engines>
        <policy_begin_engines>last</policy_begin_engines>
      </common>
      <common><policy_end_engines file='p.xml' xpath='/mppd/common/policy_end_engines'/></common>
      <engines file='p.xml' xpath='/mppd/engines'/>
    </mppd>";
    let configuration = Files::new(&[("main.xml", main), ("p.xml", PPXX0001)]).loaded();
    let begin = &configuration.common.policy_begin_engines;
    assert_eq!(words(begin), ["PPXX0001.received", "mine", "last"]);
    for piece in begin {
        assert_eq!(configuration.sources.text(piece.span), piece.value);
    }
    assert_eq!(words(&configuration.common.policy_end_engines), ["PPXX0001.processed"]);
    assert_eq!(ids(&configuration.engines), ["PPXX0001"]);
}

#[test]
fn an_include_may_pass_through_another_and_back_into_the_first_file() {
    let main = "<mppd>
      <common file='b.xml' xpath='/b/common'/>
      <engines file='b.xml' xpath='/b/all/engines'/>
      <engines><greylist><level>debug</level></greylist></engines>
    </mppd>";
    let b = "<b>
      <common><log file='main.xml' xpath='/mppd/engines/greylist'/></common>
      <all file='c.xml' xpath='/c'/>
    </b>";
    let c = "<c><engines><wbl id='y'/></engines><engines><wbl id='z'/></engines></c>";
    let configuration = Files::new(&[("main.xml", main), ("b.xml", b), ("c.xml", c)]).loaded();
    assert_eq!(configuration.common.log.level, LogLevel::Debug);
    assert_eq!(ids(&configuration.engines), ["y", "z", "greylist"]);
}

#[test]
fn several_matches_are_read_one_after_the_other() {
    let main = "<mppd><engines file='c.xml' xpath='/c/engines'/></mppd>";
    let c = "<c><engines><wbl id='y'/></engines><engines><wbl id='z'/></engines></c>";
    let configuration = Files::new(&[("main.xml", main), ("c.xml", c)]).loaded();
    assert_eq!(ids(&configuration.engines), ["y", "z"]);
}

#[test]
fn the_environment_overrides_the_file_and_the_command_line_both() {
    let main = "<mppd><common node='file'><log><level>error</level></log></common></mppd>";
    let files = Files::main(main)
        .environment("MPPD_COMMON__LOG__LEVEL", "debug")
        .environment("MPPD_COMMON__NODE", "environment")
        .environment("MPPD_COMMON__TRACKING__DURABILITY", "strict")
        .environment("MPPD_COMMON__POLICY_SERVER__MAX_CONNECTIONS", "")
        .environment("MPPD_CONFIG", "/etc/mppd.conf.xml")
        .environment("MPPD_PORT", "tcp://10.0.0.1:10040")
        .set("common.log.level=warning")
        .set("common.log.level=trace");
    let configuration = files.loaded();
    assert_eq!(configuration.common.log.level, LogLevel::Trace);
    assert_eq!(configuration.common.node.as_deref(), Some("environment"));
    assert_eq!(configuration.common.tracking.durability, Durability::Strict);
    assert_eq!(configuration.common.policy_server.max_connections, Positive(10_000));
}

#[test]
fn every_single_value_of_common_can_be_overridden() {
    let files = Files::main("<mppd/>")
        .set("common.state_directory=/x")
        .set("common.policy_server.idle_timeout=5s")
        .set("common.log.format=json")
        .set("common.tracking.queue=7");
    let common = files.loaded().common;
    assert_eq!(common.state_directory, PathBuf::from("/x"));
    assert_eq!(common.policy_server.idle_timeout.unwrap().0.0, Duration::from_secs(5));
    assert_eq!(common.tracking.queue, Positive(7));
}

fn connection(inside: &str) -> String {
    format!(
        "<mppd><groups><group id='default'><PPXX0001_track_policy_connection>{inside}\
         </PPXX0001_track_policy_connection></group></groups></mppd>"
    )
}

#[test]
fn a_connection_has_defaults() {
    let configuration = Files::main(&connection("")).loaded();
    let connection = &configuration.connections["default"];
    assert_eq!(connection.host.as_deref(), Some("127.0.0.1"));
    assert_eq!((connection.port, connection.user.as_str()), (3306, "mppd"));
    assert_eq!((connection.database.as_str(), &connection.password), ("mppd", &None));
    assert_eq!((&connection.tls, &connection.unix_socket), (&None, &None));
}

#[test]
fn secrets_and_option_files_are_read_beside_the_file_that_names_them() {
    let main = "<mppd><groups file='sub/groups.xml' xpath='/mppd/groups'/></mppd>";
    let sub = connection(
        "<user>ours</user><password file='secrets/db'/><defaults_file>my.cnf</defaults_file>",
    );
    let cnf = "[client]\nuser=theirs\npassword=theirs\nport=3307\nssl-ca=ca.pem\nsocket=/run/s\n";
    let files = Files::new(&[
        ("mppd.conf.xml", main),
        ("sub/groups.xml", &sub),
        ("sub/secrets/db", "pass word \r\nsecond line\n"),
        ("sub/my.cnf", cnf),
    ]);
    let connection = files.loaded().connections["default"].clone();
    assert_eq!(connection.user, "ours");
    assert_eq!(connection.password, Some(Secret::from("pass word ".to_owned())));
    assert_eq!(connection.unix_socket, Some(PathBuf::from("/run/s")));
    assert_eq!((connection.host, connection.port), (None, 3307));
    let ca_file = Some(files.directory.path().join("sub/ca.pem"));
    assert_eq!(connection.tls, Some(Tls { ca_file, skip_verification: false }));
}

#[test]
fn a_host_that_is_given_wins_over_the_socket_of_the_option_file() {
    let inside = "<host>db</host><defaults_file>my.cnf</defaults_file>";
    let cnf = "[client]\nsocket=/run/s\nhost=localhost\n";
    let files = Files::new(&[("mppd.conf.xml", &connection(inside)), ("my.cnf", cnf)]);
    let connection = files.loaded().connections["default"].clone();
    assert_eq!((connection.host.as_deref(), connection.unix_socket), (Some("db"), None));
}

#[test]
fn what_is_shown_of_a_configuration_holds_no_secret() {
    let text = connection("<password>geheim</password>");
    let configuration = Files::main(&text).loaded();
    let secret = configuration.connections["default"].password.as_ref().unwrap();
    assert_eq!(secret.reveal(), "geheim");
    assert!(!format!("{configuration:?}").contains("geheim"));
}

#[test]
fn a_byte_order_mark_is_no_part_of_the_text() {
    let configuration = Files::main("\u{feff}<mppd><engines><e/></engines></mppd>").loaded();
    let place = configuration.engines[0].name_span;
    assert_eq!(configuration.sources.text(place), "e");
}

#[test]
fn a_database_that_is_waited_for_longer_than_a_request_has_time_is_mentioned() {
    let slow = connection("<write_timeout>30s</write_timeout>");
    let warnings = Files::main(&slow).loaded().warnings;
    assert_eq!(warnings.len(), 1);
    let expected = "the write_timeout of the tracking connection (30s) is not shorter than request_deadline (30s)";
    assert_eq!(warnings[0].message, expected);
    let quick = connection("<write_timeout>29s</write_timeout>");
    assert!(Files::main(&quick).loaded().warnings.is_empty());
}
