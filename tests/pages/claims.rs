//! That nothing in the guides goes unproved: each block has exactly one runner, whatever its language
//! and whatever it needs.

use std::path::Path;

use super::{Block, checkout, commands, every_block, extracts, terminal, text};
use crate::harness::transcript::scenarios;

/// How many times a block is somebody's.
type Runs = fn(&Block) -> usize;

/// Who proves blocks.
const RUNNERS: [(&str, Runs); 9] = [
    ("pages::commands", |block| usize::from(commands::runs(block))),
    ("pages::terminal", terminal::runs),
    ("pages::checkout", checkout::runs),
    ("package::guides", crate::package::guides::runs),
    ("pages::shown", super::shown::runs),
    ("pages::extracts", |block| usize::from(extracts::reads(block))),
    ("transcripts", |block| usize::from(is_of_a_scenario(block))),
    ("examples", |block| usize::from(is_of_the_example(block))),
    ("their sources", |block| COPIES.iter().filter(|copy| copy.is_of(block)).count()),
];

/// A block that another test compares with where it comes from.
struct Copy {
    page: &'static str,
    language: &'static str,
    begins: &'static str,
}

impl Copy {
    fn is_of(&self, block: &Block) -> bool {
        block.page == Path::new(self.page)
            && block.is(&[self.language])
            && block.text.starts_with(self.begins)
    }
}

const COPIES: [Copy; 4] = [
    // `the_grammar_in_the_documentation_is_this_one`
    Copy { page: "docs/language.md", language: "ebnf", begins: "(* Templates *)" },
    // `the_page_in_the_documentation_is_current`
    Copy { page: "docs/reference.md", language: "text", begins: "protocol_state=RCPT" },
    // Lines of other machines: `connect` has every kind of them from real ones.
    Copy { page: "docs/operations.md", language: "text", begins: "failed  tracking of default" },
    // Rules of postfwd, in words: what they come to is in the transcript of the same page.
    Copy { page: "docs/coming-from.md", language: "text", begins: "id=OWN;" },
];

/// What a page shows of a scenario.
fn is_of_a_scenario(block: &Block) -> bool {
    let Ok(scenarios) = scenarios(&text(&block.page)) else { return false };
    !scenarios.is_empty()
        && match block.info.iter().map(String::as_str).collect::<Vec<&str>>()[..] {
            ["xml"] => block.text.starts_with("<mppd>"),
            ["transcript" | "zone" | "ldif" | "http" | "sql"] => true,
            [_, file] => {
                file.starts_with("file=")
                    || file.starts_with("server=")
                    || file.starts_with("host=")
            }
            _ => false,
        }
}

fn is_of_the_example(block: &Block) -> bool {
    let is_quoted = block.is(&["rust"]) || block.is(&["xml"]);
    block.page == Path::new(extracts::OF_THE_EXAMPLE) && is_quoted
}

#[test]
fn every_block_is_run_by_exactly_one_of_those_who_run_blocks() {
    let mut wrong = Vec::new();
    for block in every_block() {
        let claims = RUNNERS.iter().map(|(name, runs)| (name, runs(&block)));
        let claims: Vec<_> = claims.filter(|(_, count)| *count > 0).collect();
        if claims.iter().map(|(_, count)| count).sum::<usize>() != 1 {
            wrong.push(format!("{}: {:?} {claims:?}", block.place(), block.info));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn commands_and_configurations_stand_in_blocks() {
    let mut wrong = Vec::new();
    for page in super::pages() {
        let mut is_open = false;
        for (index, line) in text(&page).lines().enumerate() {
            is_open ^= line.trim_start().starts_with("```");
            if !is_open && line.starts_with("    ") && !line.trim().is_empty() {
                wrong.push(format!("{}:{}: {line}", page.display(), index + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
