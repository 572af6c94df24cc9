//! `mppd postfix`: what `main.cf` must say so that Postfix asks, and setting it.

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::{Settings, print_text, refuse};
use crate::log;
use crate::plan::Plan;
use crate::postfix::{Advice, MainCf, MainCfError, Setting, advice};

/// Options of `mppd postfix`.
#[derive(Debug, Args)]
pub(super) struct PostfixArguments {
    /// Shows what would change in main.cf, asks, and changes it
    #[arg(long)]
    apply: bool,
    /// With --apply: does not ask
    #[arg(long, requires = "apply")]
    yes: bool,
    /// The configuration directory of Postfix, unless it is the one that Postfix takes itself
    #[arg(long, value_name = "DIRECTORY")]
    config_directory: Option<PathBuf>,
    /// Prints one JSON object
    #[arg(long, conflicts_with = "apply")]
    json: bool,
}

#[derive(Debug, thiserror::Error)]
enum PostfixError {
    #[error(transparent)]
    MainCf(#[from] MainCfError),
    #[error("nothing was changed: nobody is there to ask; --yes changes it without asking")]
    Nobody,
    #[error("can't ask: {0}")]
    Ask(#[from] io::Error),
    #[error("can't print: {0}")]
    Json(#[from] serde_json::Error),
}

pub(super) fn run(settings: &Settings, arguments: &PostfixArguments) -> ExitCode {
    let plan = match Plan::load(&settings.load_request(), &settings.kinds, &log::silent()) {
        Ok(plan) => plan,
        Err(rejected) => return refuse(&rejected),
    };
    let done = if arguments.apply { apply(&plan, arguments) } else { print(&plan, arguments) };
    done.unwrap_or_else(|error| {
        eprintln!("mppd postfix: {error}");
        ExitCode::FAILURE
    })
}

fn print(plan: &Plan, arguments: &PostfixArguments) -> Result<ExitCode, PostfixError> {
    let (main_cf, remark) = match MainCf::read(arguments.config_directory.as_deref()) {
        Ok(main_cf) => (main_cf, None),
        // Postfix may be on another machine. Whoever names a directory means one that is here.
        Err(error) if arguments.config_directory.is_none() => {
            let remark =
                format!("This is for a main.cf in which nothing is set yet, because {error}.");
            (MainCf::untouched(), Some(remark))
        }
        Err(error) => return Err(error.into()),
    };
    let mut advice = advice(plan, &main_cf);
    advice.remarks.extend(remark);
    if arguments.json {
        return Ok(print_text(&format!("{}\n", serde_json::to_string(&advice)?)));
    }
    let mut text = remarks(&advice);
    for setting in &advice.settings {
        let state = if setting.is_new() { "" } else { " It is set so already." };
        text.push_str(&comment(&format!("{}{state}", setting.why)));
        text.extend([setting.name, " = ", &setting.value, "\n\n"]);
    }
    Ok(print_text(&format!("{}\n", text.trim_end())))
}

fn apply(plan: &Plan, arguments: &PostfixArguments) -> Result<ExitCode, PostfixError> {
    let main_cf = MainCf::read(arguments.config_directory.as_deref())?;
    let advice = advice(plan, &main_cf);
    let new: Vec<Setting> =
        advice.settings.iter().filter(|setting| setting.is_new()).cloned().collect();
    print_text(&remarks(&advice));
    if new.is_empty() {
        print_text("main.cf is as it should be; nothing is to be changed.\n");
        return Ok(ExitCode::SUCCESS);
    }
    print_text(&difference(&new));
    if !arguments.yes && !is_wanted()? {
        print_text("Nothing was changed.\n");
        return Ok(ExitCode::FAILURE);
    }
    main_cf.apply(&new)?;
    print_text("main.cf is changed; \"postfix reload\" puts it in force.\n");
    Ok(ExitCode::SUCCESS)
}

/// What changes, as diff(1) shows it.
fn difference(settings: &[Setting]) -> String {
    let is_terminal = io::stdout().is_terminal();
    let (minus, plus) = if is_terminal { ("\x1b[31m-", "\x1b[32m+") } else { ("-", "+") };
    let end = if is_terminal { "\x1b[0m\n" } else { "\n" };
    let mut text = String::new();
    for Setting { name, value, present, why } in settings {
        text.push_str(&comment(why));
        text.extend([minus, name, " = ", present, end]);
        text.extend([plus, name, " = ", value, end]);
    }
    text
}

fn is_wanted() -> Result<bool, PostfixError> {
    if !io::stdin().is_terminal() {
        return Err(PostfixError::Nobody);
    }
    print_text("Change main.cf like this? [y/N] ");
    io::stdout().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn remarks(advice: &Advice) -> String {
    advice.remarks.iter().map(|remark| comment(&format!("NOTE: {remark}")) + "\n").collect()
}

/// A text as comments of `main.cf`, in lines that fit on a screen.
fn comment(text: &str) -> String {
    const WIDTH: usize = 78;
    let mut lines = vec!["#".to_owned()];
    for word in text.split_whitespace() {
        if let Some(line) = lines.last_mut()
            && (line.len() + 1 + word.len() <= WIDTH || line.len() == 1)
        {
            line.push(' ');
            line.push_str(word);
            continue;
        }
        lines.push(format!("# {word}"));
    }
    lines.join("\n") + "\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_reasons_are_comments_in_every_line() {
        let text = comment(&"word ".repeat(40));
        assert!(text.lines().all(|line| line.starts_with("# word") && line.len() <= 78), "{text}");
        assert_eq!(text.matches("word").count(), 40);
    }
}
