//! What a status, or an exception, does to the request: as the configuration writes it, compiled,
//! and what that comes to for one request.

use std::borrow::Cow;
use std::fmt;

use mppd_engine::action::{ActionError, ReplyCode};
use mppd_engine::config::nearest;
use mppd_engine::language::Scope;
use mppd_engine::score::NoScore;
use mppd_engine::{Action, Finding, Score, Spanned, Template, View};

use crate::policy::reply::NO_TEXT;

/// The word that the number of a score follows.
const SCORE: &str = "score";

/// The effects that are no actions of access(5), as they are written.
const OTHERS: &[&str] = &["continue", "permit", SCORE];

/// What a status, or an exception, does to the request, as the configuration writes it.
#[derive(Debug, Clone)]
pub enum Effect {
    /// The next engine is asked.
    Continue,
    /// The checks end; what was kept so far is the answer, else DUNNO.
    Permit,
    /// So much is added to the score; the next engine is asked.
    Score(Score),
    /// A final action is the answer; another one is kept until the checks end.
    Act(Action),
    /// Read for each request anew, because its text has macros.
    Template(EffectTemplate),
    /// The end-exception chain runs.
    Fail,
}

/// An effect whose text has macros.
#[derive(Debug, Clone)]
pub struct EffectTemplate {
    /// The action's word as written, where it is not made by a macro itself.
    word: Option<String>,
    whole: Template,
    /// The canonical form of what is written: word and text each have their own.
    written: String,
}

/// What an effect comes to for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The next engine is asked.
    Continue,
    /// The checks end; what was kept so far is the answer, else DUNNO.
    Permit,
    /// So much is added to the score; the next engine is asked.
    Score(Score),
    /// A final action is the answer; another one is kept until the checks end.
    Act(Action),
    /// The end-exception chain runs.
    Fail,
}

/// A text with macros came to something that says nothing, or nothing that Postfix understands.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it came to \"{text}\": {source}")]
pub struct Unusable {
    /// What it came to.
    pub text: String,
    /// What is wrong with that.
    pub source: EffectError,
}

/// Why a text is no effect.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EffectError {
    /// It is no action.
    #[error(transparent)]
    Action(#[from] ActionError),
    /// It is no score.
    #[error(transparent)]
    Score(#[from] NoScore),
    /// A score without its number.
    #[error("{SCORE} needs a number, such as 5 or -2.5")]
    NoNumber,
    /// Something stands behind a word that stands alone.
    #[error("\"{0}\" stands alone; nothing can follow it")]
    NotAlone(String),
}

impl Verdict {
    fn read(text: &str) -> Result<Self, EffectError> {
        let (word, rest) = split_word(text.trim());
        match word {
            "continue" | "permit" if !rest.is_empty() => {
                Err(EffectError::NotAlone(word.to_owned()))
            }
            "continue" => Ok(Verdict::Continue),
            "permit" => Ok(Verdict::Permit),
            SCORE if rest.is_empty() => Err(EffectError::NoNumber),
            SCORE => Ok(Verdict::Score(rest.parse()?)),
            _ => Ok(Verdict::Act(Action::parse(text)?)),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Continue => f.write_str("continue"),
            Verdict::Permit => f.write_str("permit"),
            Verdict::Score(score) => write!(f, "{SCORE} {score}"),
            Verdict::Act(action) => write!(f, "{action}"),
            Verdict::Fail => f.write_str("fail"),
        }
    }
}

/// As the configuration writes it, in canonical form.
impl fmt::Display for Effect {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Effect::Continue => f.write_str("continue"),
            Effect::Permit => f.write_str("permit"),
            Effect::Score(score) => write!(f, "{SCORE} {score}"),
            Effect::Act(action) => write!(f, "{action}"),
            Effect::Template(template) => f.write_str(&template.written),
            Effect::Fail => f.write_str("fail"),
        }
    }
}

impl From<Verdict> for Effect {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Continue => Effect::Continue,
            Verdict::Permit => Effect::Permit,
            Verdict::Score(score) => Effect::Score(score),
            Verdict::Act(action) => Effect::Act(action),
            Verdict::Fail => Effect::Fail,
        }
    }
}

impl Effect {
    /// What it comes to for one request.
    ///
    /// A text may come to anything, since peers choose parts of it. A refusal without its text is
    /// still one; what needs more than that is an error, so that Postfix never gets it.
    ///
    /// # Errors
    /// What it comes to is no effect.
    pub fn resolve(&self, view: &View<'_>) -> Result<Verdict, Unusable> {
        Ok(match self {
            Effect::Continue => Verdict::Continue,
            Effect::Permit => Verdict::Permit,
            Effect::Score(score) => Verdict::Score(*score),
            Effect::Act(action) => Verdict::Act(action.clone()),
            Effect::Template(template) => return template.resolve(view),
            Effect::Fail => Verdict::Fail,
        })
    }

    /// The word or code of the action, as far as it is known before any request.
    #[must_use]
    pub fn word(&self) -> Option<Cow<'_, str>> {
        match self {
            Effect::Act(action) => Some(action.word()),
            Effect::Template(EffectTemplate { word, .. }) => {
                word.as_ref().map(|word| word.to_ascii_uppercase().into())
            }
            Effect::Continue | Effect::Permit | Effect::Score(_) | Effect::Fail => None,
        }
    }

    /// Whether it is known to say what becomes of the mail.
    pub(super) fn decides(&self) -> bool {
        matches!(self, Effect::Permit) || self.word().is_some()
    }
}

impl EffectTemplate {
    fn resolve(&self, view: &View<'_>) -> Result<Verdict, Unusable> {
        let text = self.whole.evaluate_text(view);
        match Verdict::read(&text) {
            Err(EffectError::Action(ActionError::CodeWithoutText(code))) => {
                Ok(Verdict::Act(without_text(&code)))
            }
            read => read.map_err(|source| Unusable { text: text.into_owned(), source }),
        }
    }
}

/// A refusal whose text came to nothing.
fn without_text(code: &str) -> Action {
    match code.parse().ok().and_then(ReplyCode::new) {
        Some(code) => Action::Code(code, NO_TEXT.to_owned()),
        None => Action::Reject(None),
    }
}

/// The first word, and what stands behind it without the white space between them.
fn split_word(text: &str) -> (&str, &str) {
    match text.split_once(|character: char| character.is_ascii_whitespace()) {
        Some((word, rest)) => (word, rest.trim()),
        None => (text, ""),
    }
}

/// Compiles what a status does.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub(super) fn effect(text: &Spanned<&str>, scope: &mut Scope) -> Result<Effect, Vec<Finding>> {
    compile(text, scope, OTHERS)
}

/// Compiles what an exception does.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub(super) fn exception_effect(
    text: &Spanned<&str>,
    scope: &mut Scope,
) -> Result<Effect, Vec<Finding>> {
    if text.value.trim() == "fail" {
        return Ok(Effect::Fail);
    }
    compile(text, scope, &["continue", "permit", SCORE, "fail"])
}

/// Reads an action that is the same for every request; `others` are the words that the caller
/// takes in its place, for who misspells one.
///
/// # Errors
/// Everything that is wrong with it, each with its place.
pub(crate) fn fixed_action(text: &Spanned<&str>, others: &[&str]) -> Result<Action, Vec<Finding>> {
    let (word, _) = split_word(text.value.trim());
    if OTHERS.contains(&word) {
        return Err(vec![unreadable(text, &ActionError::Unknown(word.to_owned()).into(), others)]);
    }
    let Effect::Act(action) = compile(text, &mut Scope::default(), others)? else {
        let message = "a macro cannot stand here; the action is the same for every request";
        return Err(vec![Finding::error(text.span, message)]);
    };
    Ok(action)
}

/// `others` are the words that could stand in place of an action.
fn compile(
    text: &Spanned<&str>,
    scope: &mut Scope,
    others: &[&str],
) -> Result<Effect, Vec<Finding>> {
    let text = text.trimmed();
    let (word, rest) = split_word(text.value);
    if word.contains('$') || word == SCORE && rest.contains('$') {
        let whole = Template::compile(&text, scope)?;
        if let Some(constant) = constant(&whole) {
            return read(&constant, &text, others);
        }
        let written = whole.to_string();
        return Ok(Effect::Template(EffectTemplate { word: None, whole, written }));
    }
    if rest.is_empty() || OTHERS.contains(&word) {
        return read(text.value, &text, others);
    }
    let behind = text.cut(text.value.len() - rest.len()..text.value.len());
    let template = match (known_word(word), Template::compile(&behind, scope)) {
        (Ok(()), template) => template?,
        (Err(error), template) => {
            let mut findings = vec![unreadable(&text.cut(0..word.len()), &error.into(), others)];
            findings.extend(template.err().unwrap_or_default());
            return Err(findings);
        }
    };
    if let Some(constant) = constant(&template) {
        return read(&format!("{word} {constant}"), &text, others);
    }
    let written = format!("{word} {template}");
    let whole = Template::concatenate([Template::constant(format!("{word} ")), template]);
    Ok(Effect::Template(EffectTemplate { word: Some(word.to_owned()), whole, written }))
}

fn constant(template: &Template) -> Option<Cow<'_, str>> {
    template.as_constant().map(String::from_utf8_lossy)
}

/// Whether an action can begin with this word, if the right text follows.
fn known_word(word: &str) -> Result<(), ActionError> {
    // Every argument of an action can be read from this one.
    match Action::parse(&format!("{word} a:b@c")) {
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
}

fn read(value: &str, text: &Spanned<&str>, others: &[&str]) -> Result<Effect, Vec<Finding>> {
    Verdict::read(value).map(Effect::from).map_err(|error| vec![unreadable(text, &error, others)])
}

fn unreadable(text: &Spanned<&str>, error: &EffectError, others: &[&str]) -> Finding {
    let finding = Finding::error(text.span, error.to_string());
    let EffectError::Action(ActionError::Unknown(word)) = error else { return finding };
    let known = Action::WORDS.iter().chain(others).copied();
    if let Some(nearest) = nearest(word, known) {
        return finding.with_help(format!("did you mean \"{nearest}\"?"));
    }
    let quoted = others.iter().map(|word| format!("\"{word}\""));
    let all: Vec<String> =
        ["an action of access(5)".to_owned()].into_iter().chain(quoted).collect();
    finding.with_help(all.join(", "))
}

#[cfg(test)]
mod tests {
    use mppd_engine::testkit::exchange;
    use proptest::prelude::*;

    use super::*;
    use crate::policy::reply;

    fn compiled(text: &str) -> Effect {
        let source = mppd_engine::config::SourceMap::default().add(mppd_engine::config::Source {
            origin: mppd_engine::config::Origin::Embedded("test"),
            text: text.to_owned(),
        });
        let span = mppd_engine::Span { source, start: 0, end: text.len() };
        effect(&Spanned { value: text, span }, &mut Scope::default()).unwrap()
    }

    #[test]
    fn a_constant_is_read_once() {
        assert!(matches!(compiled("continue"), Effect::Continue));
        assert!(matches!(compiled(" permit "), Effect::Permit));
        assert!(matches!(compiled("score -2.5"), Effect::Score(Score(-2_500))));
        let Effect::Act(action) = compiled("reject  5$$ a\n  month") else { panic!() };
        assert_eq!(action, Action::Reject(Some("5$ a month".to_owned())));
    }

    #[test]
    fn an_effect_is_shown_as_it_could_be_written() {
        let shown = |text| compiled(text).to_string();
        assert_eq!(shown(" score  -2.5 "), "score -2.5");
        assert_eq!(shown("550 5.7.1   $helo\n is not welcome"), "550 5.7.1 ${helo} is not welcome");
        assert_eq!(shown("$helo X"), "${helo} X");
    }

    #[test]
    fn the_word_of_an_action_is_known_although_its_text_is_not() {
        assert_eq!(compiled("prepend X: $helo").word().as_deref(), Some("PREPEND"));
        assert_eq!(compiled("550 $helo").word().as_deref(), Some("550"));
        assert_eq!(compiled("$helo X").word(), None);
    }

    proptest! {
        #[test]
        fn whatever_peers_say_postfix_gets_an_action_that_it_understands(
            action in prop::sample::select(vec![
                "REJECT $helo", "550 $helo", "DEFER_IF_PERMIT $helo", "HOLD $helo",
                "PREPEND X-Helo: $helo", "PREPEND $helo", "FILTER $helo", "REDIRECT $helo",
                "BCC $helo@example.com", "WARN $helo", "$helo", "$helo $helo",
            ]),
            words in prop_oneof![
                any::<Vec<u8>>(),
                "(REJECT|4[0-9]{2}|550|BCC|ok|[a-z@:. \t]{0,9})[ \t]?[a-z@:]{0,9}"
                    .prop_map(String::into_bytes),
            ],
        ) {
            let words: Vec<u8> =
                words.into_iter().filter(|octet| !matches!(octet, b'\n' | 0)).collect();
            let exchange = exchange([("helo_name", words)]);
            let Ok(Verdict::Act(action)) = compiled(action).resolve(&View::of(&exchange)) else {
                return Ok(());
            };
            let reply = String::from_utf8(reply::encode(&action, exchange.request())).unwrap();
            let line = reply.strip_prefix("action=").and_then(|r| r.strip_suffix("\n\n")).unwrap();
            prop_assert!(!line.chars().any(char::is_control), "{line:?}");
            let understood = Action::parse(line);
            prop_assert!(understood.is_ok(), "{line:?}: {understood:?}");
            prop_assert_eq!(understood.unwrap().word(), action.word());
        }
    }
}
