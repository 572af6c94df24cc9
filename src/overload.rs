//! At a limit: what a request gets there, and what is said of it.
//!
//! Requests that are shed are many by nature, so they are counted where it happens and told here,
//! by a task that looks at the counters: a line when it begins, one now and then while it lasts,
//! and one when it is over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mppd_engine::slog::{Logger, info, warn};
use mppd_engine::{Action, Finding, Spanned};

use crate::policy::reply;
use crate::ration::Ration;
use crate::supervisor::effect::fixed_action;
use crate::traffic::{Traffic, TrafficStatus};

/// The word for no answer.
const SILENCE: &str = "silence";

/// How often the counters are looked at.
const INTERVAL: Duration = Duration::from_secs(1);

/// How often it is told that it goes on.
const REMINDER: Duration = Duration::from_secs(30);

/// How long nothing may have been shed before it is over.
const QUIET: Duration = Duration::from_secs(5);

/// What a request gets where a limit is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OnOverload {
    /// This reply.
    Reply(Arc<[u8]>),
    /// Nothing: its connection is closed.
    Silence,
}

impl Default for OnOverload {
    fn default() -> Self {
        OnOverload::of(&Action::Dunno)
    }
}

impl OnOverload {
    fn of(action: &Action) -> Self {
        OnOverload::Reply(reply::encode_for_any(action).into())
    }

    /// Understands `<on_overload>`, and says what is wrong with it.
    #[must_use]
    pub fn read(option: Option<&Spanned<String>>) -> (Self, Vec<Finding>) {
        let Some(text) = option else { return (OnOverload::default(), Vec::new()) };
        if text.value.trim() == SILENCE {
            return (OnOverload::Silence, Vec::new());
        }
        match fixed_action(&text.as_deref(), &[SILENCE]) {
            Ok(action) => (OnOverload::of(&action), check(&action, text)),
            Err(findings) => (OnOverload::default(), findings),
        }
    }
}

/// What is wrong with answering this to requests that nobody has looked at.
fn check(action: &Action, text: &Spanned<String>) -> Vec<Finding> {
    let reason = match action {
        Action::Discard(_) => "it would lose mail that nobody has looked at",
        Action::Prepend(_) | Action::Filter(_) | Action::Redirect(_) | Action::Bcc(_) => {
            "it changes the message, and would do so for each recipient that is asked about"
        }
        _ => return cut_warning(action, text).into_iter().collect(),
    };
    let message = format!("{} can't be the answer to an overload: {reason}", action.word());
    let help = "DUNNO, DEFER_IF_PERMIT with a text, and \"silence\" are common";
    vec![Finding::error(text.span, message).with_help(help)]
}

fn cut_warning(action: &Action, text: &Spanned<String>) -> Option<Finding> {
    let length = action.text()?.len();
    let most = reply::ROOM_FOR_ANY;
    (length > most).then(|| {
        let message = format!("the text is cut: it has {length} octets, and {most} always fit");
        Finding::warning(text.span, message)
    })
}

/// What is to be said after a look at the counters.
#[derive(Debug, PartialEq, Eq)]
enum Report {
    /// It has begun, or goes on.
    Overloaded(Counts),
    /// It is over.
    Over(Counts, Duration),
}

/// What was turned away in one overload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counts {
    shed: u64,
    refused: u64,
    over_connections: u64,
    over_requests: u64,
    over_memory: u64,
}

impl Counts {
    fn between(from: &TrafficStatus, to: &TrafficStatus) -> Self {
        Counts {
            shed: to.shed - from.shed,
            refused: to.refused - from.refused,
            over_connections: to.over_connections - from.over_connections,
            over_requests: to.over_requests - from.over_requests,
            over_memory: to.over_memory - from.over_memory,
        }
    }

    fn is_none(&self) -> bool {
        *self == Counts::default()
    }
}

/// Tells one overload from the next.
#[derive(Debug)]
struct Watch {
    last: TrafficStatus,
    episode: Option<Episode>,
}

#[derive(Debug)]
struct Episode {
    begun: Instant,
    before: TrafficStatus,
    last_seen: Instant,
    last_told: Instant,
}

impl Watch {
    fn new(status: TrafficStatus) -> Self {
        Watch { last: status, episode: None }
    }

    fn look(&mut self, status: TrafficStatus, now: Instant) -> Option<Report> {
        let before = std::mem::replace(&mut self.last, status);
        let has_shed = !Counts::between(&before, &self.last).is_none();
        let Some(episode) = &mut self.episode else {
            if !has_shed {
                return None;
            }
            let counts = Counts::between(&before, &self.last);
            self.episode = Some(Episode { begun: now, before, last_seen: now, last_told: now });
            return Some(Report::Overloaded(counts));
        };
        let counts = Counts::between(&episode.before, &self.last);
        if has_shed {
            episode.last_seen = now;
            if now.saturating_duration_since(episode.last_told) < REMINDER {
                return None;
            }
            episode.last_told = now;
            return Some(Report::Overloaded(counts));
        }
        if now.saturating_duration_since(episode.last_seen) < QUIET {
            return None;
        }
        let lasted = episode.last_seen.saturating_duration_since(episode.begun);
        self.episode = None;
        Some(Report::Over(counts, lasted))
    }
}

/// Tells of overloads, and of lines of the log that were left out, for as long as the server runs.
pub async fn tell(traffic: Arc<Traffic>, ration: Arc<Ration>, logger: Logger) {
    let mut watch = Watch::new(traffic.status());
    loop {
        tokio::time::sleep(INTERVAL).await;
        let status = traffic.status();
        let (connections, requests, memory) = (status.connections, status.requests, status.memory);
        match watch.look(status, Instant::now()) {
            Some(Report::Overloaded(counts)) => warn!(logger, "overloaded: a limit is reached";
                "shed" => counts.shed, "refused" => counts.refused,
                "at_max_connections" => counts.over_connections,
                "at_max_requests" => counts.over_requests,
                "at_max_memory" => counts.over_memory,
                "connections" => connections, "requests" => requests, "memory" => memory),
            Some(Report::Over(counts, lasted)) => warn!(logger, "the overload is over";
                "shed" => counts.shed, "refused" => counts.refused,
                "at_max_connections" => counts.over_connections,
                "at_max_requests" => counts.over_requests,
                "at_max_memory" => counts.over_memory,
                "seconds" => lasted.as_secs()),
            None => {}
        }
        match ration.take_left_out() {
            0 => {}
            count => {
                info!(logger, "more connections ended by their peers' faults"; "count" => count);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use mppd_engine::config::{Origin, Severity, Source, SourceMap, Span};

    use super::*;

    fn read(text: &str) -> (OnOverload, Vec<Finding>) {
        let source = SourceMap::default()
            .add(Source { origin: Origin::Embedded("test"), text: text.into() });
        let span = Span { source, start: 0, end: text.len() };
        OnOverload::read(Some(&Spanned { value: text.to_owned(), span }))
    }

    fn reply(text: &str) -> String {
        match read(text) {
            (OnOverload::Reply(reply), findings) => {
                assert_eq!(findings, []);
                String::from_utf8(reply.to_vec()).unwrap()
            }
            (OnOverload::Silence, _) => panic!("{text} is no reply"),
        }
    }

    #[test]
    fn it_is_dunno_unless_said_otherwise() {
        assert_eq!(OnOverload::read(None).0, OnOverload::of(&Action::Dunno));
    }

    #[test]
    fn it_is_an_action_or_silence() {
        assert_eq!(reply(" defer_if_permit busy "), "action=DEFER_IF_PERMIT busy\n\n");
        assert_eq!(reply("451 4.3.2 too busy"), "action=451 4.3.2 too busy\n\n");
        assert_eq!(read(" silence\n"), (OnOverload::Silence, Vec::new()));
    }

    #[test]
    fn what_loses_or_changes_mail_is_refused() {
        for text in ["DISCARD", "PREPEND X-A: b", "FILTER smtp:x", "REDIRECT a@b", "BCC a@b"] {
            let (_, findings) = read(text);
            assert_eq!(findings.len(), 1, "{text}");
            assert_eq!(findings[0].severity, Severity::Error, "{text}");
        }
    }

    #[test]
    fn a_misspelt_word_is_told_with_the_nearest() {
        let (_, findings) = read("silense");
        assert_eq!(findings[0].help.as_deref(), Some("did you mean \"silence\"?"));
    }

    #[test]
    fn a_text_that_may_not_fit_is_told() {
        let (_, findings) = read(&format!("DEFER {}", "x".repeat(300)));
        assert_eq!(findings[0].severity, Severity::Warning);
    }

    #[test]
    fn an_overload_is_told_when_it_begins_now_and_then_and_when_it_is_over() {
        let begin = Instant::now();
        let at = |seconds| begin + Duration::from_secs(seconds);
        let shed = |shed| TrafficStatus { shed, over_requests: shed, ..TrafficStatus::default() };
        let counts = |shed| Counts { shed, over_requests: shed, ..Counts::default() };
        let mut watch = Watch::new(shed(7));
        assert_eq!(watch.look(shed(7), at(0)), None);
        assert_eq!(watch.look(shed(8), at(1)), Some(Report::Overloaded(counts(1))));
        assert_eq!(watch.look(shed(9), at(2)), None);
        assert_eq!(watch.look(shed(20), at(31)), Some(Report::Overloaded(counts(13))));
        assert_eq!(watch.look(shed(20), at(32)), None);
        let over = Report::Over(counts(13), Duration::from_secs(30));
        assert_eq!(watch.look(shed(20), at(36)), Some(over));
        assert_eq!(watch.look(shed(20), at(37)), None);
    }
}
