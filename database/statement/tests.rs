//! What becomes of statements with macros: parameters, comments, quotes, and what is refused.

use mppd_engine::config::{Origin, Source, SourceMap};
use mppd_engine::testkit::exchange;

use super::*;

/// Cuts at `$name`, whose value is NAME.
fn pieces(sources: &mut SourceMap, text: &str) -> (Vec<Piece>, Span) {
    let origin = Origin::Embedded("test");
    let source = sources.add(Source { origin, text: text.to_owned() });
    let mut pieces = Vec::new();
    let mut start = 0;
    while let Some(dollar) = text[start..].find('$').map(|offset| start + offset) {
        let word = text[dollar + 1..].find(|letter: char| !letter.is_ascii_lowercase());
        let end = word.map_or(text.len(), |length| dollar + 1 + length);
        let plain = Span { source, start, end: dollar };
        pieces.push(Piece::Text { text: text[start..dollar].to_owned(), span: plain });
        let template = Template::constant(text[dollar + 1..end].to_uppercase());
        pieces.push(Piece::Macro { template, span: Span { source, start: dollar, end } });
        start = end;
    }
    let span = Span { source, start, end: text.len() };
    pieces.push(Piece::Text { text: text[start..].to_owned(), span });
    (pieces, Span { source, start: 0, end: text.len() })
}

fn compiled(text: &str) -> (String, Vec<String>) {
    let (pieces, whole) = pieces(&mut SourceMap::default(), text);
    let statement = Statement::compile(pieces, whole).unwrap();
    let exchange = exchange([("sender", "a")]);
    let values = statement.parameters(&View::of(&exchange)).into_iter();
    let values = values.map(|value| String::from_utf8(value).unwrap()).collect();
    (statement.sql().to_string(), values)
}

/// The faults, each with what it points at.
fn faults(text: &str) -> Vec<(String, String)> {
    let mut sources = SourceMap::default();
    let (pieces, whole) = pieces(&mut sources, text);
    let findings = Statement::compile(pieces, whole).unwrap_err();
    let shown =
        |finding: Finding| (sources.text(finding.span.unwrap()).to_owned(), finding.message);
    findings.into_iter().map(shown).collect()
}

#[track_caller]
fn refused(text: &str, at: &str, why: &str) {
    let faults = faults(text);
    let found = faults.iter().any(|(place, message)| place == at && message.contains(why));
    assert!(found, "{text}: {faults:?}");
}

#[test]
fn a_macro_is_a_parameter() {
    assert_eq!(
        compiled("SELECT 1 FROM t WHERE a=$sender AND b IN ($ip, $host)"),
        (
            "SELECT 1 FROM t WHERE a=? AND b IN (?, ?)".to_owned(),
            vec!["SENDER".to_owned(), "IP".to_owned(), "HOST".to_owned()]
        )
    );
}

#[test]
fn a_literal_with_a_macro_is_one_parameter() {
    for (text, sql, values) in [
        ("SELECT '$x'", "SELECT ?", vec!["X"]),
        ("SELECT '%$x%'", "SELECT ?", vec!["%X%"]),
        ("SELECT '$a@$b'", "SELECT ?", vec!["A@B"]),
        ("SELECT 'it''s $x'''", "SELECT ?", vec!["it's X'"]),
        ("SELECT '$a', '$b'", "SELECT ?, ?", vec!["A", "B"]),
        ("SELECT '# -- /* $x ? ; :a'", "SELECT ?", vec!["# -- /* X ? ; :a"]),
    ] {
        let (found, bound) = compiled(text);
        assert_eq!(
            (found.as_str(), bound),
            (sql, values.iter().map(|v| (*v).to_owned()).collect())
        );
    }
}

#[test]
fn what_holds_no_macro_stays_as_it_is() {
    for text in [
        "SELECT 'a''b', 'c\\\\', 'd\\n', '? :x ; -- /*'",
        "SELECT `a``b ? :x ;`, \"c\"\"d ? :x ;\"",
        "SELECT 5- -3, @a:=1, a:B",
        "SELECT /*+ NO_ICP(t) */ 1",
        "SELECT 'ä', 'ß'\nFROM t",
    ] {
        assert_eq!(compiled(text), (text.to_owned(), Vec::new()));
    }
}

#[test]
fn comments_and_the_last_semicolon_are_left_away() {
    assert_eq!(
        compiled("SELECT 1 -- it's\n+ 2 # \"\n/* ' ; ? */ + 3; -- end\n;").0,
        "SELECT 1  + 2    + 3"
    );
    assert_eq!(compiled("SELECT 1 --").0, "SELECT 1");
    assert_eq!(compiled("SELECT 1 /**/+/***/2").0, "SELECT 1  + 2");
}

#[test]
fn the_client_library_sees_every_quote() {
    assert_eq!(compiled("SELECT 5-'1 :a', 6/'2 :b'").0, "SELECT 5- '1 :a', 6/ '2 :b'");
    assert_eq!(compiled("SELECT 5-$x").0, "SELECT 5-?");
}

#[test]
fn two_dashes_without_white_space_never_become_a_comment() {
    assert_eq!(compiled("SELECT 5--'1', $x").0, "SELECT 5- - '1', ?");
    assert_eq!(compiled("SELECT 5---'1'").0, "SELECT 5- - - '1'");
    assert_eq!(compiled("SELECT 5--$x").0, "SELECT 5- -?");
    assert_eq!(compiled("SELECT a->'b' -- end").0, "SELECT a->'b'");
    // Only white space of ASCII begins a comment to the server.
    assert_eq!(compiled("SELECT 1 --\u{a0}2, $x").0, "SELECT 1 - -\u{a0}2, ?");
    assert_eq!(compiled("SELECT 1 --\u{1}2, 3").0, "SELECT 1");
}

#[test]
fn what_the_client_library_would_misread_is_refused() {
    refused("SELECT /*+ it's */ ':a'", "SELECT /*+ it's */ ':a'", "client library");
    assert_eq!(compiled("SELECT /*+ X('a') */ ':a'").0, "SELECT /*+ X('a') */ ':a'");
}

#[test]
fn what_would_take_sql_from_a_value_is_refused() {
    for text in ["EXECUTE IMMEDIATE $x", "execute a using $x", "/*+ a */ Execute Immediate $x"] {
        refused(text, text, "from a value");
    }
}

#[test]
fn a_macro_cannot_be_part_of_a_word_or_name() {
    for text in
        ["SELECT t_$x", "SELECT $x$y", "SELECT db.$x", "SELECT @$x", "SELECT $x.a", "SELECT $x'a'"]
    {
        refused(text, "$x", "not a part of a word");
    }
    refused("SELECT `$x`", "$x", "name of a table or column");
    refused("SELECT \"$x\"", "$x", "ANSI_QUOTES");
    refused("SELECT N'$x'", "$x", "prefix");
    refused("SELECT x'$x'", "$x", "prefix");
    refused("SELECT _latin1 '$x'", "$x", "prefix");
    refused("SELECT @'$x'", "$x", "prefix");
    refused("SELECT a.'$x'", "$x", "prefix");
}

#[test]
fn a_macro_in_a_comment_is_refused() {
    refused("SELECT 1 # $x", "$x", "comment");
    refused("SELECT 1 -- $x", "$x", "comment");
    refused("SELECT 1 /* $x */", "$x", "comment");
    refused("SELECT 1; -- $x", "$x", "comment");
}

#[test]
fn what_the_modes_of_the_server_read_differently_is_refused() {
    refused("SELECT 'a\\'', $x, ''", "'", "sql_mode");
    refused("SELECT \"a\\\"\", $x, \"\"", "\"", "sql_mode");
    refused("SELECT 'a\\n$x'", "\\", "sql_mode");
    refused("SELECT /*!50000 1 */", "/", "version");
    refused("SELECT /*M!100000 1 */", "/", "version");
}

#[test]
fn what_would_be_another_parameter_is_refused() {
    refused("SELECT ?, $x", "?", "would be a parameter");
    refused("SELECT :a, $x", ":", "would be a parameter");
}

#[test]
fn exactly_one_statement_is_expected() {
    refused("SELECT 1; SELECT 2", ";", "only one");
    refused("SELECT 1; $x", ";", "only one");
    refused("", "", "expected here");
    refused(" -- nothing", " -- nothing", "expected here");
    refused("start transaction", "start transaction", "changes the connection");
}

#[test]
fn what_is_opened_must_be_closed() {
    refused("SELECT 'a", "'", "not closed");
    refused("SELECT 'a$x", "'", "not closed");
    refused("SELECT \"a", "\"", "not closed");
    refused("SELECT `a", "`", "not closed");
    refused("SELECT 1 /* a", "/", "not closed");
}

#[test]
fn all_faults_are_told_at_once() {
    assert_eq!(faults("SELECT ?, `$x`, \"$y\" -- $z").len(), 4);
}

#[test]
fn reading_is_told_from_writing() {
    let reads = |text| {
        let (pieces, whole) = pieces(&mut SourceMap::default(), text);
        Statement::compile(pieces, whole).unwrap().reads()
    };
    assert!(reads("/* x */ ( select 1)"));
    assert!(!reads("INSERT INTO t SELECT 1"));
    assert!(!reads("WITH a AS (SELECT 1) DELETE FROM t"));
    assert!(!reads("CALL p($x)"));
    assert!(!reads("SELECT a FROM t FOR UPDATE"));
    assert!(!reads("SELECT nextval(s)") && !reads("SELECT NEXT VALUE FOR s"));
    assert!(!reads("SELECT get_lock($x, 1)"));
    assert!(reads("SELECT next FROM t WHERE value = 1"));
    assert!(reads("WITH a AS (SELECT 1) SELECT updated FROM a"));
}
