//! `mppd order`: the chains as resolved, to people and to machines.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::command::Call;

const CONFIGURATION: &str = "<mppd>
  <common>
    <policy_begin_engines>note</policy_begin_engines>
    <policy_check_engines>ch_wbl look</policy_check_engines>
    <policy_end_exception_engines>note</policy_end_exception_engines>
  </common>
  <groups>
    <group id=\"default\"><on_error>DEFER_IF_PERMIT try later</on_error></group>
    <group id=\"light\">
      <members><address_list_recipient>example.org</address_list_recipient></members>
      <policy_check_engines>ch_wbl</policy_check_engines>
      <dry_run>true</dry_run>
    </group>
  </groups>
  <engines>
    <log id=\"note\"/>
    <wbl id=\"ch_wbl\">
      <precondition>$stage $EQ policy-rcpt</precondition>
      <timeout>2s</timeout>
      <black><client_address>192.0.2.0/24</client_address></black>
      <on_black>550 5.7.1 listed by $list</on_black>
      <result id=\"how\">$list</result>
    </wbl>
    <wbl id=\"look\">
      <dry_run>true</dry_run>
      <black><sender>mallory@example.com</sender></black>
      <on_exception>fail</on_exception>
    </wbl>
  </engines>
</mppd>";

fn configuration() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mppd.conf.xml");
    std::fs::write(&file, CONFIGURATION).unwrap();
    (directory, file)
}

#[test]
fn the_chains_of_every_group_are_shown_with_what_each_status_does() {
    let (_directory, file) = configuration();
    let shown = Call::new(["order"]).with(&file).succeed();
    let expected = "group default
  begin  policy_begin_engines
    note (log)
      on_exception    fail  (default)
      timeout         10s
  checks  policy_check_engines
    ch_wbl (wbl)
      if              ${stage} $EQ \"policy-rcpt\"
      on_white        permit  (default)
      on_black        550 5.7.1 listed by ${list}
      on_none         continue  (default)
      on_exception    continue  (default)
      timeout         2s
      results         how
    look (wbl)  dry_run
      on_white        permit  (default)
      on_black        REJECT 5.7.1 refused by a block list of this site  (default)
      on_none         continue  (default)
      on_exception    fail
      timeout         10s
    what was kept, else DUNNO
  end  policy_end_engines
    no engine
  after an exception  policy_end_exception_engines
    note (log)
      on_exception    fail  (default)
      timeout         10s
    DEFER_IF_PERMIT try later  (on_error)
";
    assert!(shown.contains(expected), "{shown}");
}

#[test]
fn a_chain_that_groups_share_is_shown_once() {
    let (_directory, file) = configuration();
    let shown = Call::new(["order"]).with(&file).succeed();
    let light = shown.split("group light").nth(1).unwrap();
    assert!(light.starts_with("  dry_run: every answer is DUNNO\n"), "{light}");
    assert_eq!(light.matches("    as in group default\n").count(), 3, "{light}");
    assert!(light.contains("on_black") && !light.contains("look (wbl)"), "{light}");
}

#[test]
fn one_group_is_shown_whole() {
    let (_directory, file) = configuration();
    let shown = Call::new(["order", "--group", "light"]).with(&file).succeed();
    assert!(shown.starts_with("group light"), "{shown}");
    assert!(shown.contains("note (log)") && !shown.contains("as in group"), "{shown}");
    let said = Call::new(["order", "--group", "ligth"]).with(&file).run();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("did you mean \"light\"?"), "{}", said.err);
}

#[test]
fn machines_get_the_same_as_one_object() {
    let (_directory, file) = configuration();
    let json = Call::new(["order", "--json"]).with(&file).succeed();
    let order: serde_json::Value = serde_json::from_str(&json).unwrap();
    let light = &order["groups"][1];
    assert_eq!(light["id"], "light");
    assert_eq!(light["dry_run"], true);
    assert_eq!(light["on_error"], "DEFER_IF_PERMIT try later");
    assert_eq!(light["chains"][0]["shared_with"], serde_json::json!(["default"]));
    assert_eq!(light["chains"][1]["engines"], serde_json::json!(["ch_wbl"]));
    let engines = order["engines"].as_array().unwrap();
    let engine = engines.iter().find(|engine| engine["id"] == "ch_wbl").unwrap();
    assert_eq!(engine["kind"], "wbl");
    assert_eq!(engine["precondition"], "${stage} $EQ \"policy-rcpt\"");
    assert_eq!(engine["statuses"][1]["effect"], "550 5.7.1 listed by ${list}");
    assert_eq!(engine["statuses"][1]["by_default"], false);
    assert_eq!(engine["results"], serde_json::json!(["how"]));
}

#[test]
fn a_faulty_configuration_has_no_order() {
    let (directory, file) = configuration();
    std::fs::write(&file, CONFIGURATION.replace("ch_wbl look", "ch_wbl lok")).unwrap();
    let said = Call::new(["order"]).with(&file).run();
    drop(directory);
    assert_eq!((said.code, said.out.as_str()), (Some(78), ""));
    assert!(said.err.contains("did you mean \"look\"?"), "{}", said.err);
}
