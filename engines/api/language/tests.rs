//! The language as a whole.

use super::testing::{condition, holds, shown, spanned, template, told, value};
use super::{Piece, Template, macros};

#[test]
fn every_example_of_the_table_gives_what_it_says() {
    for entry in macros() {
        for (text, expected) in entry.examples {
            assert_eq!(shown(text), *expected, "{text}");
        }
        for part in entry.parts {
            let (text, expected) = part.example;
            assert_eq!(shown(text), expected, "{text}");
        }
    }
}

#[test]
fn white_space_collapses_and_the_ends_are_trimmed() {
    assert_eq!(shown(" \n\t a \r\n b\t$helo \n $lf\n"), "a b mail.example.net \n");
    assert_eq!(shown(" \n "), "");
    assert_eq!(shown(r"\x20a\x20\x20b\n"), " a  b\n");
    assert_eq!(shown("${\"  a  b \"}"), "  a  b ");
    assert_eq!(shown("${lower \"  A\n  B \"}"), "  a\n  b ");
}

#[test]
fn escapes_stand_for_what_is_hard_to_write() {
    assert_eq!(value(r#"\r\n\t\\\"\{\}\x00\xfF\u{e9}\u{1F600}$$"#), {
        let mut octets = b"\r\n\t\\\"{}\x00\xff".to_vec();
        octets.extend_from_slice("\u{e9}\u{1f600}$".as_bytes());
        octets
    });
}

#[test]
fn quotes_and_braces_outside_of_macros_are_themselves() {
    assert_eq!(shown(r#"{"from": "$sender"} it's"#), r#"{"from": "Alice@Mail.Example.com"} it's"#);
}

#[test]
fn a_dot_belongs_to_a_macro_only_where_a_word_follows() {
    assert_eq!(shown("It was $helo."), "It was mail.example.net.");
    assert_eq!(shown("${recipient}.domain"), "bob@example.org.domain");
    assert_eq!(shown("$ip.network(16)(x)"), "192.0.0.0/16(x)");
    assert_eq!(shown("$helo(verified)"), "mail.example.net(verified)");
}

#[test]
fn arguments_nest_and_join() {
    assert_eq!(shown("${upper ${substr $recipient.domain 0 7}-\"a $year\"}"), "EXAMPLE-A 2024");
}

#[test]
fn every_fault_of_a_template_is_told_with_its_place() {
    let text = r#"$sender.domian $nonsense \q ${lower} ${lower a b} $lower $5 ${length "a}"#;
    let findings = template(text).unwrap_err();
    let expected = [
        ("domian", "\"$sender\" has no part \"domian\""),
        ("nonsense", "unknown macro \"$nonsense\""),
        ("\\q", "this escape is not known"),
        ("${lower}", "\"$lower\" takes 1 argument, not 0"),
        ("b", "\"$lower\" takes 1 argument, not 2"),
        ("$lower", "\"$lower\" takes 1 argument, not 0"),
        ("$", "a single \"$\" that begins no macro"),
        ("${", "this brace is not closed"),
        ("\"", "this quote is not closed"),
    ];
    let expected = expected.map(|(at, message)| (at, message.to_owned()));
    assert_eq!(told(text, &findings), expected);
}

#[test]
fn conditions_join_with_their_precedence() {
    assert!(holds("1 $OR 0 $AND 0"));
    assert!(!holds("{1 $OR 0} $AND 0"));
    assert!(!holds("$NOT 1 $OR 0"));
    assert!(holds("$NOT {0 $OR 0} $AND $NOT $NOT 1"));
    assert!(holds("$NOT 1 $EQ 2"));
    assert!(holds("$helo $EQ mail.example.net $AND $request.size $GE 4096"));
    assert!(holds("$sender.domain$EQ\"Mail.Example.com\""));
}

#[test]
fn every_fault_of_a_condition_is_told_with_its_place() {
    let told = |text: &'static str| told(text, &condition(text).unwrap_err());
    let one = |at: &'static str, message: &str| vec![(at, message.to_owned())];
    assert_eq!(told(" "), one(" ", "a condition is missing"));
    assert_eq!(told("$helo foo"), one("foo", "expected an operator instead of \"foo\""));
    assert_eq!(told("$helo $EQ"), one("Q", "expected a text or a macro instead of the end"));
    assert_eq!(told("{ $helo"), one("{", "this brace is not closed"));
    assert_eq!(told("$helo }"), one("}", "this brace closes nothing"));
    assert_eq!(told("$AND a"), one("$AND", "expected a text or a macro instead of \"$AND\""));
    assert_eq!(told("a ~="), one("=", "the name of a regular expression is missing"));
    assert_eq!(told("a ~= b"), one("b", "unknown regular expression \"b\""));
    assert_eq!(told("$stage $EQ rcpt"), one("rcpt", "unknown stage \"rcpt\""));
    assert_eq!(
        told("$hello $EQ 1 $AND $sander"),
        [
            ("hello", "unknown macro \"$hello\"".to_owned()),
            ("sander", "unknown macro \"$sander\"".to_owned()),
        ]
    );
}

#[test]
fn pieces_keep_the_text_between_macros_as_it_stands() {
    let text = "SELECT  '\\n$$'\n FROM t WHERE a = '${escape $sender}' AND b=$ip.dec;";
    let pieces = Template::pieces(&spanned(text).as_deref(), &mut super::testing::scope()).unwrap();
    let shown: Vec<String> = pieces
        .iter()
        .map(|piece| match piece {
            Piece::Text { text: piece, span } => {
                assert!(piece.contains("\\n$'") || text[span.start..span.end] == *piece);
                piece.clone()
            }
            Piece::Macro { template, span } => {
                format!("<{template}|{}>", &text[span.start..span.end])
            }
        })
        .collect();
    assert_eq!(
        shown,
        [
            "SELECT  '\\n$'\n FROM t WHERE a = '",
            "<${escape ${sender}}|${escape $sender}>",
            "' AND b=",
            "<${ip.dec}|$ip.dec>",
            ";",
        ]
    );
}
