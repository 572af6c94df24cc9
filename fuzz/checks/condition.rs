//! What holds for any condition: nothing panics, a refusal has its reasons, each inside of the
//! text, and what is understood decides as its canonical form does.

use mppd_engine::{Condition, View};

use super::language::{Text, assert_placed, exchange, scope};

/// Panics where one of the promises is broken.
pub(crate) fn check(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let text = Text::new(text);
    let condition = match Condition::compile(&text.spanned(), &mut scope()) {
        Ok(condition) => condition,
        Err(findings) => return assert_placed(&findings, &text),
    };
    let canonical = Text::new(&condition.to_string());
    let again = Condition::compile(&canonical.spanned(), &mut scope());
    let again = again.expect("the canonical form is a condition");
    assert_eq!(again.to_string(), condition.to_string());
    let exchanges = [exchange(), exchange()];
    let holds = condition.holds(&View::of(&exchanges[0]));
    assert_eq!(again.holds(&View::of(&exchanges[1])), holds, "{condition}");
    assert!(!holds || condition.possible_stages().contains(exchanges[0].stage()), "{condition}");
    assert!(condition.as_constant().is_none_or(|constant| constant == holds), "{condition}");
}
