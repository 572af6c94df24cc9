//! The language as a whole.

mod grammar;
mod properties;

use std::sync::Arc;

use super::testing::{condition, holds, place, shown, spanned, template, told, value};
use super::{
    Condition, PatternItem, PatternLibrary, Patterns, Piece, Reference, Scope, Target, Template,
    View, macros,
};
use crate::config::Spanned;
use crate::{Decision, Exception, Outcome, Stage};

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
    assert_eq!(
        told("$hello $EQ \\q $OR { $sander $AND"),
        [
            ("hello", "unknown macro \"$hello\"".to_owned()),
            ("\\q", "this escape is not known".to_owned()),
            ("{", "this brace is not closed".to_owned()),
            ("sander", "unknown macro \"$sander\"".to_owned()),
            ("D", "expected a text or a macro instead of the end".to_owned()),
        ]
    );
}

#[test]
fn no_variable_gets_longer_than_the_limit() {
    let long = "${globals_set a ${globals_get a}${globals_get a}}".repeat(22);
    let text = format!("${{globals_set a x}}{long}${{length ${{globals_get a}}}}");
    assert_eq!(shown(&text), (1 << 20).to_string());
}

#[test]
fn a_text_at_fault_still_tells_what_it_refers_to() {
    let text = "$nonsense $engines.wbl.status";
    let mut scope = super::testing::scope();
    Template::compile(&spanned(text).as_deref(), &mut scope).unwrap_err();
    let targets = scope.take_references().into_iter().map(|reference| reference.target);
    let engine = Target::Engine { id: "wbl".to_owned(), name: "status".to_owned() };
    assert_eq!(targets.collect::<Vec<_>>(), [engine]);
}

#[test]
fn a_field_is_a_reference_to_the_engine_itself() {
    let mut scope = Scope::after(Arc::default(), vec!["site".into()]);
    Template::compile(&spanned("${field site}").as_deref(), &mut scope).unwrap();
    let references = scope.take_references();
    assert_eq!(references[0].target, Target::Own { name: "site".to_owned() });
    assert_eq!(references[0].span, place(8, 12));
}

#[test]
fn a_misspelt_operator_is_told_the_one_that_was_meant() {
    let help = |text: &str| condition(text).unwrap_err()[0].help.clone().unwrap();
    assert_eq!(help("$score $GTE 5"), "did you mean \"$GE\"?");
    assert_eq!(help("$score $LTE 5"), "did you mean \"$LE\"?");
    assert_eq!(help("$score $EG 5"), "did you mean \"$EQ\"?");
    assert_eq!(help("$helo $ANDD $host"), "did you mean \"$AND\"?");
    assert_eq!(help("$score $ge 5"), "operators are written in capitals: \"$GE\"");
    assert_eq!(help("$score $GE 1 $LE 5"), "two comparisons are joined with $AND");
    assert_eq!(help("$helo $EQ ${lower $host} ~= a"), "two comparisons are joined with $AND");
    assert_eq!(help("{ $helo } $EQ a"), "a group in braces can't be compared");
    assert!(help("$score $NOT 5").starts_with("$EQ $NE"));
    assert_eq!(help("$NTO"), "did you mean \"$NOT\", an operator of conditions?");
    assert!(help("$score $MATCHES 5").starts_with("$EQ $NE"));
}

#[test]
fn a_status_that_one_is_compared_with_is_kept() {
    let text = "$engines.a.b.status $EQ pass $AND x$engines.a.status $EQ y";
    let mut scope = super::testing::scope();
    Condition::compile(&spanned(text).as_deref(), &mut scope).unwrap();
    let is_status = |reference: &Reference| matches!(reference.target, Target::Status { .. });
    let compared: Vec<Reference> = scope.take_references().into_iter().filter(is_status).collect();
    let status = Target::Status { id: "a.b".to_owned(), status: "pass".to_owned() };
    assert_eq!(compared.iter().map(|r| &r.target).collect::<Vec<_>>(), [&status]);
}

#[test]
fn a_reference_is_kept_for_what_is_not_there_everywhere() {
    let text = "$sender.domain$engines.lists.blocked.entry$decision.text$exception$ip$helo$request.helo_name";
    let mut scope = super::testing::scope();
    Template::compile(&spanned(text).as_deref(), &mut scope).unwrap();
    let references = scope.take_references();
    let shown: Vec<String> = references
        .iter()
        .map(|reference| match &reference.target {
            Target::Engine { id, name } => format!("{id}: {name}"),
            Target::Own { name } => format!("own {name}"),
            Target::Status { id, status } => format!("{id} compared with {status}"),
            Target::Stages { name, stages } => {
                let missing = Stage::ALL.iter().filter(|stage| !stages.contains(**stage));
                let missing: Vec<&str> = missing.map(|stage| stage.name()).collect();
                format!("{name} not at {}", missing.join(" "))
            }
            Target::Decision => "decision".to_owned(),
            Target::Exception => "exception".to_owned(),
        })
        .collect();
    assert_eq!(
        shown,
        [
            "sender.domain not at policy-connect policy-helo policy-etrn",
            "lists.blocked: entry",
            "decision",
            "exception",
            "helo not at policy-connect",
            "request.helo_name not at policy-connect",
        ]
    );
    assert_eq!(references[1].span, place(14, 42));
    assert!(scope.take_references().is_empty());
}

#[test]
fn the_stages_at_which_a_condition_can_hold_are_known() {
    let stages = |text: &str| {
        let possible = condition(text).unwrap().possible_stages();
        let possible = Stage::ALL.iter().filter(|stage| possible.contains(**stage));
        possible.map(|stage| stage.name().trim_start_matches("policy-")).collect::<Vec<_>>()
    };
    assert_eq!(stages("$stage $EQ policy-rcpt"), ["rcpt"]);
    assert_eq!(stages("policy-rcpt $EQ $stage $OR $stage $EQ policy-data"), ["rcpt", "data"]);
    assert_eq!(stages("$stage $EQ policy-rcpt $AND $helo $EQ x"), ["rcpt"]);
    assert_eq!(stages("$stage $EQ policy-rcpt $OR $helo $EQ x").len(), 9);
    assert_eq!(stages("$NOT { $stage $NE policy-etrn $OR $helo }"), ["etrn"]);
    assert_eq!(stages("$stage $NE policy-rcpt").len(), 8);
    assert!(stages("$stage $EQ policy-rcpt $AND $stage $EQ policy-data").is_empty());
    assert_eq!(stages("$helo").len(), 9);
}

#[test]
fn an_attribute_that_is_probably_misspelt_is_warned_of() {
    let text = "$request.sasl_usernam$request.of_a_later_version";
    let mut scope = super::testing::scope();
    Template::compile(&spanned(text).as_deref(), &mut scope).unwrap();
    let warnings = scope.take_warnings();
    let message = "Postfix is not known to send an attribute \"sasl_usernam\"".to_owned();
    assert_eq!(told(text, &warnings), [("sasl_usernam", message)]);
    let help = warnings[0].help.as_deref();
    assert_eq!(help, Some("did you mean \"$request.sasl_username\"?"));
}

/// What a condition is warned of: what is pointed at, the message, and the help.
fn warned(text: &str) -> Vec<(&str, String, String)> {
    let mut scope = super::testing::scope();
    Condition::compile(&spanned(text).as_deref(), &mut scope).unwrap();
    let warnings = scope.take_warnings();
    let helps = warnings.iter().map(|warning| warning.help.clone().unwrap_or_default());
    let told = told(text, &warnings).into_iter().zip(helps);
    told.map(|((at, message), help)| (at, message, help)).collect()
}

#[test]
fn what_groups_or_quotes_in_other_languages_is_warned_of() {
    let group = "group with { }; quote the text if it is meant".to_owned();
    let message = |opening| format!("\"{opening}\" is a part of the text that is compared");
    let parenthesis = || ("(", message("("), group.clone());
    let or = warned("($helo $EQ a) $OR ($helo $EQ b)");
    assert_eq!(or, [parenthesis(), parenthesis()]);
    assert_eq!(warned("$NOT ($helo $EQ friend)"), [parenthesis()]);
    assert_eq!(warned("(1)"), [parenthesis()]);
    let quote = ("'", message("'"), "quote with double quotes".to_owned());
    assert_eq!(warned("$helo $EQ 'friend'"), [quote]);
    assert_eq!(warned("$helo $EQ \"(friend)\" $OR $helo $EQ a'(b)"), []);
    let help = |text: &str| condition(text).unwrap_err()[0].help.clone().unwrap();
    assert_eq!(help("( $helo $EQ a )"), group);
    assert_eq!(help("$helo $EQ 'a friend'"), "quote with double quotes");
}

#[test]
fn a_constant_that_is_compared_with_nothing_is_warned_of() {
    let warned = |text| {
        let warnings = warned(text).into_iter();
        warnings.map(|(at, message, _)| format!("{at}: {message}")).collect::<Vec<_>>()
    };
    let said = "this is a constant text, which";
    assert_eq!(warned("false"), [format!("false: {said} always holds")]);
    assert_eq!(warned("true"), [format!("true: {said} always holds")]);
    assert_eq!(warned("$helo $AND 0"), [format!("0: {said} never holds")]);
    assert!(warned("$helo $AND a$helo $AND 1 $EQ 1").is_empty());
}

#[test]
fn what_is_meant_by_a_wrong_text_is_said() {
    let help = |text: &str| {
        let findings = template(text).err().or_else(|| condition(text).err()).unwrap();
        findings[0].help.clone().unwrap_or_default()
    };
    assert_eq!(help("$sendr"), "did you mean \"$sender\"?");
    assert_eq!(help("$client_name"), "write \"$request.client_name\" for the attribute");
    assert_eq!(help("$sender.domian"), "did you mean \"$sender.domain\"?");
    assert_eq!(help("$stage.x"), "write \"${stage}.x\" for text behind it");
    assert_eq!(help("$sender.domain.x"), "write \"${sender.domain}.x\" for text behind it");
    assert_eq!(help("$request.sender.local"), "\"$sender\" may have it: \"$sender.local\"");
    assert_eq!(help("$substr"), "write \"${substr TEXT START [LENGTH]}\"");
    assert_eq!(help("$AND"), "\"$AND\" is an operator, which conditions only have");
    assert_eq!(help("$status"), "what an engine came to is \"$engines.ID.status\" elsewhere");
    assert_eq!(help("$5"), "write \"$$\" for a dollar");
    assert_eq!(help("$stage(5)"), "write \"${stage}(\" for a parenthesis behind it");
    assert_eq!(help("$engines.wbl"), "like \"$engines.ch_wbl.status\"");
    assert_eq!(help("x$helo == y${"), "\"}\" is missing");
    let condition_help = |text: &str| condition(text).unwrap_err()[0].help.clone().unwrap();
    assert_eq!(condition_help("$helo == y"), "write \"$EQ\"");
    assert_eq!(condition_help("$helo and y"), "write \"$AND\"");
    assert_eq!(condition_help("$helo $eq y"), "operators are written in capitals: \"$EQ\"");
    assert_eq!(condition_help("$stage $EQ RCPT"), "did you mean \"policy-rcpt\"?");
}

#[test]
fn what_can_only_fail_is_refused_when_it_is_read() {
    let message = |text: &str| template(text).unwrap_err()[0].message.clone();
    assert_eq!(message("$ip.network(33,64)"), "a network has 0 to 32 bits, not 33");
    assert_eq!(message("$ip.network(129)"), "a network has 0 to 128 bits, not 129");
    assert_eq!(message("$ip.network"), "the number of bits is missing");
    assert_eq!(message("$ip.network(1,2,3)"), "\"$ip.network\" takes one or two numbers");
    assert_eq!(
        message("${current_time \"%J\"}").split(':').next(),
        Some("not a format of strftime")
    );
    assert_eq!(message("${current_time $helo}"), "the format of a time must be constant");
    assert_eq!(message("${substr $helo x}"), "\"x\" is no whole number");
    assert_eq!(message("${substr $helo 0 -1}"), "\"-1\" is no whole number from 0");
    assert_eq!(message("${wrap 0 $helo}"), "\"0\" is no whole number from 1");
    assert_eq!(message("${text_find_replace_all $helo \"\" x}"), "an empty text is found nowhere");
    assert_eq!(
        message("${hmac crc32 k $helo}"),
        "unknown algorithm \"crc32\"; known are md5, sha1, sha256, sha512"
    );
    let known = "\"$field\" is known only where a text follows from the engine's run";
    assert_eq!(message("${field x}"), known);
    assert_eq!(message("\\u{110000}"), "there is no character U+110000");
    assert_eq!(message("\\x4"), "\"\\x\" needs two hexadecimal digits");
    assert_eq!(message("${}"), "a macro's name is missing behind \"${\"");
    let deep = format!("{}a{}", "${lower ".repeat(40), "}".repeat(40));
    assert_eq!(message(&deep), "nested more than 32 deep");
}

#[test]
fn where_the_text_is_not_that_of_the_file_the_whole_is_the_place() {
    let span = place(5, 100);
    let text = Spanned { value: "$nonsense", span };
    let findings = Template::compile(&text, &mut super::testing::scope()).unwrap_err();
    assert_eq!(findings[0].span, Some(span));
}

#[test]
fn a_condition_asks_for_regular_expressions_by_name() {
    let item = |name: &str, expression: &str| PatternItem {
        name: spanned(name),
        expression: spanned(expression),
        ignores_case: true,
    };
    let items = vec![item("dynamic", r"^dyn|\d+-\d+"), item("mail", "^MAIL[.]")];
    let mut patterns = Patterns::default();
    patterns.add("hosts", PatternLibrary::new(items, Vec::new()).unwrap());
    let mut scope = Scope::before(Arc::new(patterns));
    let exchange = super::testing::example();
    let mut holds = |text: &str| {
        let condition = Condition::compile(&spanned(text).as_deref(), &mut scope).unwrap();
        condition.holds(&View::of(&exchange))
    };
    assert!(holds("$helo ~= mail"));
    assert!(!holds("$helo ~= hosts.dynamic $AND 1"));
    assert!(holds("$helo ~= dynamic, mail"));
    assert!(holds("$helo ~= dynamic mail $AND $NOT x~=dynamic"));
    assert_eq!(scope.take_used_patterns().into_iter().collect::<Vec<_>>(), ["hosts"]);
}

#[test]
fn variables_last_for_one_request() {
    let one = super::testing::example();
    let set = template("${globals_set a ${globals_get a}x}${globals_append b y}").unwrap();
    let get = template("${globals_get a}|${globals_get b}|${globals_defined b}").unwrap();
    for expected in ["x|y|1", "xx|yy|1"] {
        assert_eq!(set.evaluate_text(&View::of(&one)), "");
        assert_eq!(get.evaluate_text(&View::of(&one)), expected);
    }
    assert_eq!(get.evaluate_text(&View::of(&super::testing::example())), "||0");
}

#[test]
fn what_is_not_chosen_is_not_evaluated() {
    let exchange = super::testing::example();
    let text = "${if_not_empty $request.stress ${globals_set a 1} ${globals_set b 1}}";
    let text = template(&format!("{text}${{globals_defined a}}${{globals_defined b}}")).unwrap();
    assert_eq!(text.evaluate_text(&View::of(&exchange)), "01");
}

#[test]
fn an_exception_is_known_once_there_is_one() {
    let exchange = super::testing::example();
    let exception = Exception {
        engine: Some("spf".into()),
        kind: "timeout",
        message: "no answer within 10s".to_owned(),
    };
    exchange.fail(exception, Decision::dunno());
    let text = template("$exception $exception.engine $exception.text, $decision").unwrap();
    let expected = "timeout spf no answer within 10s, DUNNO";
    assert_eq!(text.evaluate_text(&View::of(&exchange)), expected);
}

#[test]
fn a_name_that_the_engine_shares_with_the_language_is_that_of_the_language() {
    let mut scope = Scope::after(Arc::default(), vec!["sender".into(), "site".into()]);
    let text = Template::compile(&spanned("$sender $site").as_deref(), &mut scope).unwrap();
    let outcome = Outcome::new("listed").with_value("sender", *b"own").with_value("site", *b"s");
    let exchange = super::testing::exchange([("sender", "a@b")]);
    assert_eq!(text.evaluate_text(&View::after(&exchange, "rbl", &outcome)), "a@b s");
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
