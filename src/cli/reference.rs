//! `mppd reference`: the reference, or one part of it, for people on a terminal and as Markdown.

use std::io::{self, IsTerminal as _};
use std::process::ExitCode;

use clap::Args;

use super::table::table;
use super::{Settings, print_text};
use crate::reference::{self, Block, Document};

/// Parts of the reference that are no engines.
pub(super) const MACROS: &str = "macros";
pub(super) const METRICS: &str = "metrics";
pub(super) const OPTIONS: &str = "options";

/// Options of `mppd reference`.
#[derive(Debug, Args)]
pub(super) struct ReferenceArguments {
    /// Only this part of it: that of one kind of engine, `macros`, `metrics`, or the `options`
    /// outside the engines and those that every engine has
    part: Option<String>,
    /// Prints one JSON object: the headings, and what stands below each
    #[arg(long)]
    json: bool,
}

pub(super) fn run(settings: &Settings, arguments: &ReferenceArguments) -> ExitCode {
    let kinds = &settings.kinds;
    let document = match arguments.part.as_deref() {
        None => reference::whole(kinds),
        Some(MACROS) => reference::macros(),
        Some(METRICS) => reference::metrics(),
        Some(OPTIONS) => reference::options(),
        // Any other was no possible value.
        Some(name) => match kinds.iter().find(|kind| kind.name() == name) {
            Some(kind) => reference::engine(*kind),
            None => return ExitCode::FAILURE,
        },
    };
    if arguments.json {
        return print_text(&format!("{}\n", document.json()));
    }
    let is_terminal = io::stdout().is_terminal();
    print_text(&if is_terminal { for_people(&document) } else { document.markdown() })
}

/// The document with framed tables and bold headings.
fn for_people(document: &Document) -> String {
    let pieces: Vec<String> = document.blocks().iter().map(block).collect();
    pieces.join("\n")
}

fn block(block: &Block) -> String {
    let plain = |text: &str| text.replace('`', "");
    match block {
        Block::Heading(_, text) => format!("\x1b[1m{}\x1b[0m\n", plain(text)),
        Block::Paragraph(text) => format!("{}\n", plain(text.trim_end())),
        Block::Code(text) => {
            let lines: Vec<String> = text.lines().map(|line| format!("    {line}\n")).collect();
            lines.concat()
        }
        Block::Table(content) => {
            let mut framed = table(true);
            framed.set_header(content.columns.iter().map(|column| plain(column)));
            for row in &content.rows {
                framed.add_row(row.iter().map(|cell| plain(cell)));
            }
            format!("{framed}\n")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_see_frames_and_no_marks_of_markdown() {
        let text = for_people(&reference::options());
        assert!(text.contains("\x1b[1mcommon.policy_server\x1b[0m\n"));
        assert!(text.contains('┌') && !text.contains("| --- |") && !text.contains('`'));
    }
}
