//! The chains as a picture, with counts on its arrows, and as a table.

use actix_web::{HttpRequest, HttpResponse};
use askama::Template;
use mppd_engine::Stage;

use super::page::{Page, PageError, html};
use super::visitor::{Visitor, console};
use crate::metrics::{EngineReading, Reading};
use crate::order::{self, EngineOrder, StatusOrder};
use crate::supervisor::blueprint::{Blueprint, Chains, Place};

/// Height of a row of the picture: a box and the arrow below it.
const ROW: usize = 76;

/// Where the first row begins.
const TOP: usize = 12;

/// Height of a box.
const BOX: usize = 46;

/// One box of the picture, and one row of the table.
struct Node {
    /// Where it stands among the chains, in words.
    place: &'static str,
    /// How it looks.
    class: &'static str,
    id: String,
    kind: &'static str,
    /// When it runs at all, as written.
    precondition: String,
    is_dry_run: bool,
    /// How often it ran.
    runs: u64,
    /// How often it did not, because of its precondition.
    skipped: u64,
    exceptions: u64,
    /// Requests that it decided.
    decided: u64,
    /// What it can come to.
    statuses: Vec<Status>,
    /// At which stages it runs, where that is not at all of them.
    stages: String,
    /// What an exception does, where the configuration says so.
    on_exception: Option<String>,
    is_check: bool,
    /// Whether an arrow leads down from its box.
    leads_on: bool,
    /// Upper edge of its box.
    y: usize,
}

/// What an engine can come to.
struct Status {
    name: &'static str,
    meaning: &'static str,
    /// What that does, as `mppd order` says it.
    effect: String,
    /// How often it did.
    count: u64,
}

impl Node {
    /// The statuses that it came to, with their counts.
    fn came_to(&self) -> String {
        let came = self.statuses.iter().filter(|status| status.count > 0);
        let words: Vec<String> =
            came.map(|status| format!("{} {}", status.name, status.count)).collect();
        words.join(", ")
    }

    fn text_y(&self) -> usize {
        self.y + 20
    }

    fn kind_y(&self) -> usize {
        self.y + 37
    }

    fn middle(&self) -> usize {
        self.y + BOX / 2
    }

    fn bottom(&self) -> usize {
        self.y + BOX
    }

    fn next(&self) -> usize {
        self.y + ROW
    }

    fn label_y(&self) -> usize {
        self.y + BOX + 20
    }

    fn above_middle(&self) -> usize {
        self.middle() - 6
    }

    /// How often the next engine was asked after it.
    fn went_on(&self) -> u64 {
        (self.runs + self.skipped).saturating_sub(self.decided)
    }
}

/// Groups whose chains are the same.
struct Picture {
    /// Number of the picture on the page.
    number: usize,
    groups: String,
    requests: u64,
    /// Before and among the checks, after the decision, after an exception.
    nodes: Vec<Node>,
    /// Upper edge of the box of the decision, among the nodes.
    decision_y: usize,
    /// Upper edge of the box of an exception, if a chain follows one.
    exception_y: Option<usize>,
    exceptions: u64,
    height: usize,
}

impl Picture {
    fn decision_text_y(&self) -> usize {
        self.decision_y + 28
    }

    fn decision_bottom(&self) -> usize {
        self.decision_y + BOX
    }

    fn has_end(&self) -> bool {
        self.nodes.iter().any(|node| node.place == place_name(Place::End))
    }
}

#[derive(Template)]
#[template(path = "chains.html")]
struct ChainsPage {
    page: Page,
    pictures: Vec<Picture>,
}

const fn place_name(place: Place) -> &'static str {
    match place {
        Place::Begin => "before the checks",
        Place::Check => "check",
        Place::End => "after the decision",
        Place::EndException => "after an exception",
    }
}

const fn class_of(place: Place) -> &'static str {
    match place {
        Place::Check => "check",
        Place::EndException => "exception",
        Place::Begin | Place::End => "other",
    }
}

/// The page.
///
/// # Errors
/// It can't be made.
pub async fn page(request: HttpRequest, visitor: Visitor) -> Result<HttpResponse, PageError> {
    let console = console(&request)?;
    let in_force = console.in_force();
    let pictures = pictures(&in_force.blueprint, &console.monitor.read());
    html(&ChainsPage { page: Page::new("/chains", "Chains", visitor), pictures })
}

/// A picture for each set of chains; groups that have the same share one.
fn pictures(blueprint: &Blueprint, reading: &Reading) -> Vec<Picture> {
    let mut found: Vec<(Chains, Picture)> = Vec::new();
    for group in &blueprint.groups {
        let counted = reading.groups.iter().find(|known| known.id == group.id);
        let requests = counted.map_or(0, |known| sum(&known.decisions));
        let exceptions = counted.map_or(0, |known| sum(&known.exceptions));
        if let Some((_, picture)) = found.iter_mut().find(|(chains, _)| *chains == group.chains) {
            picture.groups = format!("{}, {}", picture.groups, group.id);
            picture.requests += requests;
            picture.exceptions += exceptions;
            continue;
        }
        let mut picture = picture(&group.chains, blueprint, reading);
        picture.number = found.len();
        picture.groups = group.id.to_string();
        picture.requests = requests;
        picture.exceptions = exceptions;
        found.push((group.chains.clone(), picture));
    }
    found.into_iter().map(|(_, picture)| picture).collect()
}

fn sum(counts: &[(&'static str, u64)]) -> u64 {
    counts.iter().map(|(_, count)| count).sum()
}

fn picture(chains: &Chains, blueprint: &Blueprint, reading: &Reading) -> Picture {
    let mut picture = Picture {
        number: 0,
        groups: String::new(),
        requests: 0,
        nodes: Vec::new(),
        decision_y: 0,
        exception_y: None,
        exceptions: 0,
        height: 0,
    };
    // The first row is the request.
    let mut y = TOP + ROW;
    for place in Place::ALL {
        if place == Place::End {
            picture.decision_y = y;
            y += ROW;
        }
        if place == Place::EndException && !chains.at(place).is_empty() {
            picture.exception_y = Some(y);
            y += ROW;
        }
        for index in chains.at(place) {
            picture.nodes.push(node(place, &blueprint.engines[*index], reading, y));
            y += ROW;
        }
        if matches!(place, Place::End | Place::EndException)
            && !chains.at(place).is_empty()
            && let Some(last) = picture.nodes.last_mut()
        {
            last.leads_on = false;
        }
    }
    picture.height = y;
    picture
}

fn node(
    place: Place,
    plan: &crate::supervisor::blueprint::EnginePlan,
    reading: &Reading,
    y: usize,
) -> Node {
    let counted = reading.engines.iter().find(|known| known.id == plan.id);
    let of = |status: &str| {
        let found = counted.and_then(|known| known.statuses.iter().find(|(s, _)| *s == status));
        found.map_or(0, |(_, count)| *count)
    };
    let all = counted.map_or(0, |known: &EngineReading| sum(&known.statuses));
    let EngineOrder { statuses, stages, on_exception, .. } = order::engine(plan);
    let status = |status: StatusOrder| {
        let StatusOrder { status: name, meaning, effect, .. } = status;
        Status { name, meaning, effect, count: of(name) }
    };
    Node {
        place: place_name(place),
        class: class_of(place),
        id: plan.id.to_string(),
        kind: plan.kind,
        precondition: plan.precondition.as_ref().map(ToString::to_string).unwrap_or_default(),
        is_dry_run: plan.dry_run,
        skipped: of("skipped"),
        exceptions: of("exception"),
        runs: all - of("skipped"),
        decided: counted.map_or(0, |known| known.decided),
        statuses: statuses.into_iter().map(status).collect(),
        stages: if stages.len() < Stage::ALL.len() { stages.join(", ") } else { String::new() },
        on_exception,
        is_check: place == Place::Check,
        leads_on: true,
        y,
    }
}
