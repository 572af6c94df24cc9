//! Every page of `tests/transcripts` and of the guides, asked and answered by the real server.

use std::path::{Path, PathBuf};

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::{PolicyRequest, fresh_instance};
use crate::harness::transcript::{Question, Scenario, scenarios};

fn octets(question: &Question) -> Vec<u8> {
    let attributes = question.attributes.iter();
    let request = attributes.fold(PolicyRequest::empty(), |request, (n, v)| request.set(n, v));
    let has_instance = question.attributes.iter().any(|(name, _)| name == "instance");
    let request = if has_instance { request } else { request.set("instance", fresh_instance()) };
    request.octets()
}

/// What a scenario's answers are that should be others.
fn wrong_answers(page: &Path, scenario: Scenario) -> Vec<String> {
    let Scenario { configuration, files, questions } = scenario;
    let settings = Settings { whole: Some(configuration), files, ..Settings::default() };
    let daemon = Daemon::start(settings);
    let mut client = daemon.connect();
    let mut wrong = Vec::new();
    for question in questions {
        let answer = client.ask(&octets(&question)).unwrap();
        if answer != question.answer {
            let (place, line) = (page.display(), question.line);
            wrong.push(format!("{place}:{line}: {answer}, not {}", question.answer));
        }
    }
    wrong
}

fn pages() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directories = ["tests/transcripts", "docs"].map(|name| root.join(name));
    let files = directories.iter().flat_map(|directory| std::fs::read_dir(directory).unwrap());
    let mut pages: Vec<PathBuf> = files.map(|entry| entry.unwrap().path()).collect();
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    pages
}

#[test]
fn every_page_gives_the_answers_that_it_shows() {
    let mut asked = 0;
    let mut wrong = Vec::new();
    for page in pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        let scenarios = scenarios(&text).unwrap_or_else(|e| panic!("{}: {e}", page.display()));
        for scenario in scenarios.into_iter().filter(|scenario| !scenario.questions.is_empty()) {
            asked += scenario.questions.len();
            wrong.extend(wrong_answers(&page, scenario));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(asked > 0, "no page asks anything");
}
