//! What a newcomer can do with a server that has just started in front of him.

use std::fmt::Write as _;
use std::path::Path;

use crate::listener::Endpoint;
use crate::plan::Plan;
use crate::postfix::{MainCf, advice};
use crate::tracking::TrackerOptions;

/// How long a line may be, in characters.
const WIDTH: usize = 100;

/// The hints for who started the program by this name, with this configuration if one was named.
/// Empty where the server listens nowhere.
pub(super) fn next_steps(plan: &Plan, mppd: &str, named: Option<&Path>) -> String {
    let Some(listen) = plan.listen.first() else { return String::new() };
    let endpoint = &listen.endpoint;
    // Other commands would look for the configuration elsewhere.
    let named = named.map(|path| format!(" --config {}", path.display())).unwrap_or_default();
    let trackers = plan.trackers();
    let search = match trackers.as_slice() {
        [] => String::new(),
        _ => format!("    {mppd}{named} track search\n"),
    };
    format!(
        "\nmppd answers at {endpoint}; requests are put on record {}.\n\n\
         Ask it something, from another terminal:\n\n    \
         {mppd} ask --to {endpoint} --attr protocol_state=RCPT --attr client_address=192.0.2.1 \\\n        \
         --attr sender=alice@example.org --attr recipient=bob@example.com\n\
         {search}\n\
         {}\
         Have Postfix ask it, by these lines in main.cf, which \"{mppd}{named} postfix --apply\" can set:\n\n\
         {}",
        records(&trackers),
        look(plan),
        for_postfix(plan)
    )
}

/// Where requests are put on record.
fn records(trackers: &[TrackerOptions]) -> String {
    let place = |tracker: &TrackerOptions| match &tracker.connection {
        Some(connection) => format!("in MySQL, database {}", connection.database),
        None => format!("in SQLite, below {}", tracker.state_directory.display()),
    };
    match trackers {
        [] => "nowhere (no chain names an engine that tracks)".to_owned(),
        [tracker] => place(tracker),
        [first, more @ ..] => {
            format!("{} and in {} more, by their groups", place(first), more.len())
        }
    }
}

/// Where a browser finds the console, if there is one.
fn look(plan: &Plan) -> String {
    let Some(listen) = plan.admin.listen.first() else { return String::new() };
    let place = match &listen.endpoint {
        Endpoint::Inet { host, port } if host.contains(':') => format!("http://[{host}]:{port}/"),
        Endpoint::Inet { host, port } => format!("http://{host}:{port}/"),
        Endpoint::Unix(path) => format!("unix:{}", path.display()),
    };
    let how = if plan.admin.accounts.is_empty() { " (it says how to make an account)" } else { "" };
    format!("Look at it in a browser, at {place}{how}.\n\n")
}

/// All that main.cf needs where nothing is set yet, and what else is to be known.
fn for_postfix(plan: &Plan) -> String {
    let advice = advice(plan, &MainCf::untouched());
    let mut text = String::new();
    for setting in &advice.settings {
        text.push_str(&folded(&format!("{} = {}", setting.name, setting.value)));
    }
    text.push('\n');
    for remark in &advice.remarks {
        // A string takes everything.
        let _infallible = writeln!(text, "NOTE: {remark}\n");
    }
    text
}

/// A parameter over as many lines as it needs: those that begin with white space go on with the one
/// before.
fn folded(line: &str) -> String {
    let mut text = String::from("   ");
    let mut width = text.len();
    for word in line.split(' ') {
        if width + 1 + word.len() > WIDTH {
            text.push_str("\n       ");
            width = 7;
        }
        text.push(' ');
        text.push_str(word);
        width += 1 + word.len();
    }
    text.push('\n');
    text
}

#[cfg(test)]
mod tests {
    use mppd_engine::EngineKind;

    use super::*;
    use crate::config::{ConfigurationFile, LoadRequest};

    const FILE: &str = "<mppd><common><policy_server><request_deadline>9s</request_deadline>\
        </policy_server><policy_check_engines>sent</policy_check_engines></common>\
        <engines><threshold id=\"sent\"><key>$sasl_username</key><count>recipients</count>\
        <limit max=\"9\" per=\"1h\"/></threshold></engines></mppd>";

    fn hints() -> String {
        let file = ConfigurationFile::Embedded { main: ("mppd.conf.xml", FILE), included: &[] };
        let request = LoadRequest { file, environment: [].into(), set: Vec::new() };
        let kinds: &[&'static dyn EngineKind] = mppd_engines::ENGINES;
        let plan = Plan::load(&request, kinds, &crate::log::silent()).unwrap();
        next_steps(&plan, "mppd", Some(Path::new("a.xml")))
    }

    #[test]
    fn postfix_is_told_every_list_and_time_that_the_configuration_needs() {
        let hints = hints();
        let unfolded = hints.replace("\n        ", " ");
        let recipients = "    smtpd_recipient_restrictions = permit_mynetworks, \
            permit_sasl_authenticated, reject_unauth_destination, check_policy_service \
            { inet:127.0.0.1:10040, timeout=14s, default_action=DUNNO }\n";
        assert!(unfolded.contains(recipients), "{hints}");
        assert!(
            unfolded.contains("    smtpd_data_restrictions = check_policy_service {"),
            "{hints}"
        );
    }

    #[test]
    fn no_line_for_postfix_is_longer_than_a_screen_is_wide() {
        let hints = hints();
        let (_, lines) = hints.split_once("can set:").unwrap();
        assert!(lines.lines().all(|line| line.len() <= WIDTH), "{hints}");
        assert!(lines.lines().any(|line| line.starts_with("        ")), "{hints}");
    }
}
