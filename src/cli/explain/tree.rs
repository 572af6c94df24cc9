//! An explanation as a tree.

use mppd_engine::Escaped;

use crate::cli::paint::Paint;
use crate::explain::step::{OutcomeTold, Step, StepEnd};
use crate::explain::{Explanation, Mode};

/// What stands before the engines of a place, and before what belongs to them: others follow, or
/// none does.
const BRANCHES: [[&str; 2]; 2] = [["├─ ", "│  "], ["╰─ ", "   "]];

/// An explanation on a screen. Everything that peers chose is made safe.
pub(super) struct Tree<'a> {
    told: &'a Explanation,
    paint: Paint,
    text: String,
}

impl<'a> Tree<'a> {
    pub(super) fn new(told: &'a Explanation, paint: Paint) -> Self {
        Tree { told, paint, text: String::new() }
    }

    pub(super) fn draw(mut self) -> String {
        self.request();
        self.group();
        for (place, title) in [("begin", "begin"), ("check", "checks")] {
            self.place(place, title);
        }
        if self.told.exception.is_none() {
            self.score();
        }
        self.place("end", "end");
        self.exception();
        self.place("end_exception", "end after an exception");
        self.decision();
        self.notes();
        self.text
    }

    fn line(&mut self, line: &str) {
        self.text.push_str(line.trim_end());
        self.text.push('\n');
    }

    fn headed(&mut self, head: &str, rest: &str) {
        let head = self.paint.bold(format!("{head:<10}"));
        self.line(&format!("{head}{rest}"));
    }

    fn request(&mut self) {
        let value = |name: &str| {
            let found = self.told.request.iter().find(|attribute| attribute.name == name);
            found.map(|attribute| safe(&attribute.value)).unwrap_or_default()
        };
        let mut parts = vec![self.told.stage.to_owned()];
        let (address, name) = (value("client_address"), value("client_name"));
        match (address.is_empty(), name.is_empty()) {
            (true, _) => {}
            (false, true) => parts.push(format!("client {address}")),
            (false, false) => parts.push(format!("client {name} [{address}]")),
        }
        for (label, attribute) in [
            ("helo", "helo_name"),
            ("from", "sender"),
            ("to", "recipient"),
            ("logged in as", "sasl_username"),
        ] {
            let value = value(attribute);
            if !value.is_empty() {
                parts.push(format!("{label} {value}"));
            }
        }
        self.headed("request", &parts.join(", "));
    }

    fn group(&mut self) {
        let group = &self.told.group;
        let mut text = safe(&group.id);
        match group.method {
            Some(method) => text = format!("{text}, found by {method}"),
            None => text.push_str(", as no method finds another one"),
        }
        if let Some(other) = &group.in_stead_of {
            text = format!("{text}, in stead of {} because Postfix is under stress", safe(other));
        }
        if let Some(method) = group.not_asked {
            let hint = self.paint.yellow(format!("{method} was not asked; --connect asks"));
            text = format!("{text} ({hint})");
        }
        if group.dry_run {
            text.push_str(&self.paint.yellow(", dry run: DUNNO is answered"));
        }
        self.headed("group", &text);
    }

    fn place(&mut self, place: &str, title: &str) {
        let steps: Vec<&Step> = self.told.steps.iter().filter(|step| step.place == place).collect();
        if steps.is_empty() {
            return;
        }
        let title = self.paint.bold(title);
        self.line(&title);
        let longest = |of: fn(&Step) -> usize| steps.iter().map(|step| of(step)).max();
        let ids = longest(|step| step.engine.chars().count()).unwrap_or(0);
        let last = steps.len() - 1;
        for (number, step) in steps.into_iter().enumerate() {
            self.step(step, ids, BRANCHES[usize::from(number == last)]);
        }
    }

    fn step(&mut self, step: &Step, ids: usize, [branch, below]: [&str; 2]) {
        let paint = self.paint;
        let name = format!("{:ids$}", safe(&step.engine));
        let said = match (step.end, &step.outcome) {
            (StepEnd::Skipped, _) => paint.dim("skipped"),
            (StepEnd::OtherStage, _) => paint.dim(format!("not for {}", self.told.stage)),
            (StepEnd::NotAsked, _) => self.not_asked(step),
            (StepEnd::Ran | StepEnd::Failed, Some(outcome)) => status(outcome, step.end, paint),
            (StepEnd::Ran | StepEnd::Failed, None) => String::new(),
        };
        self.line(&format!("{branch}{}  {said}", paint.cyan(name)));
        if let Some(precondition) = &step.precondition {
            let holds = if precondition.holds { "holds" } else { "does not hold" };
            let condition = safe(&precondition.condition);
            self.line(&format!("{below}  precondition {condition}: {holds}"));
        }
        let Some(outcome) = &step.outcome else { return };
        for value in &outcome.values {
            let (name, value) = (safe(&value.name), safe(&value.value));
            self.line(&format!("{below}  {}", paint.dim(format!("{name} = {value}"))));
        }
        let effect = self.effect(outcome);
        self.line(&format!("{below}  {effect}"));
    }

    fn not_asked(&self, step: &Step) -> String {
        let why = step.reason.unwrap_or_default();
        let is_offline = self.told.mode == Mode::Offline && why.starts_with("it would ask");
        let hint = if is_offline { "; --connect asks" } else { "" };
        self.paint.yellow(format!("not asked: {why}{hint}"))
    }

    fn effect(&self, outcome: &OutcomeTold) -> String {
        let OutcomeTold { option, written, effect, .. } = outcome;
        let (written, effect) = (safe(written), safe(effect));
        let mut text = if outcome.by_default {
            format!("{option} is {written} by default")
        } else {
            format!("{option} is {written}")
        };
        if outcome.dry_run {
            return format!("{text}; {}", self.paint.yellow("a dry run, so it decides nothing"));
        }
        if written != effect {
            text = format!("{text}, here {effect}");
        }
        if outcome.is_kept {
            text.push_str("; kept until the checks end");
        }
        match (outcome.ends, outcome.effect.as_str()) {
            (true, _) => format!("{text}: {}", self.paint.bold("the chain ends")),
            (false, "continue") => self.paint.dim(text),
            (false, _) => text,
        }
    }

    fn score(&mut self) {
        let Some(score) = &self.told.score else { return };
        let part = |part: &crate::explain::ScorePart| {
            format!("{} by {} ({})", part.score, safe(&part.engine), part.status)
        };
        let parts: Vec<String> = score.parts.iter().map(part).collect();
        self.headed("score", &format!("{}: {}", score.sum, parts.join(", ")));
    }

    fn exception(&mut self) {
        let Some(exception) = &self.told.exception else { return };
        let message = safe(&exception.message);
        let by = exception.engine.as_deref().map(|engine| format!("{}: ", safe(engine)));
        let text = format!("{}{}: {message}", by.unwrap_or_default(), exception.kind);
        let text = self.paint.red(text);
        self.headed("exception", &text);
    }

    fn decision(&mut self) {
        let decision = &self.told.decision;
        let word = safe(&decision.action);
        let text = decision.text.as_deref().map(|text| format!(" {}", safe(text)));
        let whole = format!("{word}{}", text.unwrap_or_default());
        let whole = match decision.action.as_bytes() {
            [b'5', ..] | b"REJECT" => self.paint.red(whole),
            [b'4', ..] | b"DEFER" | b"DISCARD" | b"HOLD" => self.paint.yellow(whole),
            _ => self.paint.green(whole),
        };
        let by = match (&decision.engine, &self.told.exception) {
            (Some(engine), _) => format!(", by {}", safe(engine)),
            (None, Some(_)) => ", by on_error or what the engine wants answered".to_owned(),
            (None, None) => ", because no engine has decided".to_owned(),
        };
        let dry = if decision.is_dry_run { " (dry run: DUNNO is answered)" } else { "" };
        self.headed("decision", &format!("{whole}{by}{dry}"));
        let reply = safe(&self.told.reply);
        self.headed("reply", &reply);
    }

    fn notes(&mut self) {
        if self.told.notes.is_empty() {
            return;
        }
        let title = self.paint.bold("not as in a server that runs:");
        self.line(&title);
        for note in &self.told.notes {
            self.line(&format!("  {}", safe(note)));
        }
    }
}

fn status(outcome: &OutcomeTold, end: StepEnd, paint: Paint) -> String {
    let status = match (end, outcome.failure) {
        (StepEnd::Failed, Some(failure)) => paint.red(format!("{} ({failure})", outcome.status)),
        (StepEnd::Failed, None) => paint.red(outcome.status),
        _ => paint.bold(outcome.status),
    };
    let time = paint.dim(format!("{:.3} ms", outcome.milliseconds));
    format!("{status}  {time}  {}", safe(&outcome.text))
}

fn safe(text: &str) -> String {
    Escaped(text.as_bytes()).to_string()
}
