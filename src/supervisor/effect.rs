//! What a status, or an exception, does to the request, as the configuration writes it.

use mppd_engine::action::ActionError;
use mppd_engine::config::{nearest, plain_text};
use mppd_engine::{Action, Finding, Spanned};

/// What a status, or an exception, does to the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Effect {
    /// The next engine is asked.
    Continue,
    /// The checks end; what was kept so far is the answer, else DUNNO.
    Permit,
    /// A final action is the answer; another one is kept until the checks end.
    Act(Action),
    /// The end-exception chain runs.
    Fail,
}

pub(super) fn effect_of(text: &str) -> Result<Effect, ActionError> {
    Ok(match text {
        "continue" => Effect::Continue,
        "permit" => Effect::Permit,
        text => Effect::Act(Action::parse(text)?),
    })
}

pub(super) fn effect(text: &Spanned<&str>) -> Result<Effect, Finding> {
    match text.value {
        "continue" => Ok(Effect::Continue),
        "permit" => Ok(Effect::Permit),
        _ => action(text, &["continue", "permit"]).map(Effect::Act),
    }
}

/// Reads an action; `others` are the words that could stand in its place.
pub(super) fn action(text: &Spanned<&str>, others: &[&str]) -> Result<Action, Finding> {
    let plain = plain_text(text)?;
    Action::parse(&plain).map_err(|error| {
        let finding = Finding::error(text.span, error.to_string());
        let ActionError::Unknown(word) = error else { return finding };
        let known = Action::WORDS.iter().chain(others).copied();
        match nearest(&word, known) {
            Some(nearest) => finding.with_help(format!("did you mean \"{nearest}\"?")),
            None if others.is_empty() => finding.with_help("an action of access(5)"),
            None => {
                let others = others.join(" or ");
                finding.with_help(format!("an action of access(5), or {others}"))
            }
        }
    })
}
