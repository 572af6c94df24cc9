//! What mppd(8) says of the command line, from its declaration.

use clap::{Arg, ArgAction, Command};

use super::sheet::Sheet;

const DESCRIPTION: [&str; 2] = [
    "`mppd` is asked by Postfix over the policy delegation protocol (`check_policy_service`) what to do with a \
     client, a sender, a recipient or a message. It runs the request through a chain of engines that the \
     configuration wires, answers with an action, and puts every request and every decision on record in \
     MySQL, MariaDB or SQLite.",
    "Without a command it does what `mppd run` does.",
];

const SIGNALS: [(&str, &str); 2] = [
    ("`SIGHUP`", "The configuration is read again and put in force, all of it or nothing."),
    (
        "`SIGTERM`, `SIGINT`",
        "No more connections are accepted; requests under way are answered, everything is put on record, \
         and mppd ends. A second one ends it at once.",
    ),
];

const EXIT_STATUS: [(&str, &str); 5] = [
    ("`0`", "All is well, or an orderly end."),
    ("`1`", "Something went wrong, or needs attention."),
    ("`2`", "The command line is faulty."),
    ("`3`", "No server runs that could be asked (`mppd status`, `mppd reload`)."),
    ("`78`", "The configuration is faulty."),
];

const ENVIRONMENT: [(&str, &str); 2] = [
    ("`MPPD_CONFIG`", "The configuration file, unless `--config` names one."),
    (
        "`MPPD_COMMON__...`",
        "Overrides a scalar option of `<common>`: `MPPD_COMMON__LOG__LEVEL=debug` is \
         `<common><log><level>`.",
    ),
];

const FILES: [(&str, &str); 2] = [
    ("`/etc/mppd/mppd.conf.xml`", "The configuration, see `mppd.conf.xml`(5)."),
    (
        "`/var/lib/mppd`",
        "Records and state, where the configuration names it as `<state_directory>`.",
    ),
];

/// Everything but what else is to be read.
pub(super) fn write(sheet: &mut Sheet, command: &Command) {
    let mut command = command.clone();
    command.build();
    let about = command.get_about().map(ToString::to_string).unwrap_or_default();
    sheet.section("Name");
    let about = about.trim_end_matches('.');
    sheet.name(command.get_name(), &about.replacen("A policy", "a policy", 1));
    sheet.section("Synopsis");
    sheet.paragraph(&usage(&command));
    sheet.section("Description");
    for text in DESCRIPTION {
        sheet.paragraph(text);
    }
    sheet.section("Options");
    arguments(sheet, &command, |_| true);
    sheet.section("Commands");
    for inner in commands(&command) {
        subcommand(sheet, inner);
    }
    let parts: [(&str, &[_]); 4] = [
        ("Signals", &SIGNALS),
        ("Exit status", &EXIT_STATUS),
        ("Environment", &ENVIRONMENT),
        ("Files", &FILES),
    ];
    for (heading, terms) in parts {
        sheet.section(heading);
        for (term, about) in terms {
            sheet.term(term, &[about]);
        }
    }
}

fn commands(command: &Command) -> impl Iterator<Item = &Command> {
    let shown = |inner: &&Command| !inner.is_hide_set() && inner.get_name() != "help";
    command.get_subcommands().filter(shown)
}

/// A command with its arguments, and those inside it.
fn subcommand(sheet: &mut Sheet, command: &Command) {
    let name = command.get_bin_name().unwrap_or_else(|| command.get_name());
    sheet.subsection(name);
    sheet.paragraph(&usage(command));
    if let Some(about) = command.get_long_about().or_else(|| command.get_about()) {
        sheet.paragraph(&format!("{}.", about.to_string().trim_end_matches('.')));
    }
    arguments(sheet, command, |argument| !argument.is_global_set());
    for inner in commands(command) {
        subcommand(sheet, inner);
    }
}

/// How the command is called.
fn usage(command: &Command) -> String {
    let usage = command.clone().render_usage().to_string();
    let usage = usage.trim().trim_start_matches("Usage:").trim();
    let lines: Vec<&str> = usage.lines().map(str::trim).collect();
    format!("`{}`", lines.join("`, or `"))
}

fn arguments(sheet: &mut Sheet, command: &Command, wanted: impl Fn(&Arg) -> bool) {
    for argument in command.get_arguments().filter(|argument| !argument.is_hide_set()) {
        let id = argument.get_id().as_str();
        if id == "help" || !wanted(argument) {
            continue;
        }
        let help = argument.get_long_help().or_else(|| argument.get_help());
        let help = help.map(ToString::to_string).unwrap_or_default();
        let help = format!("{}.", help.trim_end_matches('.'));
        let mut about = vec![help];
        about.extend(values(argument));
        about.extend(default(argument));
        let about: Vec<&str> = about.iter().map(String::as_str).collect();
        sheet.term(&term(argument), &about);
    }
}

/// How an argument is written: `-c`, `--config FILE`.
fn term(argument: &Arg) -> String {
    let value = value_names(argument);
    if argument.is_positional() {
        return format!("`{value}`");
    }
    let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    let value = if takes_value { format!(" {value}") } else { String::new() };
    let short = argument.get_short().map(|letter| format!("`-{letter}`"));
    let long = argument.get_long().map(|word| format!("`--{word}{value}`"));
    short.into_iter().chain(long).collect::<Vec<_>>().join(", ")
}

fn value_names(argument: &Arg) -> String {
    match argument.get_value_names() {
        Some(names) => names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" "),
        None => argument.get_id().as_str().to_uppercase(),
    }
}

fn values(argument: &Arg) -> Option<String> {
    let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    let values = argument.get_possible_values();
    if !takes_value || values.is_empty() {
        return None;
    }
    let values = values.iter().filter(|value| !value.is_hide_set()).map(|value| {
        let help = value.get_help().map(|help| format!(" ({help})")).unwrap_or_default();
        format!("`{}`{help}", value.get_name())
    });
    Some(format!("One of: {}.", values.collect::<Vec<_>>().join(", ")))
}

fn default(argument: &Arg) -> Option<String> {
    let takes_value = matches!(argument.get_action(), ArgAction::Set | ArgAction::Append);
    let values: Vec<_> =
        argument.get_default_values().iter().map(|it| it.to_string_lossy()).collect();
    (takes_value && !values.is_empty()).then(|| format!("Unless given: `{}`.", values.join(" ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(command: &Command) -> String {
        let mut sheet = Sheet::new("mppd", "8", "2026-01-31", "mppd");
        write(&mut sheet, command);
        sheet.finish()
    }

    #[test]
    fn every_command_stands_with_its_arguments_and_what_they_may_be() {
        let argument =
            Arg::new("to").long("to").value_name("WHOM").default_value("-x").help("Whom");
        let kind = Arg::new("kind").value_parser(["one", "two"]).help("Of which kind");
        let inner = Command::new("inner").about("Does it").arg(argument).arg(kind);
        let hidden = Command::new("secret").hide(true);
        let outer = Command::new("outer").subcommand(inner).subcommand(hidden);
        let page = page(&Command::new("mppd").subcommand(outer));
        assert!(page.contains(".SS \"mppd outer inner\"\n"), "{page}");
        assert!(
            page.contains("\n\\fB\\-\\-to WHOM\\fR\nWhom.\n.br\nUnless given: \\fB\\-x\\fR.\n")
        );
        assert!(
            page.contains(
                "\n\\fBKIND\\fR\nOf which kind.\n.br\nOne of: \\fBone\\fR, \\fBtwo\\fR.\n"
            )
        );
        assert!(!page.contains("secret"));
    }
}
