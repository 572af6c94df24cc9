//! What holds for every text: evaluating never fails, and the canonical form means the same.

use proptest::prelude::*;

use super::super::testing::{condition, exchange, scope, spanned, template};
use super::super::{Condition, MacroDoc, Template, View, macros};
use crate::exchange::Exchange;
use crate::outcome::{EngineResult, Outcome};

/// A way of writing a macro that takes these arguments, with a name of its own where it needs one.
fn call(entry: &MacroDoc, arguments: &[String]) -> String {
    let name = entry.name;
    match name {
        "request" => return "$request.sender".to_owned(),
        "engines" | "embedded" => return format!("${{{name}.wbl.entry}}"),
        "field" => return "${field x}".to_owned(),
        _ => {}
    }
    let words: Vec<&str> = entry.arguments.split_whitespace().collect();
    let needed = words.iter().filter(|word| !word.starts_with('[')).count();
    let given = needed.max(arguments.len().min(words.len()));
    let mut text = format!("${{{name}");
    for (index, word) in words.iter().take(given).enumerate() {
        let argument = arguments.get(index).map_or("\"\"", String::as_str);
        text.push(' ');
        match word.trim_matches(['[', ']']) {
            "ALGORITHM" => text.push_str("sha256"),
            "FORMAT" => text.push_str("\"%Y %j %s\""),
            // A number that is only known when the text is evaluated may be anything.
            "START" | "LENGTH" | "WIDTH" | "FIND" => {
                text.push_str("$request.size");
                text.push_str(argument);
            }
            _ => text.push_str(argument),
        }
    }
    text.push('}');
    text
}

fn argument() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        Just("\"a b\"".to_owned()),
        Just("x".to_owned()),
        Just("\\xff".to_owned()),
        Just("\"\"".to_owned()),
        Just("$helo".to_owned()),
        Just("7".to_owned()),
        Just("$ip.network(24,64)".to_owned()),
        Just("$sender.reverse_domain".to_owned()),
        Just("$status".to_owned()),
    ];
    leaf.prop_recursive(3, 20, 3, |inner| {
        let arguments = prop::collection::vec(inner, 0..4);
        (prop::sample::select(macros()), arguments)
            .prop_map(|(entry, arguments)| call(&entry, &arguments))
    })
}

fn octets() -> impl Strategy<Value = Vec<u8>> {
    let octet = any::<u8>()
        .prop_filter("what ends a line or a request", |octet| !matches!(octet, b'\n' | 0));
    prop_oneof![
        prop::collection::vec(octet, 0..30),
        "-?[0-9]{0,3}".prop_map(String::into_bytes),
        "[a-z.@]{0,12}".prop_map(String::into_bytes),
    ]
}

fn any_exchange() -> impl Strategy<Value = Exchange> {
    let names = ["helo_name", "sender", "recipient", "client_address", "size"];
    prop::collection::vec(octets(), names.len())
        .prop_map(move |values| exchange(names.iter().zip(values)))
}

fn compile(text: &str) -> Template {
    let mut scope = super::super::Scope::after(scope().patterns().clone(), vec!["x".into()])
        .with_time_zone(jiff::tz::TimeZone::UTC);
    let compiled = Template::compile(&spanned(text).as_deref(), &mut scope);
    compiled.unwrap_or_else(|findings| panic!("{text}: {findings:?}"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn every_template_has_a_value_and_its_canonical_form_the_same(
        parts in prop::collection::vec(argument(), 1..4), exchange in any_exchange()
    ) {
        let text = format!("${{escape {}}}", parts.join("} ${escape "));
        let template = compile(&text);
        let outcome = Outcome::new("ok").with_value("x", *b"1");
        let view = View::after(&exchange, "wbl", &outcome);
        let value = template.evaluate(&view).into_owned();
        let canonical = template.to_string();
        let again = compile(&canonical);
        prop_assert_eq!(again.to_string(), canonical);
        // The first evaluation may have set variables, which the second one finds.
        let value = if text.contains("globals_") { template.evaluate(&view).into_owned() } else { value };
        if !text.contains("globals_append") {
            prop_assert_eq!(&*again.evaluate(&view), &*value);
        }
        let mut appended = b"x".to_vec();
        again.append_to(&view, &mut appended);
        prop_assert!(appended.starts_with(b"x"));
    }

    #[test]
    fn a_constant_is_shown_so_that_it_is_read_back(constant in prop::collection::vec(any::<u8>(), 0..40)) {
        let shown = Template::constant(&constant).to_string();
        let read = template(&shown).unwrap();
        prop_assert_eq!(read.as_constant(), Some(constant.as_slice()));
        prop_assert_eq!(read.to_string(), shown);
    }

    #[test]
    fn templates_in_a_row_are_shown_as_they_are_read(
        first in prop::collection::vec(any::<u8>(), 0..9), last in prop::collection::vec(any::<u8>(), 0..9)
    ) {
        let all = [Template::constant(&first), template("$helo").unwrap(), Template::constant(&last)];
        let joined = Template::concatenate(all);
        let exchange = exchange([("helo_name", "h")]);
        let view = View::of(&exchange);
        let expected = [first.as_slice(), b"h", last.as_slice()].concat();
        prop_assert_eq!(&*joined.evaluate(&view), expected.as_slice());
        let read = template(&joined.to_string()).unwrap();
        prop_assert_eq!(&*read.evaluate(&view), expected.as_slice());
    }

    #[test]
    fn a_folded_condition_decides_as_its_parts_do(
        operands in prop::collection::vec("(0|1|a|\\$helo|\\$request\\.size)", 4),
        joins in prop::collection::vec("\\$(AND|OR)( \\$NOT)?", 3),
        helo in "[01a]?",
    ) {
        // The same with every operand unknown until it is evaluated.
        let whole = |behind: &str| {
            let joins = joins.iter().map(String::as_str).chain([""]);
            let pairs = operands.iter().zip(joins);
            let words = pairs.flat_map(|(operand, join)| [operand.as_str(), behind, " ", join, " "]);
            words.collect::<String>()
        };
        let (text, open) = (whole(""), whole("${globals_get none}"));
        let exchange = exchange([("helo_name", helo.as_str()), ("size", "0")]);
        let view = View::of(&exchange);
        let folded = condition(&text).unwrap();
        prop_assert_eq!(folded.holds(&view), condition(&open).unwrap().holds(&view), "{}", text);
        let again: Condition = condition(&folded.to_string()).unwrap();
        prop_assert_eq!(again.holds(&view), folded.holds(&view));
        prop_assert_eq!(again.to_string(), folded.to_string());
    }
}

#[test]
fn what_the_engine_itself_came_to_stands_before_what_it_came_to_earlier() {
    let exchange = exchange([("helo_name", "h")]);
    exchange.add_result(EngineResult {
        engine: "wbl".into(),
        outcome: Outcome::new("early"),
        elapsed: std::time::Duration::ZERO,
    });
    let outcome = Outcome::new("late").with_value("x", *b"1");
    let view = View::after(&exchange, "wbl", &outcome);
    let text = compile("$engines.wbl.status $status $x $result ${field x} ${field y}|");
    assert_eq!(text.evaluate_text(&view), "late late 1 late 1 |");
}
