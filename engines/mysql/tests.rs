//! What the configuration of an element says, and what is wrong with it. What the database answers
//! is told by the tests of the whole server, with a real one.

use mppd_engine::testkit::Configured;

use super::*;

fn faults(inside: &str) -> Vec<(String, String)> {
    let xml = format!("<mysql id=\"x\">{inside}</mysql>");
    let configured = Configured::xml(&xml);
    let faults = configured.faults(&Mysql);
    faults.into_iter().map(|(message, place)| (message, place.to_owned())).collect()
}

fn fault(inside: &str) -> (String, String) {
    let mut faults = faults(inside);
    assert_eq!(faults.len(), 1, "{faults:?}");
    faults.remove(0)
}

const READ: &str = "<query id='a'><statement>SELECT 1</statement></query>";

fn pair(message: &str, place: &str) -> (String, String) {
    (message.to_owned(), place.to_owned())
}

#[test]
fn each_query_is_a_method() {
    let xml = "<mysql><connection/><query id='a' on_found='REJECT'><statement>SELECT $sender\
               </statement></query><query id='b'><statement>DELETE FROM t</statement></query>\
               </mysql>";
    let engine = Configured::xml(xml).build(&Mysql).unwrap();
    assert_eq!(engine.methods().collect::<Vec<_>>(), ["a", "b"]);
}

#[test]
fn connection_and_queries_are_needed() {
    assert_eq!(
        faults(""),
        [
            pair("\"connection\" is missing in <mysql>", "mysql"),
            pair("\"query\" is missing in <mysql>", "mysql"),
        ]
    );
}

#[test]
fn the_names_of_queries_are_words_and_each_stands_once() {
    assert_eq!(
        fault(&format!("<connection/>{READ}{READ}")),
        pair("query \"a\" is defined twice", "a")
    );
    let blank = READ.replace("'a'", "'a b'");
    assert_eq!(fault(&format!("<connection/>{blank}")), pair("\"a b\" is not a name", "a b"));
}

#[test]
fn faults_of_a_statement_are_at_their_places() {
    let query = "<query id='a'><statement>SELECT \"$sender\", ?</statement></query>";
    let places: Vec<String> = faults(query).into_iter().map(|(_, place)| place).collect();
    assert_eq!(places, ["mysql", "$sender", "?"]);
}

#[test]
fn what_changes_something_can_not_be_kept() {
    let query = "<query id='a'><statement>DELETE FROM t</statement><cache/></query>";
    let (message, _) = fault(&format!("<connection/>{query}"));
    assert_eq!(message, "only what a statement reads can be kept");
}

#[test]
fn a_pool_has_room_for_those_that_stay() {
    let (message, place) = fault(&format!("<connection/><pool min='2' max='1'/>{READ}"));
    assert_eq!((message.as_str(), place.as_str()), ("\"min\" is more than \"max\"", "pool"));
    let (message, _) = fault(&format!("<connection/><pool max='0'/>{READ}"));
    assert_eq!(message, "0 makes no sense here");
}

#[test]
fn the_secret_of_the_connection_is_read() {
    let inside = format!("<connection><password file='nowhere'/></connection>{READ}");
    let (message, place) = fault(&inside);
    assert!(message.starts_with("can't read"), "{message}");
    assert_eq!(place, "nowhere");
}
