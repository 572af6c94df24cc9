//! What is wrong with a configuration, each fault at its place.

use super::*;

macro_rules! reported {
    ($name:literal, $files:expr) => {
        insta::with_settings!({ snapshot_path => "../snapshots", prepend_module_to_snapshot => false, omit_expression => true }, {
            insta::assert_snapshot!($name, $files.report());
        });
    };
}

fn in_common(inside: &str) -> Files {
    Files::main(&format!("<mppd>\n  <common>\n    {inside}\n  </common>\n</mppd>\n"))
}

fn in_engines(inside: &str) -> Files {
    Files::main(&format!("<mppd>\n  <engines>\n    {inside}\n  </engines>\n</mppd>\n"))
}

fn in_connection(inside: &str) -> String {
    format!(
        "<mppd>\n  <groups>\n    <group id=\"default\">\n      \
         <PPXX0001_track_policy_connection>\n        {inside}\n      \
         </PPXX0001_track_policy_connection>\n    </group>\n  </groups>\n</mppd>\n"
    )
}

#[test]
fn a_file_that_is_not_there_is_reported() {
    let mut files = Files::main("<mppd/>");
    files.main = files.directory.path().join("nowhere.xml");
    reported!("no_file", files);
}

#[test]
fn a_directory_in_place_of_a_file_is_reported() {
    let mut files = Files::main("<mppd/>");
    files.main = files.directory.path().join("conf");
    std::fs::create_dir(&files.main).unwrap();
    reported!("directory", files);
}

#[test]
fn document_types_are_refused() {
    reported!(
        "doctype",
        Files::main(
            "<?xml version=\"1.0\"?>\n<!DOCTYPE mppd [\n  <!ENTITY a SYSTEM \"file:///etc/passwd\">\n]>\n\
             <mppd>&a;</mppd>\n"
        )
    );
}

#[test]
fn entity_expansion_is_refused() {
    reported!(
        "entity_expansion",
        Files::main(
            "<!DOCTYPE lolz [<!ENTITY lol \"lol\"><!ENTITY lol2 \"&lol;&lol;\">]>\n<mppd>&lol2;</mppd>\n"
        )
    );
}

#[test]
fn unknown_entities_are_refused() {
    reported!("unknown_entity", in_common("<node>caf&eacute;</node>"));
}

#[test]
fn tags_that_do_not_match_are_reported() {
    reported!("mismatched_tag", in_common("<node>mx</nod>"));
}

#[test]
fn a_wrong_outermost_element_is_reported() {
    reported!("wrong_root", Files::main("<mpdp>\n  <common/>\n</mpdp>\n"));
}

#[test]
fn a_second_outermost_element_is_reported() {
    reported!("second_root", Files::main("<mppd/>\n<mppd/>\n"));
}

#[test]
fn attributes_given_twice_are_reported() {
    reported!("duplicate_attribute", in_engines("<wbl id=\"a\" timeout=\"1s\" id=\"b\"/>"));
}

#[test]
fn what_is_not_utf8_is_reported_with_its_line() {
    let files = Files::main("");
    std::fs::write(&files.main, b"<mppd>\n  <!-- gr\xf6\xdfer -->\n</mppd>\n").unwrap();
    reported!("not_utf8", files);
}

#[test]
fn control_characters_are_reported_and_not_obeyed() {
    reported!("control_character", in_common("<node>mx\u{1b}[2J\u{7}</node>"));
}

#[test]
fn files_over_the_limit_are_refused() {
    let mut files = Files::new(&[
        ("mppd.conf.xml", "<mppd>\n  <engines file=\"big.xml\" xpath=\"/a\"/>\n</mppd>\n"),
        ("big.xml", &" ".repeat(1000)),
    ]);
    files.limits.file_size = 500;
    reported!("large_file", files);
}

#[test]
fn more_files_than_allowed_are_refused() {
    let mut files = Files::new(&[
        (
            "mppd.conf.xml",
            "<mppd>\n  <engines file=\"a.xml\" xpath=\"/e\"/>\n  <engines file=\"b.xml\" xpath=\"/e\"/>\n</mppd>\n",
        ),
        ("a.xml", "<e/>"),
        ("b.xml", "<e/>"),
    ]);
    files.limits.files = 2;
    reported!("many_files", files);
}

#[test]
fn includes_that_multiply_are_refused() {
    let include = |file: &str| format!("<x file=\"{file}\" xpath=\"/a/b\"/>").repeat(10);
    let layer = |file: &str| format!("<a>\n<b>{}</b>\n</a>\n", include(file));
    let mut files = Files::new(&[
        ("mppd.conf.xml", "<mppd>\n  <engines file=\"1.xml\" xpath=\"/a/b\"/>\n</mppd>\n"),
        ("1.xml", &layer("2.xml")),
        ("2.xml", &layer("3.xml")),
        ("3.xml", &layer("4.xml")),
        ("4.xml", "<a>\n<b>laugh</b>\n</a>\n"),
    ]);
    files.limits.included_size = 10_000;
    reported!("multiplying_includes", files);
}

#[test]
fn more_includes_than_allowed_are_refused() {
    let mut files = Files::new(&[
        (
            "mppd.conf.xml",
            "<mppd>\n  <engines file=\"a.xml\" xpath=\"/e\"/>\n  <engines file=\"a.xml\" xpath=\"/e\"/>\n</mppd>\n",
        ),
        ("a.xml", "<e/>"),
    ]);
    files.limits.includes = 1;
    reported!("many_includes", files);
}

#[test]
fn nesting_over_the_limit_is_refused() {
    let mut files = in_common("<policy_server><listen><deep/></listen></policy_server>");
    files.limits.nesting = 4;
    reported!("deep_nesting", files);
}

#[test]
fn nesting_by_includes_over_the_limit_is_refused() {
    let mut files = Files::new(&[
        ("mppd.conf.xml", "<mppd>\n<engines><e file=\"a.xml\" xpath=\"/a\"/></engines>\n</mppd>\n"),
        ("a.xml", "<a>\n<b><c/></b>\n</a>\n"),
    ]);
    files.limits.nesting = 4;
    reported!("deep_nesting_by_includes", files);
}

#[test]
fn a_ring_of_includes_is_shown_whole() {
    reported!(
        "include_ring",
        Files::new(&[
            (
                "mppd.conf.xml",
                "<mppd>\n  <engines file=\"a.xml\" xpath=\"/mppd/engines\"/>\n</mppd>\n"
            ),
            ("a.xml", "<mppd>\n  <engines file=\"sub/b.xml\" xpath=\"/mppd/engines\"/>\n</mppd>\n"),
            (
                "sub/b.xml",
                "<mppd>\n  <engines>\n    <wbl file=\"../a.xml\" xpath=\"/mppd/engines\"/>\n  </engines>\n</mppd>\n",
            ),
        ])
    );
}

#[test]
fn an_include_of_itself_is_a_ring() {
    reported!(
        "include_of_itself",
        Files::main(
            "<mppd>\n  <engines file=\"mppd.conf.xml\" xpath=\"/mppd/engines\"/>\n</mppd>\n"
        )
    );
}

#[test]
fn includes_nested_too_deep_are_refused() {
    let mut files = Files::new(&[
        ("mppd.conf.xml", "<mppd>\n  <engines file=\"a.xml\" xpath=\"/e\"/>\n</mppd>\n"),
        ("a.xml", "<e file=\"b.xml\" xpath=\"/e\"/>\n"),
        ("b.xml", "<e file=\"c.xml\" xpath=\"/e\"/>\n"),
        ("c.xml", "<e/>\n"),
    ]);
    files.limits.include_depth = 2;
    reported!("deep_includes", files);
}

#[test]
fn an_xpath_that_finds_nothing_says_which_step_failed() {
    reported!(
        "xpath_without_match",
        Files::new(&[
            (
                "mppd.conf.xml",
                "<mppd>\n  <common>\n    <policy_begin_engines file=\"esm/PPXX0001.xml\" xpath=\"/mppd/common/policy_bgin_engines\"/>\n  </common>\n  <engines file=\"esm/PPXX0001.xml\" xpath=\"/mpd/engines\"/>\n  <engines file=\"esm/PPXX0001.xml\" xpath=\"/mppd/engines[@id='x']/track\"/>\n  <groups file=\"esm/PPXX0001.xml\" xpath=\"/mppd/engines/track[@id='PPXX0002']\"/>\n</mppd>\n",
            ),
            (
                "esm/PPXX0001.xml",
                "<mppd>\n  <common>\n    <policy_begin_engines>PPXX0001.received</policy_begin_engines>\n  </common>\n  <engines><track id=\"PPXX0001\"/></engines>\n</mppd>\n",
            ),
        ])
    );
}

#[test]
fn an_xpath_that_is_not_understood_is_reported() {
    reported!(
        "xpath_not_understood",
        Files::main(
            "<mppd>\n  <engines file=\"a.xml\" xpath=\"//engines\"/>\n  <engines file=\"a.xml\" xpath=\"/a/b[1]\"/>\n  <engines xpath=\"/a\"/>\n</mppd>\n"
        )
    );
}

#[test]
fn files_that_can_not_be_included_are_reported() {
    reported!(
        "bad_include_files",
        Files::main(
            "<mppd>\n  <engines file=\"esm/gone.xml\" xpath=\"/a\"/>\n  <engines file=\"https://example.com/x.xml\" xpath=\"/a\"/>\n  <engines file=\"\" xpath=\"/a\"/>\n</mppd>\n"
        )
    );
}

#[test]
fn every_faulty_file_is_reported_at_once() {
    reported!(
        "faults_in_several_files",
        Files::new(&[
            (
                "mppd.conf.xml",
                "<mppd>\n  <engines file=\"a.xml\" xpath=\"/e\"/>\n  <engines file=\"b.xml\" xpath=\"/e\"/>\n  <common><node>x</noed></common>\n</mppd>\n",
            ),
            ("a.xml", "<e>\n  <wbl>\n</e>\n"),
            ("b.xml", "<e>\n  <wbl id=\"x\" id=\"y\">&nbsp;</wbl>\n</e>\n"),
        ])
    );
}

#[test]
fn faults_inside_included_files_are_shown_there() {
    reported!(
        "faults_in_an_included_file",
        Files::new(&[
            ("mppd.conf.xml", "<mppd>\n  <common file=\"common.xml\" xpath=\"/c\"/>\n</mppd>\n"),
            (
                "common.xml",
                "<c>\n  <log>\n    <level>loud</level>\n  </log>\n  <trakcing/>\n</c>\n"
            ),
        ])
    );
}

#[test]
fn several_faults_of_one_file_are_reported_together() {
    reported!(
        "several_faults",
        Files::main(
            "<mppd version=\"1\">
  <comon/>
  text
  <common>
    <policy_server>
      <listen mode=\"0660\"></listen>
      <max_conections>100</max_conections>
      <workers>many</workers>
    </policy_server>
    <log><level>debgu</level></log>
    <policy_server>
      <workers>2</workers>
      <request_deadline>30</request_deadline>
    </policy_server>
  </common>
</mppd>
"
        )
    );
}

#[test]
fn unknown_elements_are_reported_with_the_nearest_name() {
    reported!(
        "unknown_elements",
        Files::main("<mppd>\n  <engine/>\n  <modules/>\n  <groups><grop/></groups>\n</mppd>\n")
    );
}

#[test]
fn an_engine_defined_twice_is_shown_in_both_places() {
    reported!(
        "engine_twice",
        Files::new(&[
            (
                "mppd.conf.xml",
                "<mppd>\n  <engines><wbl/></engines>\n  <engines file=\"more.xml\" xpath=\"/e\"/>\n</mppd>\n",
            ),
            ("more.xml", "<e>\n  <greylist/>\n  <rbl id=\"wbl\"/>\n</e>\n"),
        ])
    );
}

#[test]
fn engine_ids_that_can_not_be_are_reported() {
    reported!(
        "engine_ids",
        in_engines(
            "<wbl id=\"white-list\"/>\n    <a.b/>\n    <wbl><id>ö</id></wbl>\n    <wbl id=\"\"/>"
        )
    );
}

#[test]
fn a_group_defined_twice_is_shown_in_both_places() {
    reported!(
        "group_twice",
        Files::main(
            "<mppd>\n  <groups>\n    <group id=\"default\"/>\n  </groups>\n  <groups>\n    <group><id>default</id></group>\n  </groups>\n</mppd>\n"
        )
    );
}

#[test]
fn what_groups_cannot_hold_is_reported() {
    reported!(
        "faulty_groups",
        Files::main(
            "<mppd>\n  <groups mode=\"x\">\n    <group id=\"sales\"/>\n    <group/>\n  </groups>\n</mppd>\n"
        )
    );
}

#[test]
fn bad_overrides_are_reported_at_their_source() {
    reported!(
        "bad_overrides",
        in_common("<node>mx</node>")
            .environment("MPPD_COMMON__LOG__LEVEL", "loud")
            .environment("MPPD_COMMON__LOG__LEVLE", "debug")
            .environment("MPPD_COMMON__POLICY_SERVER__LISTEN", "inet:1")
            .environment("MPPD_COMMON_NODE", "x")
            .environment("MPPD_PORT_25_TCP", "x")
            .set("common.tracking.queue = many")
            .set("common.log")
            .set("common.polcy_server.workers=2")
            .set("common.policy_check_engines=x")
    );
}

#[test]
fn secrets_that_are_missing_or_given_twice_are_reported_without_showing_them() {
    reported!(
        "secret_twice",
        Files::main(&in_connection("<user>mppd</user> <password file=\"db\">geheim</password>"))
    );
    reported!("secret_missing", Files::main(&in_connection("<password/>")));
}

#[test]
fn files_of_secrets_that_can_not_be_read_are_reported() {
    reported!(
        "secret_file_missing",
        Files::main(&in_connection("<password file=\"secrets/db\"/>"))
    );
    let text = in_connection("<password file=\"db\"/>");
    let files = Files::new(&[("mppd.conf.xml", &text), ("db", "\ngeheim\n")]);
    reported!("secret_file_empty", files);
}

#[test]
fn a_line_at_fault_does_not_show_the_secret_beside_it() {
    let text =
        in_connection("<pasword>geheim</pasword> <hots>x</hots> <password>geheim</password>");
    let files = Files::main(&text);
    assert!(!files.report().contains("geheim"));
    reported!("secret_beside_a_fault", files);
}

#[test]
fn a_file_that_can_not_be_parsed_does_not_show_its_secret() {
    let text = in_connection("<password>geheim</pasword>");
    let files = Files::main(&text);
    assert!(!files.report().contains("geheim"));
    reported!("secret_in_a_broken_file", files);
}

#[test]
fn faults_of_option_files_are_shown_there() {
    let text = in_connection("<defaults_file>my.cnf</defaults_file>");
    let cnf =
        "[client]\nuser = mppd\npassword = geheim\nport = many\n!includedir /etc/mysql/conf.d\n";
    reported!("option_file", Files::new(&[("mppd.conf.xml", &text), ("my.cnf", cnf)]));
}
