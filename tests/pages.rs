//! Configurations in the guides of which no transcript asks: `mppd check` finds nothing to say.

use std::fs;
use std::path::Path;

use crate::harness::command::Call;
use crate::harness::transcript::{Scenario, scenarios};

fn report(scenario: &Scenario) -> String {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mppd.conf.xml");
    fs::write(&file, &scenario.configuration).unwrap();
    for (name, text) in &scenario.files {
        let path = directory.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }
    let said = Call::new(["check", "--deny-warnings"]).with(&file).run();
    if said.code == Some(0) { String::new() } else { said.err }
}

#[test]
fn the_examples_of_engines_that_ask_others_are_sound() {
    for engine in ["boorex", "delegate", "http", "ldap"] {
        let page = format!("docs/engines/{engine}.md");
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(page);
        let scenarios = scenarios(&fs::read_to_string(page).unwrap()).unwrap_or_default();
        assert!(!scenarios.is_empty(), "the page of {engine} has lost its example");
        for scenario in scenarios {
            assert_eq!(report(&scenario), "", "{}", scenario.configuration);
        }
    }
}

#[test]
fn the_examples_of_the_state_stores_are_sound() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/state_store.md");
    let scenarios = scenarios(&fs::read_to_string(page).unwrap()).unwrap_or_default();
    assert!(scenarios.len() >= 4, "the page has lost its examples");
    for scenario in scenarios {
        assert_eq!(report(&scenario), "", "{}", scenario.configuration);
    }
}
