//! The guides: every configuration in them is one that `mppd check` accepts, every command is run,
//! every link leads somewhere. What is asked and answered in them is run by `transcripts`.

mod checkout;
mod claims;
mod commands;
mod extracts;
mod links;
mod shown;
mod terminal;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use crate::harness::command::Call;
use crate::harness::transcript::{Scenario, scenarios};

/// The directory of the project.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every page that people read, relative to the directory of the project.
fn pages() -> Vec<PathBuf> {
    let mut pages: Vec<PathBuf> = ["README.md", "CONTRIBUTING.md"].map(PathBuf::from).into();
    for directory in ["docs", "docs/engines", "docs/modules"] {
        for entry in fs::read_dir(root().join(directory)).unwrap() {
            let name = entry.unwrap().file_name();
            let page = Path::new(directory).join(name);
            if page.extension().is_some_and(|extension| extension == "md") {
                pages.push(page);
            }
        }
    }
    pages.sort();
    pages
}

fn text(page: &Path) -> String {
    fs::read_to_string(root().join(page)).unwrap()
}

/// A fenced block of a page.
pub(crate) struct Block {
    pub(crate) page: PathBuf,
    line: usize,
    /// The words behind the fence.
    pub(crate) info: Vec<String>,
    pub(crate) text: String,
}

impl Block {
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.page.display(), self.line)
    }

    /// Whether it stands behind a fence with exactly these words.
    pub(crate) fn is(&self, info: &[&str]) -> bool {
        self.info == info
    }

    /// Its commands: without comments, and with what a backslash continues in one.
    pub(crate) fn commands(&self) -> Vec<String> {
        let joined = self.text.replace("\\\n", " ");
        let bare = |line: &str| line.split(" #").next().unwrap_or_default().trim().to_owned();
        joined.lines().map(bare).filter(|line| !line.is_empty()).collect()
    }
}

/// How a block is run that needs something of its own: on which page it stands, how it begins, and
/// what is done with it.
pub(crate) struct Act<Run> {
    pub(crate) page: &'static str,
    pub(crate) begins: &'static str,
    pub(crate) run: Run,
}

impl<Run> Act<Run> {
    pub(crate) fn is_of(&self, block: &Block) -> bool {
        block.page == Path::new(self.page) && block.text.starts_with(self.begins)
    }

    /// The block, which is announced as it is about to be run.
    pub(crate) fn block(&self) -> Block {
        let block = every_block().into_iter().find(|block| self.is_of(block));
        let block = block.unwrap_or_else(|| panic!("{}: no block {}", self.page, self.begins));
        eprintln!("{}: {}", block.place(), block.text.trim_end());
        block
    }
}

/// Every block of every page in this language.
fn blocks(language: &str) -> Vec<Block> {
    let mut blocks = every_block();
    blocks.retain(|block| block.info.first().is_some_and(|word| word == language));
    blocks
}

/// Every block of every page.
pub(crate) fn every_block() -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    for page in pages() {
        let mut open = false;
        for (index, line) in text(&page).lines().enumerate() {
            let trimmed = line.trim_start();
            match trimmed.strip_prefix("```") {
                Some(_) if open => open = false,
                Some(info) => {
                    open = true;
                    let info = info.split_whitespace().map(str::to_owned).collect();
                    let (page, line) = (page.clone(), index + 1);
                    blocks.push(Block { page, line, info, text: String::new() });
                }
                None if open => {
                    if let Some(block) = blocks.last_mut() {
                        block.text.push_str(line);
                        block.text.push('\n');
                    }
                }
                None => {}
            }
        }
    }
    blocks
}

/// What `mppd check` says against a configuration with these files beside it.
fn faults(configuration: &str, files: &[(String, String)], strict: bool) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mppd.conf.xml");
    fs::write(&file, configuration).unwrap();
    for (name, text) in files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        // Some are secrets.
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let arguments: &[&str] = if strict { &["check", "--deny-warnings"] } else { &["check"] };
    // Pages that say where a secret can stand name this one.
    let call = Call::new(arguments).environment("DATABASE_PASSWORD", "secret");
    let said = call.with(&file).run();
    if said.code == Some(0) { String::new() } else { said.err }
}

fn report(scenario: &Scenario) -> String {
    faults(&scenario.configuration, &scenario.files, true)
}

#[test]
fn the_examples_of_engines_that_ask_others_are_sound() {
    for engine in ["boorex", "delegate", "http", "ldap"] {
        let page = format!("docs/engines/{engine}.md");
        let scenarios = scenarios(&text(Path::new(&page))).unwrap_or_default();
        assert!(!scenarios.is_empty(), "the page of {engine} has lost its example");
        for scenario in scenarios {
            assert_eq!(report(&scenario), "", "{}", scenario.configuration);
        }
    }
}

#[test]
fn the_examples_of_the_state_stores_are_sound() {
    let scenarios = scenarios(&text(Path::new("docs/state_store.md"))).unwrap_or_default();
    assert!(scenarios.len() >= 4, "the page has lost its examples");
    for scenario in scenarios {
        assert_eq!(report(&scenario), "", "{}", scenario.configuration);
    }
}
