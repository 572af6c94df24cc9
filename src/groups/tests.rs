//! Groups, selected for requests from configurations.

use std::path::Path;

use futures_util::FutureExt as _;
use mppd_engine::config::Severity;
use mppd_engine::testkit::exchange;

use super::*;
use crate::config::limits::Limits;
use crate::config::{ConfigurationFile, LoadRequest, draft};

fn draft_in(directory: &Path, groups: &str) -> Draft {
    let file = directory.join("mppd.conf.xml");
    std::fs::write(&file, format!("<mppd><groups>{groups}</groups></mppd>")).unwrap();
    let file = ConfigurationFile::Path(file);
    let request = LoadRequest { file, environment: [].into(), set: Vec::new() };
    draft(&request, &Limits::default())
}

/// The IDs of the groups, and how one of them is selected.
fn groups_in(directory: &Path, groups: &str) -> (Vec<String>, Groups) {
    let draft = draft_in(directory, groups);
    let (groups, mut findings) = Groups::build(&draft, &crate::log::silent());
    findings.extend(draft.findings);
    assert_eq!(findings, []);
    (draft.groups.into_iter().map(|group| group.id.value).collect(), groups)
}

/// The group of a request, where no database has to be asked.
fn select<const N: usize>(groups: &Groups, attributes: [(&str, &str); N]) -> usize {
    groups.select(&exchange(attributes)).now_or_never().unwrap()
}

fn selected<const N: usize>(groups: &str, attributes: [(&str, &str); N]) -> String {
    let directory = tempfile::tempdir().unwrap();
    let default = "<group id='default'/>";
    let (ids, groups) = groups_in(directory.path(), &format!("{default}{groups}"));
    ids[select(&groups, attributes)].clone()
}

/// What is said about the groups, with the text that each finding points at.
fn said_in(directory: &Path, groups: &str) -> Vec<(Severity, String, String)> {
    let draft = draft_in(directory, groups);
    let (_, findings) = Groups::build(&draft, &crate::log::silent());
    let all = draft.findings.iter().chain(&findings);
    all.map(|finding| {
        let text = finding.span.map_or("", |span| draft.sources.text(span));
        (finding.severity, finding.message.clone(), text.to_owned())
    })
    .collect()
}

fn errors(groups: &str) -> Vec<(String, String)> {
    let directory = tempfile::tempdir().unwrap();
    let said = said_in(directory.path(), &format!("<group id='default'/>{groups}"));
    assert!(said.iter().all(|(severity, ..)| *severity == Severity::Error), "{said:?}");
    said.into_iter().map(|(_, message, text)| (message, text)).collect()
}

const GROUPS: &str = "
    <group id='nets'><members><ip_list>192.0.2.0/24 2001:db8::/32</ip_list></members></group>
    <group id='host'><members><ip_list>192.0.2.7</ip_list></members></group>
    <group id='to'>
      <members><address_list_recipient>example.org</address_list_recipient></members>
      <members><address_list_recipient>b@example.net</address_list_recipient></members>
    </group>
    <group id='sub'>
      <members><address_list_recipient>sub.example.org</address_list_recipient></members>
    </group>
    <group id='from'>
      <members><address_list_sender>@example.com &lt;&gt;</address_list_sender></members>
    </group>
    <group id='users'><members><sasl_user>alice bob</sasl_user></members></group>";

#[test]
fn the_smallest_network_wins_whichever_group_it_is_in() {
    assert_eq!(selected(GROUPS, [("client_address", "192.0.2.7")]), "host");
    assert_eq!(selected(GROUPS, [("client_address", "192.0.2.8")]), "nets");
    assert_eq!(selected(GROUPS, [("client_address", "::ffff:192.0.2.7")]), "host");
    assert_eq!(selected(GROUPS, [("client_address", "2001:db8:7::1")]), "nets");
    assert_eq!(selected(GROUPS, [("client_address", "198.51.100.1")]), "default");
    assert_eq!(selected(GROUPS, [("client_address", "unknown")]), "default");
}

#[test]
fn the_most_specific_address_wins_whichever_group_it_is_in() {
    assert_eq!(selected(GROUPS, [("recipient", "x@Example.ORG")]), "to");
    assert_eq!(selected(GROUPS, [("recipient", "x@other.example.org")]), "to");
    assert_eq!(selected(GROUPS, [("recipient", "x@a.sub.example.org")]), "sub");
    assert_eq!(selected(GROUPS, [("recipient", "B@example.net")]), "to");
    assert_eq!(selected(GROUPS, [("recipient", "a@example.net")]), "default");
}

#[test]
fn the_null_sender_can_be_a_member() {
    let sender = |state, sender| selected(GROUPS, [("protocol_state", state), ("sender", sender)]);
    assert_eq!(sender("RCPT", ""), "from");
    assert_eq!(sender("CONNECT", ""), "default");
    assert_eq!(sender("RCPT", "x@example.com"), "from");
    assert_eq!(sender("RCPT", "x@mail.example.com"), "default");
}

#[test]
fn a_user_who_has_logged_in_is_known_by_name() {
    assert_eq!(selected(GROUPS, [("sasl_username", "bob")]), "users");
    assert_eq!(selected(GROUPS, [("sasl_username", "Bob")]), "default");
    assert_eq!(selected(GROUPS, [("sasl_username", "")]), "default");
}

#[test]
fn the_first_method_that_finds_a_group_wins() {
    let all = [
        ("client_address", "192.0.2.7"),
        ("recipient", "x@example.org"),
        ("sender", "x@example.com"),
        ("sasl_username", "alice"),
    ];
    assert_eq!(selected(GROUPS, all), "host");
    for (sequence, group) in [
        ("sasl_user ip_list", "users"),
        ("address_list_sender sasl_user", "from"),
        ("address_list_recipient", "to"),
        ("", "default"),
    ] {
        let sequence = format!("<members_global_sequence>{sequence}</members_global_sequence>");
        let directory = tempfile::tempdir().unwrap();
        let groups = format!("{sequence}<group id='default'/>{GROUPS}");
        let draft = draft_in(directory.path(), &groups);
        let (groups, _) = Groups::build(&draft, &crate::log::silent());
        assert_eq!(draft.groups[select(&groups, all)].id.value, group);
    }
}

#[test]
fn members_come_from_files_as_well() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("nets"), "# ours\n192.0.2.0/24 # lab\n\n").unwrap();
    let groups = "<group id='default'/><group id='a'><members>
        <ip_list file='nets'>198.51.100.1</ip_list></members></group>";
    let (ids, groups) = groups_in(directory.path(), groups);
    for address in ["192.0.2.9", "198.51.100.1"] {
        assert_eq!(ids[select(&groups, [("client_address", address)])], "a", "{address}");
    }
}

#[test]
fn members_come_from_files_of_postfix_and_postgrey_as_well() {
    let directory = tempfile::tempdir().unwrap();
    let write = |name, text| std::fs::write(directory.path().join(name), text).unwrap();
    write("nets", "192.0.2.7 OK\n192.0.2.0/24 DUNNO\n[2001:db8::]/32 anything\n");
    write("domains", "example.org OK\nexample.net\n  OK\n");
    write("people", "bob@example.com\n/^test-/\n");
    let groups = "<group id='default'/><group id='a'><members>
        <ip_list file='nets' format='cidr'/>
        <address_list_sender file='domains' format='hash'/>
        <address_list_recipient file='people' format='postgrey'/></members></group>";
    let said = said_in(directory.path(), groups);
    let path = directory.path().join("nets").display().to_string();
    let warning = format!(
        "{path}:2: \"192.0.2.0/24\" is left out, but makes no exception from other entries"
    );
    assert_eq!(said, [(Severity::Warning, warning, "nets".to_owned())]);
    let draft = draft_in(directory.path(), groups);
    let (groups, _) = Groups::build(&draft, &crate::log::silent());
    for (attribute, value, group) in [
        ("client_address", "192.0.2.7", 1),
        ("client_address", "192.0.2.8", 0),
        ("client_address", "2001:db8::1", 1),
        ("sender", "x@mail.example.net", 1),
        ("recipient", "bob+x@example.com", 1),
        ("recipient", "TEST-1@example.net", 1),
        ("recipient", "alice@example.com", 0),
    ] {
        assert_eq!(select(&groups, [(attribute, value)]), group, "{value}");
    }
}

#[test]
fn default_may_stand_behind_other_groups() {
    let directory = tempfile::tempdir().unwrap();
    let groups = "<group id='a'><members><ip_list>192.0.2.1</ip_list></members></group>
        <group id='default'/>";
    let (ids, groups) = groups_in(directory.path(), groups);
    assert_eq!(ids[select(&groups, [("client_address", "192.0.2.2")])], "default");
}

#[test]
fn a_member_of_two_groups_is_an_error() {
    let errors = errors(
        "<group id='a'><members><address_list_sender>example.org x@</address_list_sender>
           <ip_list>192.0.2.1</ip_list></members></group>
         <group id='b'><members>
           <address_list_sender>.Example.org @example.ORG x@example.org X@</address_list_sender>
           <ip_list>192.0.2.1/32</ip_list>
           <address_list_recipient>example.org</address_list_recipient></members></group>",
    );
    let expected = [
        ("\"192.0.2.1/32\" is a member of group \"a\" already", "192.0.2.1/32"),
        ("\".Example.org\" is a member of group \"a\" already", ".Example.org"),
        ("\"@example.ORG\" is a member of group \"a\" already", "@example.ORG"),
        ("\"X@\" is a member of group \"a\" already", "X@"),
    ];
    assert_eq!(errors, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn a_member_that_a_group_has_twice_is_no_fault() {
    let groups = "<group id='a'><members><ip_list>192.0.2.1 192.0.2.1</ip_list></members>
        <members><ip_list>192.0.2.1</ip_list></members></group>";
    assert_eq!(errors(groups), []);
}

#[test]
fn both_places_of_a_member_of_two_groups_are_told() {
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("one"), "a\nb\n").unwrap();
    std::fs::write(directory.path().join("two"), "c\n\nb\nd").unwrap();
    let groups = "<group id='default'/>
        <group id='a'><members><sasl_user file='one'>d</sasl_user></members></group>
        <group id='b'><members><sasl_user file='two'/></members></group>";
    let draft = draft_in(directory.path(), groups);
    let (_, findings) = Groups::build(&draft, &crate::log::silent());
    let path = |name| directory.path().join(name).display().to_string();
    let related = |index: usize| {
        let (span, words) = &findings[index].related[0];
        (draft.sources.text(*span), words.clone())
    };
    let message = |line, name| {
        format!("{}:{line}: \"{name}\" is a member of group \"a\" already", path("two"))
    };
    assert_eq!(findings[0].message, message(3, "b"));
    assert_eq!(related(0), ("one", format!("in line 2 of {}", path("one"))));
    assert_eq!(findings[1].message, message(4, "d"));
    assert_eq!(related(1), ("d", "first here".to_owned()));
}

#[test]
fn default_has_no_members() {
    let directory = tempfile::tempdir().unwrap();
    let said = said_in(
        directory.path(),
        "<group id='default'><members><ip_list>192.0.2.1</ip_list></members></group>",
    );
    assert_eq!(said.len(), 1);
    assert_eq!(said[0].1, "group \"default\" has no members of its own");
}

#[test]
fn a_sequence_names_each_method_once() {
    let found =
        errors("<members_global_sequence>ip_list sasl_usr ip_list</members_global_sequence>");
    let expected = [
        ("unknown method \"sasl_usr\"", "sasl_usr"),
        ("method \"ip_list\" stands twice in the sequence", "ip_list"),
    ];
    assert_eq!(found, expected.map(|(a, b)| (a.to_owned(), b.to_owned())));
}

#[test]
fn members_that_are_never_looked_for_are_warned_of() {
    let directory = tempfile::tempdir().unwrap();
    let said = said_in(
        directory.path(),
        "<members_global_sequence>ip_list</members_global_sequence><group id='default'/>
         <group id='a'><members><sasl_user>alice</sasl_user></members></group><group id='b'/>",
    );
    let warning =
        |message: &str, text: &str| (Severity::Warning, message.to_owned(), text.to_owned());
    let expected = [
        warning("no group is looked for by \"sasl_user\"", "alice"),
        warning("group \"b\" has no members", "b"),
    ];
    assert_eq!(said, expected);
}

#[test]
fn a_database_is_asked_last_unless_the_sequence_says_otherwise() {
    let sql = "<sql><connection/><statement>SELECT id FROM members WHERE ip = $ip</statement></sql>
        <group id='default'/>";
    let directory = tempfile::tempdir().unwrap();
    let (_, groups) = groups_in(directory.path(), sql);
    assert_eq!(groups.sequence, Method::ALL);
    let (_, groups) = groups_in(directory.path(), "<group id='default'/>");
    assert_eq!(groups.sequence, Method::ALL[..4]);
    let first = "<members_global_sequence>sql ip_list</members_global_sequence>";
    let (_, groups) = groups_in(directory.path(), &format!("{first}{sql}"));
    assert_eq!(groups.sequence, [Method::Sql, Method::IpList]);
}

/// A lighter group, one that names it, one that does not, and what `default` says.
fn with_stress(default: &str) -> String {
    format!(
        "<group id='default'>{default}</group>
         <group id='light'/>
         <group id='busy'><members><sasl_user>busy</sasl_user></members>
           <under_stress>light</under_stress></group>
         <group id='own'><members><sasl_user>own</sasl_user></members></group>
         <group id='same'><members><sasl_user>same</sasl_user></members>
           <under_stress>{}</under_stress></group>",
        if default.is_empty() { "light" } else { "same" },
    )
}

fn selected_of(groups: &str, user: &str, stress: &str) -> String {
    let directory = tempfile::tempdir().unwrap();
    let (ids, groups) = groups_in(directory.path(), groups);
    ids[select(&groups, [("sasl_username", user), ("stress", stress)])].clone()
}

#[test]
fn under_stress_a_group_gives_way_to_the_one_that_it_names() {
    let groups = with_stress("");
    for (user, stress, group) in [
        ("busy", "", "busy"),
        ("busy", "yes", "light"),
        ("busy", "YES", "busy"),
        ("busy", "no", "busy"),
        ("own", "yes", "own"),
        ("", "yes", "default"),
    ] {
        assert_eq!(selected_of(&groups, user, stress), group, "{user} {stress}");
    }
}

#[test]
fn what_default_says_of_stress_holds_for_groups_that_say_nothing() {
    let groups = with_stress("<under_stress>light</under_stress>");
    for (user, group) in [("", "light"), ("own", "light"), ("same", "same")] {
        assert_eq!(selected_of(&groups, user, "yes"), group, "{user}");
    }
}

#[test]
fn a_group_for_stress_that_is_not_there_or_the_group_itself_is_told() {
    let said = errors(
        "<group id='a'><members><sasl_user>a</sasl_user></members>
           <under_stress>ligth</under_stress></group>
         <group id='light'><members><sasl_user>l</sasl_user></members>
           <under_stress>light</under_stress></group>",
    );
    let said: Vec<&str> = said.iter().map(|(message, _)| message.as_str()).collect();
    assert_eq!(said, ["unknown group \"ligth\"", "group \"light\" names itself"]);
}

#[test]
fn groups_that_stand_in_for_each_other_are_told_once() {
    let said = errors(
        "<group id='a'><members><sasl_user>a</sasl_user></members>
           <under_stress>b</under_stress></group>
         <group id='b'><members><sasl_user>b</sasl_user></members>
           <under_stress>a</under_stress></group>
         <group id='c'><members><sasl_user>c</sasl_user></members>
           <under_stress>a</under_stress></group>",
    );
    let ring = "groups stand in for each other under stress: a -> b -> a";
    assert_eq!(said, [(ring.to_owned(), "b".to_owned())]);
}
