//! `mppd order`: the chains as resolved, as a tree to people and as JSON to machines.

use std::io::IsTerminal as _;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use mppd_engine::Stage;
use mppd_engine::config::Period;

use super::paint::Paint;
use super::{Settings, group, print_text, refuse};
use crate::config::settings::DEFAULT_GROUP;
use crate::log;
use crate::order::{ChainOrder, EngineOrder, GroupOrder, Order};
use crate::plan::Plan;

/// Options of `mppd order`.
#[derive(Debug, Args)]
pub(super) struct OrderArguments {
    /// Only this policy group
    #[arg(long, value_name = "ID")]
    group: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

pub(super) fn run(settings: &Settings, arguments: &OrderArguments) -> ExitCode {
    let plan = match Plan::load(&settings.load_request(), &settings.kinds, &log::silent()) {
        Ok(plan) => plan,
        Err(rejected) => return refuse(&rejected),
    };
    let order = Order::of(&plan);
    let order = match &arguments.group {
        None => order,
        Some(id) => match group(&plan.configuration, id).map(|_| order.only(id)) {
            Ok(Some(order)) => order,
            Ok(None) => return ExitCode::FAILURE,
            Err(error) => {
                eprintln!("mppd order: {error}");
                return ExitCode::FAILURE;
            }
        },
    };
    if !arguments.json {
        let paint = Paint { is_terminal: std::io::stdout().is_terminal() };
        return print_text(&Picture::new(&order, paint).draw());
    }
    match serde_json::to_string(&order) {
        Ok(json) => print_text(&format!("{}\n", super::track::plain(&json))),
        Err(error) => {
            eprintln!("mppd order: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What stands before the lines that belong to a branch: others follow it, or none does.
const GOES_ON: &str = "│  ";
const LAST: &str = "   ";

/// The chains on a screen.
struct Picture<'a> {
    order: &'a Order,
    paint: Paint,
    /// What stands before each line.
    margin: Vec<&'static str>,
    text: String,
}

impl<'a> Picture<'a> {
    fn new(order: &'a Order, paint: Paint) -> Self {
        Picture { order, paint, margin: Vec::new(), text: String::new() }
    }

    fn draw(mut self) -> String {
        if self.order.groups.len() > 1 {
            let methods = self.order.members_global_sequence.join(", ");
            self.line(&format!(
                "The group of a request is looked for by {methods}; what none finds belongs to \
                 {DEFAULT_GROUP}."
            ));
            self.text.push('\n');
        }
        for (number, group) in self.order.groups.iter().enumerate() {
            if number > 0 {
                self.text.push('\n');
            }
            self.group(group);
        }
        self.text
    }

    fn group(&mut self, group: &GroupOrder) {
        let mut title = self.paint.bold(format!("group {}", group.id));
        if group.dry_run {
            title.push_str(&self.paint.yellow("  dry_run: every answer is DUNNO"));
        }
        self.line(&title);
        if let Some(other) = &group.under_stress {
            self.line(&format!("while Postfix is under stress: as group {other}"));
        }
        let most = group.chains.len();
        for (number, chain) in group.chains.iter().enumerate() {
            let is_last = number + 1 == most;
            self.branch(is_last, &self.chain_title(chain));
            self.margin.push(if is_last { LAST } else { GOES_ON });
            self.chain(group, chain);
            self.margin.pop();
        }
    }

    fn chain_title(&self, chain: &ChainOrder) -> String {
        let name = match chain.place {
            "check" => "checks",
            "end_exception" => "after an exception",
            other => other,
        };
        format!("{}  {}", self.paint.bold(name), self.paint.dim(chain.element))
    }

    fn chain(&mut self, group: &GroupOrder, chain: &ChainOrder) {
        match self.drawn_before(group, chain) {
            Some(other) => self.branch(true, &format!("as in group {other}")),
            None => self.engines(group, chain),
        }
    }

    /// A group above this one whose list is the same.
    fn drawn_before(&self, group: &GroupOrder, chain: &ChainOrder) -> Option<&'a str> {
        let mut above = self.order.groups.iter().take_while(|other| other.id != group.id);
        let shares = |other: &&GroupOrder| chain.shared_with.contains(&other.id);
        above.find(shares).map(|other| other.id.as_str())
    }

    fn engines(&mut self, group: &GroupOrder, chain: &ChainOrder) {
        let order = self.order;
        let end = match chain.place {
            "check" => Some("what was kept, else DUNNO".to_owned()),
            "end_exception" => {
                Some(format!("{}  {}", group.on_error, self.paint.dim("(on_error)")))
            }
            _ if chain.engines.is_empty() => Some(self.paint.dim("no engine")),
            _ => None,
        };
        for (number, id) in chain.engines.iter().enumerate() {
            let Some(engine) = order.engine(id) else { continue };
            let is_last = end.is_none() && number + 1 == chain.engines.len();
            self.branch(is_last, &self.engine_title(engine));
            self.margin.push(if is_last { LAST } else { GOES_ON });
            self.engine(engine, chain);
            self.margin.pop();
        }
        if let Some(end) = end {
            self.branch(true, &end);
        }
    }

    fn engine_title(&self, engine: &EngineOrder) -> String {
        let mut title = self.paint.cyan(&engine.id);
        if engine.id != engine.kind {
            title = format!("{title} ({})", engine.kind);
        }
        if engine.dry_run {
            title.push_str(&self.paint.yellow("  dry_run"));
        }
        title
    }

    fn engine(&mut self, engine: &EngineOrder, chain: &ChainOrder) {
        if !engine.is_for_every_stage() {
            self.option("at", &stages(engine));
        }
        if let Some(condition) = &engine.precondition {
            self.option("if", condition);
        }
        // Elsewhere a status does nothing, unless somebody wants it to.
        let decides = chain.place == "check";
        for status in engine.statuses.iter().filter(|status| decides || !status.by_default) {
            self.effect(&format!("on_{}", status.status), &status.effect, status.by_default);
        }
        let by_chain = &chain.on_exception;
        let on_exception = engine.on_exception.as_ref();
        self.effect("on_exception", on_exception.unwrap_or(by_chain), on_exception.is_none());
        self.option("timeout", &time(engine.timeout));
        if !engine.results.is_empty() {
            self.option("results", &engine.results.join(", "));
        }
    }

    fn effect(&mut self, option: &str, effect: &str, by_default: bool) {
        let mut text = painted(self.paint, effect);
        if by_default {
            text.push_str(&self.paint.dim("  (default)"));
        }
        self.option(option, &text);
    }

    fn option(&mut self, name: &str, text: &str) {
        self.line(&format!("  {name:<16}{text}"));
    }

    fn branch(&mut self, is_last: bool, text: &str) {
        self.start();
        if self.paint.is_terminal {
            self.text.push_str(if is_last { "└─ " } else { "├─ " });
        } else {
            self.text.push_str("  ");
        }
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn line(&mut self, text: &str) {
        self.start();
        self.text.push_str(text);
        self.text.push('\n');
    }

    fn start(&mut self) {
        for part in &self.margin {
            self.text.push_str(if self.paint.is_terminal { part } else { "  " });
        }
    }
}

/// An effect in the colour of what becomes of the mail.
fn painted(paint: Paint, effect: &str) -> String {
    let word = effect.split_whitespace().next().unwrap_or_default();
    let is_refusal = matches!(word.as_bytes().first(), Some(b'4' | b'5'))
        || ["REJECT", "DEFER", "DEFER_IF_PERMIT", "DEFER_IF_REJECT", "DISCARD", "fail"]
            .contains(&word);
    match word {
        "continue" => paint.dim(effect),
        "permit" | "OK" | "DUNNO" => paint.green(effect),
        _ if is_refusal => paint.red(effect),
        _ => paint.yellow(effect),
    }
}

/// The stages of an engine that is not for all of them, in fewer words where it lacks one.
fn stages(engine: &EngineOrder) -> String {
    let lacks = |stage: &&Stage| !engine.stages.contains(&stage.name());
    let mut lacking = Stage::ALL.iter().filter(lacks);
    match (lacking.next(), lacking.next()) {
        (Some(stage), None) => format!("every stage but {stage}"),
        _ => engine.stages.join(", "),
    }
}

fn time(seconds: f64) -> String {
    let time = Duration::try_from_secs_f64(seconds);
    time.map_or_else(|_| seconds.to_string(), |time| Period(time).to_string())
}
