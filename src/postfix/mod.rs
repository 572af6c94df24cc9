//! What Postfix has to be told so that it asks mppd as the configuration wants to be asked: the
//! lines of its `main.cf`, each with the reason for it.

mod main_cf;
mod restrictions;

use std::path::{Path, PathBuf};

use mppd_engine::{Condition, Stage, Stages};

pub use self::main_cf::{MainCf, MainCfError};
use crate::listener::Endpoint;
use crate::plan::Plan;
use crate::supervisor::blueprint::Place;

/// What `smtpd_recipient_restrictions` begins with where nothing is there: who may send anywhere
/// passes, and mail that this Postfix does not take is refused before anybody is asked about it.
const GUARDS: &str = "permit_mynetworks, permit_sasl_authenticated, reject_unauth_destination";

/// How much longer than mppd takes at most Postfix waits, in seconds.
const LONGER: u64 = 5;

/// How long Postfix keeps an idle connection, unless told, in seconds.
const MAX_IDLE: u64 = 300;

/// A parameter of `main.cf` with the value that it should have.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Setting {
    /// Its name.
    pub name: &'static str,
    /// What it should be.
    pub value: String,
    /// What it is; empty where nothing is set.
    pub present: String,
    /// Why, in sentences.
    pub why: String,
}

impl Setting {
    /// Whether it is not yet as it should be.
    #[must_use]
    pub fn is_new(&self) -> bool {
        self.value != self.present
    }
}

/// All that is to be said to an administrator of Postfix.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Advice {
    /// The parameters.
    pub settings: Vec<Setting>,
    /// What no parameter can mend, in sentences.
    pub remarks: Vec<String>,
}

/// A restriction list, and the stages at which it has Postfix ask.
struct List {
    name: &'static str,
    stage: Stage,
    why: &'static str,
}

const LISTS: [List; 3] = [
    List {
        name: "smtpd_data_restrictions",
        stage: Stage::Data,
        why: "when all recipients of a message are named",
    },
    List {
        name: "smtpd_end_of_data_restrictions",
        stage: Stage::EndOfMessage,
        why: "when the size of a message is known",
    },
    List { name: "smtpd_etrn_restrictions", stage: Stage::Etrn, why: "about ETRN" },
];

const RECIPIENT: &str = "smtpd_recipient_restrictions";
const RELAY: &str = "smtpd_relay_restrictions";
const QUEUE_DIRECTORY: &str = "queue_directory";
const REJECT_UNAUTH: &str = "reject_unauth_destination";

/// The parameters that must be known before advice can be given.
const READ: [&str; 6] = [
    QUEUE_DIRECTORY,
    RECIPIENT,
    RELAY,
    "smtpd_data_restrictions",
    "smtpd_end_of_data_restrictions",
    "smtpd_etrn_restrictions",
];

/// What fits the configuration, where `main.cf` is like this.
#[must_use]
pub fn advice(plan: &Plan, main_cf: &MainCf) -> Advice {
    let mut remarks = Vec::new();
    let endpoint = endpoint(plan, main_cf, &mut remarks);
    let service = service(plan, &endpoint, &mut remarks);
    let set = |name: &'static str, list: &str, why: String| Setting {
        name,
        value: restrictions::asking(list, &endpoint, &service),
        present: main_cf.value(name).to_owned(),
        why,
    };
    let present = main_cf.value(RECIPIENT);
    let list = if present.trim().is_empty() { GUARDS } else { present };
    let guarded = [list, main_cf.value(RELAY)];
    if !guarded.iter().any(|list| restrictions::has(list, REJECT_UNAUTH))
        && !restrictions::has(main_cf.value(RELAY), "defer_unauth_destination")
    {
        remarks.push(format!(
            "Neither {RECIPIENT} nor {RELAY} has {REJECT_UNAUTH}: an OK of mppd could let a stranger \
             send mail anywhere. Put {REJECT_UNAUTH} in front of {}.",
            restrictions::CHECK
        ));
    }
    let why =
        "Postfix asks about each recipient, when whatever else is in the list has let it pass.";
    let mut settings = vec![set(RECIPIENT, list, why.to_owned())];
    for list in &LISTS {
        let engines = engines_at(plan, list.stage);
        if !engines.is_empty() {
            let why = format!("{} must be asked {}.", engines.join(", "), list.why);
            settings.push(set(list.name, main_cf.value(list.name), why));
        }
    }
    remarks.extend(early(plan));
    Advice { settings, remarks }
}

/// The engines that have something to do at this stage, and nothing when Postfix asks about a
/// recipient.
fn engines_at(plan: &Plan, stage: Stage) -> Vec<String> {
    let only_at = |stages: Stages| stages.contains(stage) && !stages.contains(Stage::Rcpt);
    checks(plan).filter(|(_, stages)| only_at(*stages)).map(|(id, _)| id).collect()
}

/// Each engine that a chain of checks names, and the stages at which it has something to do.
fn checks(plan: &Plan) -> impl Iterator<Item = (String, Stages)> {
    let blueprint = &plan.blueprint;
    let chains = blueprint.groups.iter().flat_map(|group| group.chains.at(Place::Check));
    let mut places: Vec<usize> = chains.copied().collect();
    places.sort_unstable();
    places.dedup();
    places.into_iter().filter_map(|place| blueprint.engines.get(place)).map(|engine| {
        let possible = engine.precondition.as_ref().map_or(Stages::ALL, Condition::possible_stages);
        (engine.id.to_string(), engine.useful_at.intersection(possible))
    })
}

/// What must be said of engines that only have something to do before a recipient is named.
fn early(plan: &Plan) -> Option<String> {
    let later = Stages::of(&[Stage::Rcpt, Stage::Data, Stage::EndOfMessage, Stage::Etrn]);
    let engines: Vec<String> = checks(plan)
        .filter(|(_, stages)| stages.intersection(later).is_empty())
        .map(|(id, _)| id)
        .collect();
    (!engines.is_empty()).then(|| {
        format!(
            "{} can only be asked before a recipient is named. Postfix does that where \
             smtpd_delay_reject is \"no\", from smtpd_client_restrictions, smtpd_helo_restrictions and \
             smtpd_sender_restrictions.",
            engines.join(", ")
        )
    })
}

/// The socket to ask, as Postfix writes it: a file that it can reach by a path that starts at its
/// queue directory, else the first.
fn endpoint(plan: &Plan, main_cf: &MainCf, remarks: &mut Vec<String>) -> String {
    let queue = PathBuf::from(main_cf.value(QUEUE_DIRECTORY));
    let endpoints = plan.listen.iter().map(|listen| &listen.endpoint);
    let near = endpoints.clone().find_map(|endpoint| in_queue(endpoint, &queue));
    if let Some(path) = near {
        return format!("unix:{}", path.display());
    }
    match endpoints.into_iter().next() {
        Some(Endpoint::Unix(path)) => {
            remarks.push(format!(
                "{} is not below {}: an smtpd that runs in a chroot, as master.cf may say, does not find it.",
                path.display(),
                queue.display()
            ));
            format!("unix:{}", path.display())
        }
        Some(Endpoint::Inet { host, port }) => inet(host, *port),
        // A plan has a socket.
        None => String::new(),
    }
}

fn in_queue<'a>(endpoint: &'a Endpoint, queue: &Path) -> Option<&'a Path> {
    match endpoint {
        Endpoint::Unix(path) if !queue.as_os_str().is_empty() => path.strip_prefix(queue).ok(),
        _ => None,
    }
}

/// A port, on loopback where mppd listens everywhere.
fn inet(host: &str, port: u16) -> String {
    match host {
        "0.0.0.0" => format!("inet:127.0.0.1:{port}"),
        "::" => format!("inet:[::1]:{port}"),
        host if host.contains(':') => format!("inet:[{host}]:{port}"),
        host => format!("inet:{host}:{port}"),
    }
}

/// The endpoint with the times and the action that fit, between braces (Postfix 3.0).
fn service(plan: &Plan, endpoint: &str, remarks: &mut Vec<String>) -> String {
    let server = &plan.configuration.common.policy_server;
    let deadline = server.request_deadline.0.0;
    let seconds = deadline.as_secs() + u64::from(deadline.subsec_nanos() > 0);
    let mut attributes = vec![endpoint.to_owned(), format!("timeout={}s", seconds + LONGER)];
    let idle = server.idle_timeout.map(|idle| idle.0.0.as_secs());
    if let Some(idle) = idle.filter(|idle| *idle <= MAX_IDLE) {
        attributes.push(format!("max_idle={}s", idle.saturating_sub(1).max(1)));
    }
    attributes.push(default_action(plan, remarks));
    format!("{{ {} }}", attributes.join(", "))
}

/// What Postfix does while it can't reach mppd: the same as after an exception, if `main.cf` can
/// hold it.
fn default_action(plan: &Plan, remarks: &mut Vec<String>) -> String {
    let groups = &plan.configuration.groups;
    let default =
        groups.iter().find(|group| group.id.value == crate::config::settings::DEFAULT_GROUP);
    let on_error = default.and_then(|group| group.on_error.as_ref());
    let action = on_error.map_or("DUNNO", |action| action.value.trim());
    if action.contains(['$', '{', '}', '\n', '#']) {
        remarks.push(
            "on_error of group \"default\" has letters that mean something else in main.cf; Postfix is \
             told DUNNO for when it can't reach mppd."
                .to_owned(),
        );
        return "default_action=DUNNO".to_owned();
    }
    if action.contains([' ', ',', '\t']) {
        return format!("{{ default_action = {action} }}");
    }
    format!("default_action={action}")
}

#[cfg(test)]
mod tests;
