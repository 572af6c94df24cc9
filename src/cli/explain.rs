//! `mppd explain`: one request through the configuration, each step shown.

mod tree;

use std::collections::HashSet;
use std::io::IsTerminal as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use clap::Args;
use jiff::Zoned;
use mppd_engine::request::Malformed;
use mppd_engine::{Attribute, Escaped, Request};

use self::tree::Tree;
use super::ask::{AskError, attributes, read_requests};
use super::paint::Paint;
use super::{Settings, UnknownGroup, places, print_text, refuse, track};
use crate::explain::{self, Explanation, Mode, Question, RehearsalError};
use crate::plan::Plan;
use crate::tracking::search::{QuestionError, instant};
use crate::tracking::story::story;

/// How long the records may take.
const PATIENCE: Duration = Duration::from_mins(1);

/// Most requests of one message that are told apart when one is to be chosen.
const MOST_SHOWN: u32 = 20;

/// Options of `mppd explain`.
#[derive(Debug, Args)]
pub(super) struct ExplainArguments {
    /// A file with one request; standard input for `-`, and where nothing else is given
    #[arg(value_name = "FILE", conflicts_with = "id")]
    file: Option<PathBuf>,
    /// An attribute, in place of that of the file or the record; may be given many times
    #[arg(long, value_name = "NAME=VALUE")]
    attr: Vec<String>,
    /// A request from the records, by its key, or by the `instance` of its message; they are read
    /// from where the configuration keeps them
    #[arg(long, value_name = "ID")]
    id: Option<String>,
    /// With --id: only the records of this policy group
    #[arg(long, value_name = "ID", requires = "id")]
    group: Option<String>,
    /// Asks name servers, databases, directories, web services and mail servers; nothing is written
    /// anywhere, and what might change something is not asked
    #[arg(long)]
    connect: bool,
    /// As if it came at this time: 2h, yesterday, "2026-11-22 13:00"; now unless given
    #[arg(long, value_name = "TIME")]
    at: Option<String>,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum ExplainError {
    #[error(transparent)]
    Request(#[from] AskError),
    #[error("not a request that mppd would accept: {0}")]
    Malformed(#[from] Malformed),
    #[error("{0} requests were given; give one, or have mppd ask send them all to the server")]
    Several(usize),
    #[error(transparent)]
    Group(#[from] UnknownGroup),
    #[error("no such request: {0}")]
    NotFound(String),
    #[error("the records can't be read: {0}")]
    Records(String),
    #[error("this message has several requests; give the id of one:{0}")]
    Ambiguous(String),
    #[error(transparent)]
    Time(#[from] QuestionError),
    #[error(transparent)]
    Rehearsal(#[from] RehearsalError),
    #[error("can't start: {0}")]
    Start(std::io::Error),
    #[error("can't print: {0}")]
    Json(#[from] serde_json::Error),
}

pub(super) fn run(settings: &Settings, arguments: &ExplainArguments) -> ExitCode {
    let plan = match explain::load(&settings.load_request(), &settings.kinds) {
        Ok(plan) => plan,
        Err(rejected) => return refuse(&rejected),
    };
    match explanation(plan, arguments).and_then(|explanation| shown(&explanation, arguments)) {
        Ok(text) => print_text(&text),
        Err(error) => {
            eprintln!("mppd explain: {error}");
            ExitCode::FAILURE
        }
    }
}

fn explanation(plan: Plan, arguments: &ExplainArguments) -> Result<Explanation, ExplainError> {
    let request = request(&plan, arguments)?;
    let received = match &arguments.at {
        Some(text) => SystemTime::from(instant(text, &Zoned::now())?),
        None => SystemTime::now(),
    };
    let question = Question { received, ..Question::now(request) };
    let mode = if arguments.connect { Mode::Connect } else { Mode::Offline };
    let explained = actix_rt::System::new().block_on(explain::run(plan, question, mode));
    Ok(explained?)
}

fn shown(explanation: &Explanation, arguments: &ExplainArguments) -> Result<String, ExplainError> {
    if arguments.json {
        return Ok(format!("{}\n", track::plain(&serde_json::to_string(explanation)?)));
    }
    let paint = Paint { is_terminal: std::io::stdout().is_terminal() };
    Ok(Tree::new(explanation, paint).draw())
}

/// The request, with the attributes of the command line in place of its own.
fn request(plan: &Plan, arguments: &ExplainArguments) -> Result<Request, ExplainError> {
    let base = match (&arguments.id, &arguments.file) {
        (Some(id), _) => Some(recorded(plan, id, arguments.group.as_deref())?),
        (None, None) if !arguments.attr.is_empty() => None,
        (None, file) => {
            let mut requests = read_requests(file.as_deref())?;
            match (requests.pop(), requests.len()) {
                (Some(request), 0) => Some(request),
                (_, others) => return Err(ExplainError::Several(others + 1)),
            }
        }
    };
    let given = attributes(&arguments.attr)?;
    let Some(base) = base else { return Ok(Request::from_attributes(given)?) };
    if given.is_empty() {
        return Ok(base);
    }
    Ok(Request::from_attributes(replaced(&base, &given))?)
}

/// The attributes of a request; a given one stands where it stood, or at the end.
fn replaced(base: &Request, given: &[(String, String)]) -> Vec<(Vec<u8>, Vec<u8>)> {
    let value = |name: &[u8]| given.iter().rev().find(|(given, _)| given.as_bytes() == name);
    let mut seen = HashSet::new();
    let mut attributes = Vec::new();
    for (name, old) in base.attributes().filter(|(name, _)| seen.insert(name.to_vec())) {
        let new = value(name).map_or(old, |(_, new)| new.as_bytes());
        attributes.push((name.to_vec(), new.to_vec()));
    }
    let added = given.iter().filter(|(name, _)| seen.insert(name.clone().into_bytes()));
    let added = added.map(|(name, _)| name.as_bytes());
    let added = added.filter_map(|name| Some((name.to_vec(), value(name)?.1.clone().into_bytes())));
    attributes.extend(added);
    attributes
}

/// A request from the records.
fn recorded(plan: &Plan, id: &str, group: Option<&str>) -> Result<Request, ExplainError> {
    let places = places(&plan.configuration, group)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(ExplainError::Start)?;
    let story = runtime.block_on(story(&places, id, MOST_SHOWN, PATIENCE));
    match (story.rows.as_slice(), story.failures.first()) {
        ([found], _) => Ok(found.row.to_request()?),
        ([], Some((place, error))) => Err(ExplainError::Records(format!("{place}: {error}"))),
        ([], None) => Err(ExplainError::NotFound(Escaped(id.as_bytes()).to_string())),
        (several, _) => {
            let line = |found: &crate::tracking::search::Found| {
                let request = found.row.to_request().ok()?;
                let recipient = Escaped(request.get(Attribute::Recipient)).to_string();
                let key = found.row.key()?;
                Some(format!("\n  {key}  {} {recipient}", request.stage().name()))
            };
            Err(ExplainError::Ambiguous(several.iter().filter_map(line).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_attribute_takes_the_place_of_the_other_or_comes_last() {
        let base = Request::from_attributes([("sender", "a@a.example"), ("size", "1")]).unwrap();
        let given = attributes(&["size=2".into(), "helo_name=x=y".into()]).unwrap();
        let request = Request::from_attributes(replaced(&base, &given)).unwrap();
        let expected = "request=smtpd_access_policy\nsender=a@a.example\nsize=2\nhelo_name=x=y\n\n";
        assert_eq!(request.octets(), expected.as_bytes());
    }
}
