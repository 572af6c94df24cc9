//! `<score>`: says what the score has come to, and whose doing that was.
//!
//! ```xml
//! <score>
//!   <suspect>3</suspect>
//!   <over>6</over>
//!   <on_suspect>PREPEND X-Policy-Score: $score ($contributions)</on_suspect>
//! </score>
//! ```
//!
//! Engines before it in the chain have given `score N` in their `on_` options; N may be negative,
//! where something speaks for a request. It decides nothing that its own `on_` options do not say,
//! and may stand several times in a chain, each time over what has come so far.

use std::fmt::Write as _;

use mppd_engine::{
    BuildContext, Engine, Exchange, Failure, Finding, Outcome, Score, Spanned, StatusDoc, ValueDoc,
    options,
};

options! {
    /// `<score>`
    pub(crate) struct ScoreOptions {
        /// From which score on a request is `suspect`. It never is unless this is given.
        suspect: Option<Spanned<Score>> = None,
        /// From which score on a request is `over`.
        over: Spanned<Score>,
    }
}

/// The engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ScoreEngine {
    suspect: Option<Score>,
    over: Score,
}

impl Engine for ScoreEngine {
    const NAME: &'static str = "score";
    const SUMMARY: &'static str = "compares with limits what `score N` has added up to";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("below", "The score is below both limits.", "continue"),
        StatusDoc::new("suspect", "It has reached `suspect`, and is below `over`.", "continue"),
        StatusDoc::new(
            "over",
            "It has reached `over`.",
            "450 4.7.1 too much speaks against this message, score $score",
        ),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc { name: "score", meaning: "The score so far." },
        ValueDoc {
            name: "contributions",
            meaning: "What it is made of, in the order in which it came: ID and status of each \
                      engine, and its number: `rbl listed 4, spf pass -1`. Empty where nothing has \
                      been added.",
        },
    ];
    type Options = ScoreOptions;

    fn build(options: ScoreOptions, _: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let ScoreOptions { suspect, over } = options;
        if let Some(suspect) = suspect.as_ref().filter(|suspect| suspect.value >= over.value) {
            let finding = Finding::error(suspect.span, "\"suspect\" is not below \"over\"");
            return Err(vec![finding.with_related(over.span, "the upper limit")]);
        }
        Ok(ScoreEngine { suspect: suspect.map(|suspect| suspect.value), over: over.value })
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let score = exchange.score();
        let contributions = told(exchange);
        let text = if contributions.is_empty() {
            score.to_string()
        } else {
            format!("{score}: {contributions}")
        };
        let outcome = Outcome::new(self.status(score)).with_text(text);
        let outcome = outcome.with_value("score", score.to_string());
        Ok(outcome.with_value("contributions", contributions))
    }
}

impl ScoreEngine {
    fn status(&self, score: Score) -> &'static str {
        if score >= self.over {
            "over"
        } else if self.suspect.is_some_and(|suspect| score >= suspect) {
            "suspect"
        } else {
            "below"
        }
    }
}

/// Who added how much.
fn told(exchange: &Exchange) -> String {
    let mut text = String::new();
    exchange.with_contributions(|contributions| {
        for contribution in contributions {
            let separator = if text.is_empty() { "" } else { ", " };
            let (engine, score) = (&contribution.engine, contribution.score);
            // A string takes everything.
            let _taken = write!(text, "{separator}{engine} {} {score}", contribution.status);
        }
    });
    text
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mppd_engine::kind;
    use mppd_engine::testkit::{Configured, exchange};

    use super::*;

    fn scored(contributions: &[(&str, &'static str, i64)]) -> Arc<Exchange> {
        let exchange = exchange([("sender", "")]);
        for (engine, status, thousandths) in contributions {
            exchange.add_score(&Arc::from(*engine), status, Score(*thousandths));
        }
        exchange
    }

    fn run(xml: &str, contributions: &[(&str, &'static str, i64)]) -> Outcome {
        let engine = Configured::xml(xml).build(kind::<ScoreEngine>()).unwrap();
        engine.run(&scored(contributions)).unwrap()
    }

    #[test]
    fn the_status_is_that_of_the_highest_limit_that_is_reached() {
        let xml = r#"<score suspect="2.5" over="5"/>"#;
        for (thousandths, status) in [
            (0, "below"),
            (2_499, "below"),
            (2_500, "suspect"),
            (4_999, "suspect"),
            (5_000, "over"),
        ] {
            assert_eq!(run(xml, &[("rbl", "listed", thousandths)]).status, status, "{thousandths}");
        }
    }

    #[test]
    fn without_a_lower_limit_nothing_is_suspect() {
        assert_eq!(run(r#"<score over="5"/>"#, &[("rbl", "listed", 4_999)]).status, "below");
    }

    #[test]
    fn the_text_names_who_added_how_much() {
        let contributions =
            [("rbl", "listed", 4_000), ("spf", "pass", -1_500), ("x.y", "found", 1)];
        let outcome = run(r#"<score over="5"/>"#, &contributions);
        let told = "rbl listed 4, spf pass -1.5, x.y found 0.001";
        let expected = Outcome::new("below")
            .with_text(format!("2.501: {told}"))
            .with_value("score", "2.501")
            .with_value("contributions", told);
        assert_eq!(outcome, expected);
    }

    #[test]
    fn where_nothing_was_added_the_score_is_0() {
        let outcome = run(r#"<score over="5"/>"#, &[]);
        assert_eq!((outcome.status, &*outcome.text), ("below", "0"));
    }

    #[test]
    fn limits_may_be_negative() {
        let xml = r#"<score suspect="-2" over="-1"/>"#;
        assert_eq!(run(xml, &[("a", "b", -2_000)]).status, "suspect");
        assert_eq!(run(xml, &[("a", "b", -2_001)]).status, "below");
    }

    #[test]
    fn limits_in_the_wrong_order_are_refused() {
        let configured = Configured::xml(r#"<score suspect="5" over="5"/>"#);
        let faults = configured.faults(kind::<ScoreEngine>());
        assert_eq!(faults, [("\"suspect\" is not below \"over\"".to_owned(), "5")]);
    }

    #[test]
    fn a_limit_that_is_no_number_is_refused() {
        let configured = Configured::xml(r#"<score over="much"/>"#);
        let faults = configured.faults(kind::<ScoreEngine>());
        let message = "\"much\" is not a number with up to 3 decimals, such as 5 or -2.5";
        assert_eq!(faults, [(message.to_owned(), "much")]);
    }
}
