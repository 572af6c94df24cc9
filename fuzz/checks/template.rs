//! What holds for any text with macros: nothing panics, a refusal has its reasons, each inside of
//! the text, and what is understood has a value and a canonical form that means the same.

use mppd_engine::language::Piece;
use mppd_engine::{Outcome, Template, View};

use super::language::{Text, assert_placed, exchange, scope};

/// Panics where one of the promises is broken.
pub(crate) fn check(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let text = Text::new(text);
    check_template(&text);
    check_pieces(&text);
}

fn check_template(text: &Text) {
    let mut names = scope();
    let template = match Template::compile(&text.spanned(), &mut names) {
        Ok(template) => template,
        Err(findings) => return assert_placed(&findings, text),
    };
    assert_placed_references(&names.take_references(), text);
    let canonical = Text::new(&template.to_string());
    let again = Template::compile(&canonical.spanned(), &mut scope());
    let again = again.expect("the canonical form is a template");
    assert_eq!(again.to_string(), template.to_string());
    assert_eq!(again.as_constant(), template.as_constant());
    let outcome = Outcome::new("listed").with_value("site", *b"bl.example.org");
    let values = [&template, &again].map(|template| {
        let exchange = exchange();
        template.evaluate(&View::after(&exchange, "rbl", &outcome)).into_owned()
    });
    assert_eq!(values[0], values[1], "{template}");
}

fn assert_placed_references(references: &[mppd_engine::language::Reference], text: &Text) {
    for reference in references {
        assert!(text.has(reference.span), "{reference:?}");
    }
}

fn check_pieces(text: &Text) {
    let pieces = match Template::pieces(&text.spanned(), &mut scope()) {
        Ok(pieces) => pieces,
        Err(findings) => return assert_placed(&findings, text),
    };
    let exchange = exchange();
    for piece in pieces {
        match piece {
            Piece::Text { text: piece, span } => assert!(text.has(span) && !piece.is_empty()),
            Piece::Macro { template, span } => {
                assert!(text.has(span));
                drop(template.evaluate(&View::of(&exchange)));
            }
        }
    }
}
