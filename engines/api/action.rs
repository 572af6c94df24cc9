//! What Postfix can be told, after access(5), and the decision that a chain comes to.
//!
//! An [`Action`] that Postfix would misread cannot be made: there is no empty one, none of digits
//! only, no code without a text, no unknown word.

use std::fmt;
use std::sync::Arc;

/// One action of access(5), with its text as the configuration wrote it.
///
/// How a text is made safe for the wire is the reply's business.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// No opinion.
    Dunno,
    /// Accept and skip the rest of the restriction list that asked.
    Ok,
    /// Refuse for good.
    Reject(Option<String>),
    /// Refuse for now.
    Defer(Option<String>),
    /// Refuse with a reply code of one's own, 400 to 599.
    Code(ReplyCode, String),
    /// Refuse for now if the end would be acceptance.
    DeferIfPermit(Option<String>),
    /// Make a later refusal one for now.
    DeferIfReject(Option<String>),
    /// Put the message into the hold queue.
    Hold(Option<String>),
    /// Claim success and drop the message.
    Discard(Option<String>),
    /// Send the message through a content filter, `transport:destination`.
    Filter(String),
    /// Replace all recipients by one address.
    Redirect(String),
    /// Add one recipient.
    Bcc(String),
    /// Put a header on top of the message, `Name: value`.
    Prepend(String),
    /// Log a warning.
    Warn(Option<String>),
    /// Log a note.
    Info(Option<String>),
}

/// An SMTP reply code of the 4NN or 5NN class.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyCode(u16);

impl ReplyCode {
    /// The code, if it is one that refuses.
    #[must_use]
    pub fn new(code: u16) -> Option<Self> {
        (400..600).contains(&code).then_some(ReplyCode(code))
    }

    /// The number.
    #[must_use]
    pub fn get(self) -> u16 {
        self.0
    }
}

/// Why a text is no action.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ActionError {
    /// Nothing there.
    #[error("an action is missing; Postfix would take an empty one for OK")]
    Empty,
    /// Digits without a text.
    #[error("{0} needs a text; Postfix would take digits alone for OK")]
    CodeWithoutText(String),
    /// A code that does not refuse.
    #[error("{0} is not a code that Postfix can refuse with (400 to 599)")]
    NotARefusal(String),
    /// An argument is missing or has the wrong form.
    #[error("{action} needs {needs}")]
    Argument {
        /// The action's word.
        action: &'static str,
        /// What it needs, in words.
        needs: &'static str,
    },
    /// A word that access(5) does not have.
    #[error("{0} is not an action that Postfix knows")]
    Unknown(String),
}

impl Action {
    /// The words of access(5) that an action can begin with.
    pub const WORDS: &'static [&'static str] = &[
        "DUNNO",
        "OK",
        "REJECT",
        "DEFER",
        "DEFER_IF_PERMIT",
        "DEFER_IF_REJECT",
        "HOLD",
        "DISCARD",
        "FILTER",
        "REDIRECT",
        "BCC",
        "PREPEND",
        "WARN",
        "INFO",
    ];

    /// Reads an action as an administrator writes it: a word in upper or lower case or a code,
    /// then the text.
    ///
    /// ```
    /// # use mppd_engine::Action;
    /// let action = Action::parse("reject not today")?;
    /// assert_eq!(action, Action::Reject(Some("not today".to_owned())));
    /// assert_eq!(action.to_string(), "REJECT not today");
    ///
    /// let misread = Action::parse("550").unwrap_err();
    /// assert_eq!(misread.to_string(), "550 needs a text; Postfix would take digits alone for OK");
    /// # Ok::<(), mppd_engine::action::ActionError>(())
    /// ```
    ///
    /// # Errors
    /// Anything that Postfix would not understand, or would understand as something else.
    pub fn parse(text: &str) -> Result<Self, ActionError> {
        let text = text.trim();
        let (word, rest) = match text.split_once([' ', '\t', '\n', '\r']) {
            Some((word, rest)) => (word, rest.trim()),
            None => (text, ""),
        };
        if word.is_empty() {
            return Err(ActionError::Empty);
        }
        if word.bytes().all(|octet| octet.is_ascii_digit()) {
            return Self::parse_code(word, rest);
        }
        let optional = (!rest.is_empty()).then(|| rest.to_owned());
        Ok(match word.to_ascii_uppercase().as_str() {
            "DUNNO" => Action::Dunno,
            "OK" => Action::Ok,
            "REJECT" => Action::Reject(optional),
            "DEFER" => Action::Defer(optional),
            "DEFER_IF_PERMIT" => Action::DeferIfPermit(optional),
            "DEFER_IF_REJECT" => Action::DeferIfReject(optional),
            "HOLD" => Action::Hold(optional),
            "DISCARD" => Action::Discard(optional),
            "FILTER" => Action::Filter(filter(rest)?),
            "REDIRECT" => Action::Redirect(address("REDIRECT", rest)?),
            "BCC" => Action::Bcc(address("BCC", rest)?),
            "PREPEND" => Action::Prepend(header(rest)?),
            "WARN" => Action::Warn(optional),
            "INFO" => Action::Info(optional),
            _ => return Err(ActionError::Unknown(word.to_owned())),
        })
    }

    fn parse_code(word: &str, text: &str) -> Result<Self, ActionError> {
        let code = (word.len() == 3).then(|| word.parse().ok()).flatten();
        let code = code.and_then(ReplyCode::new);
        let code = code.ok_or_else(|| ActionError::NotARefusal(word.to_owned()))?;
        if text.is_empty() {
            return Err(ActionError::CodeWithoutText(word.to_owned()));
        }
        Ok(Action::Code(code, text.to_owned()))
    }

    /// The word or code that the action begins with.
    #[must_use]
    pub fn word(&self) -> std::borrow::Cow<'static, str> {
        let word = match self {
            Action::Dunno => "DUNNO",
            Action::Ok => "OK",
            Action::Reject(_) => "REJECT",
            Action::Defer(_) => "DEFER",
            Action::Code(code, _) => return code.get().to_string().into(),
            Action::DeferIfPermit(_) => "DEFER_IF_PERMIT",
            Action::DeferIfReject(_) => "DEFER_IF_REJECT",
            Action::Hold(_) => "HOLD",
            Action::Discard(_) => "DISCARD",
            Action::Filter(_) => "FILTER",
            Action::Redirect(_) => "REDIRECT",
            Action::Bcc(_) => "BCC",
            Action::Prepend(_) => "PREPEND",
            Action::Warn(_) => "WARN",
            Action::Info(_) => "INFO",
        };
        word.into()
    }

    /// What follows the word.
    #[must_use]
    pub fn text(&self) -> Option<&str> {
        match self {
            Action::Dunno | Action::Ok => None,
            Action::Reject(text)
            | Action::Defer(text)
            | Action::DeferIfPermit(text)
            | Action::DeferIfReject(text)
            | Action::Hold(text)
            | Action::Discard(text)
            | Action::Warn(text)
            | Action::Info(text) => text.as_deref(),
            Action::Code(_, text)
            | Action::Filter(text)
            | Action::Redirect(text)
            | Action::Bcc(text)
            | Action::Prepend(text) => Some(text),
        }
    }

    /// Whether the action settles the matter, so that no later check is asked.
    ///
    /// The others are kept until the end of the chain and lose against a final one.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(
            self,
            Action::Dunno
                | Action::Ok
                | Action::Reject(_)
                | Action::Defer(_)
                | Action::Code(..)
                | Action::Discard(_)
        )
    }

    /// Which of several kept actions is the answer: the highest; among equals the first.
    #[must_use]
    pub fn weight(&self) -> u8 {
        match self {
            Action::Dunno => 0,
            Action::Info(_) => 1,
            Action::Warn(_) => 2,
            Action::Prepend(_) => 3,
            Action::Bcc(_) => 4,
            Action::Filter(_) => 5,
            Action::Redirect(_) => 6,
            Action::Hold(_) => 7,
            Action::DeferIfReject(_) => 8,
            Action::DeferIfPermit(_) => 9,
            Action::Ok
            | Action::Reject(_)
            | Action::Defer(_)
            | Action::Code(..)
            | Action::Discard(_) => 10,
        }
    }
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.word())?;
        match self.text() {
            Some(text) => write!(f, " {text}"),
            None => Ok(()),
        }
    }
}

fn filter(text: &str) -> Result<String, ActionError> {
    let has_transport = text.split_once(':').is_some_and(|(transport, _)| !transport.is_empty());
    if has_transport && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(ActionError::Argument { action: "FILTER", needs: "transport:destination" })
}

fn address(action: &'static str, text: &str) -> Result<String, ActionError> {
    // Postfix asks for an "@" only; half an address would lose the mail all the same.
    let is_whole = text
        .rsplit_once('@')
        .is_some_and(|(local, domain)| !local.is_empty() && !domain.is_empty());
    if is_whole && !text.contains(char::is_control) {
        return Ok(text.to_owned());
    }
    Err(ActionError::Argument { action, needs: "an address, user@domain" })
}

fn header(text: &str) -> Result<String, ActionError> {
    // A header name is printable US-ASCII without a colon (RFC 5322, section 2.2).
    let name = text.split_once(':').map_or("", |(name, _)| name);
    if !name.is_empty() && name.bytes().all(|octet| octet.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err(ActionError::Argument { action: "PREPEND", needs: "a header, \"Name: value\"" })
}

/// What a chain came to: an action, and whose doing it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// The answer.
    pub action: Action,
    /// ID of the engine that decided; `None` where the chain ran to its end, or where an exception
    /// did.
    pub engine: Option<Arc<str>>,
}

impl Decision {
    /// No opinion, and nobody's doing.
    #[must_use]
    pub fn dunno() -> Self {
        Decision { action: Action::Dunno, engine: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_action_is_read_in_either_case_with_its_text() {
        assert_eq!(Action::parse("reject Not today"), Ok(Action::Reject(Some("Not today".into()))));
        assert_eq!(Action::parse("  DUNNO "), Ok(Action::Dunno));
        assert_eq!(
            Action::parse("550 5.1.1 no such user").unwrap().to_string(),
            "550 5.1.1 no such user"
        );
    }

    #[test]
    fn what_postfix_would_misread_is_refused() {
        assert_eq!(Action::parse(" "), Err(ActionError::Empty));
        assert_eq!(Action::parse("550"), Err(ActionError::CodeWithoutText("550".into())));
        assert!(matches!(Action::parse("250 x"), Err(ActionError::NotARefusal(_))));
        assert!(matches!(Action::parse("0550 x"), Err(ActionError::NotARefusal(_))));
        assert!(matches!(Action::parse("REJCT x"), Err(ActionError::Unknown(_))));
        assert!(Action::parse("FILTER smtp").is_err());
        assert!(Action::parse("FILTER :[127.0.0.1]").is_err());
        assert!(Action::parse("REDIRECT nobody").is_err());
        assert!(Action::parse("REDIRECT archive@").is_err());
        assert!(Action::parse("BCC @example.com").is_err());
        assert!(Action::parse("BCC a\0@example.com").is_err());
        assert!(Action::parse("PREPEND no header").is_err());
        assert!(Action::parse("PREPEND : x").is_err());
    }

    #[test]
    fn every_word_is_read_back_as_itself() {
        for word in Action::WORDS {
            let text = match *word {
                "FILTER" => "smtp:[127.0.0.1]:10025",
                "REDIRECT" | "BCC" => "a@example.com",
                "PREPEND" => "X-Note: y",
                "DUNNO" | "OK" => "",
                _ => "text",
            };
            let action = Action::parse(&format!("{word} {text}")).unwrap();
            assert_eq!(action.word(), *word);
            assert_eq!(Action::parse(&action.to_string()), Ok(action));
        }
    }
}
