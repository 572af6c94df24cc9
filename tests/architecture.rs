//! The map of the house: what may know of what, and whether `CONTRIBUTING.md` names every room.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The files of Rust in a place, which is a file or a directory.
fn sources(place: &Path) -> Vec<PathBuf> {
    if place.is_file() {
        return vec![place.to_owned()];
    }
    let entries = std::fs::read_dir(place).unwrap().map(|entry| entry.unwrap().path());
    let found: Vec<PathBuf> = entries
        .filter(|path| path.is_dir() || path.extension().is_some_and(|ending| ending == "rs"))
        .flat_map(|path| sources(&path))
        .collect();
    found
}

/// The names that follow a prefix in a text: those of modules behind `crate::`, say.
fn behind<'a>(text: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_';
    text.match_indices(prefix).map(move |(at, _)| {
        let rest = &text[at + prefix.len()..];
        rest.split(|letter| !is_name(letter)).next().unwrap_or_default()
    })
}

/// The modules of the server that a part of it names, tests included.
fn modules_named_in(place: &str) -> BTreeSet<String> {
    let files = sources(&root().join(place));
    assert!(!files.is_empty(), "{place}");
    let texts = files.iter().map(|file| std::fs::read_to_string(file).unwrap());
    let mut named = BTreeSet::new();
    for text in texts {
        // A list in braces would hide what it names; `use` stands on lines of its own.
        assert!(!text.contains("use crate::{"), "{place}: write `use crate::…` line by line");
        named.extend(behind(&text, "crate::").map(str::to_owned));
    }
    named
}

/// The crates of this workspace that a crate depends on, in tests or otherwise.
fn crates_wanted_by(place: &str) -> BTreeSet<String> {
    let manifest = read(&format!("{place}/Cargo.toml"));
    let lines = manifest.lines().filter(|line| line.starts_with("mppd"));
    let names = lines.filter_map(|line| line.split(['.', ' ', '=']).next());
    names.map(str::to_owned).collect()
}

fn set(words: &[&str]) -> BTreeSet<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn every_crate_depends_on_those_below_it_only() {
    for (place, below) in [
        ("engines/api", &[][..]),
        ("database", &["mppd-engine"]),
        ("dns", &["mppd-engine", "mppd-dns"]),
        ("lists", &["mppd-engine"]),
        ("state", &["mppd-engine", "mppd-database"]),
        ("engines", &["mppd-engine", "mppd-database", "mppd-dns", "mppd-lists", "mppd-state"]),
    ] {
        let wanted = crates_wanted_by(place);
        assert!(wanted.is_subset(&set(below)), "{place} wants {wanted:?}");
        for file in sources(&root().join(place)) {
            let text = std::fs::read_to_string(&file).unwrap();
            assert_eq!(behind(&text, "use mppd::").next(), None, "{}", file.display());
        }
    }
}

#[test]
fn the_wire_knows_nothing_of_chains() {
    // Only itself: no other part of the server.
    let named = modules_named_in("src/policy");
    assert!(named.is_subset(&set(&["policy"])), "{named:?}");
}

#[test]
fn the_records_know_nothing_of_checks() {
    let named = modules_named_in("src/tracking");
    let known = set(&["config", "log", "metrics", "tracking"]);
    assert!(named.is_subset(&known), "{named:?}");
    for file in sources(&root().join("src/tracking")) {
        let text = std::fs::read_to_string(&file).unwrap();
        assert!(!text.contains("mppd_engines"), "{}", file.display());
    }
}

#[test]
fn the_configuration_is_read_without_the_server() {
    let named = modules_named_in("src/config");
    assert!(named.is_subset(&set(&["config"])), "{named:?}");
}

/// The folders of the first level in the repository.
fn folders() -> BTreeSet<String> {
    let listed = Command::new("git").args(["ls-files"]).current_dir(root()).output().unwrap();
    assert!(listed.status.success(), "{}", String::from_utf8_lossy(&listed.stderr));
    let listed = String::from_utf8(listed.stdout).unwrap();
    let folders = listed.lines().filter_map(|path| path.split_once('/'));
    folders.map(|(folder, _)| folder.to_owned()).filter(|folder| !folder.starts_with('.')).collect()
}

/// The paths that the map names.
fn named_places(map: &str) -> Vec<&str> {
    let rows = map.lines().filter(|line| line.starts_with("| `"));
    let places = rows.flat_map(|row| row.split('`').skip(1).step_by(2));
    places.filter(|place| place.contains('/') && !place.starts_with("./")).collect()
}

#[test]
fn the_map_names_every_folder_and_nothing_else() {
    let map = read("CONTRIBUTING.md");
    let places = named_places(&map);
    for place in &places {
        // What is built, and not there before.
        if !place.starts_with("target/") && !place.starts_with('/') {
            assert!(root().join(place).exists(), "CONTRIBUTING.md names {place}");
        }
    }
    let folders = folders();
    assert!(folders.len() > 5, "{folders:?}");
    for folder in folders {
        let is_named = places.iter().any(|place| place.split('/').next() == Some(&folder));
        assert!(is_named, "CONTRIBUTING.md does not name {folder}/");
    }
}

#[test]
fn every_module_of_the_server_is_told_of() {
    let lib = read("src/lib.rs");
    let declared = lib.lines().filter_map(|line| line.strip_prefix("pub mod "));
    let declared: Vec<&str> = declared.map(|line| line.trim_end_matches(';')).collect();
    assert!(declared.len() > 20, "{declared:?}");
    let table: Vec<&str> = lib.lines().filter(|line| line.starts_with("//! | ")).collect();
    for module in declared {
        let names = [format!("[`{module}`]"), format!("[`mod@{module}`]"), format!("`{module}`")];
        let is_told = table.iter().any(|row| names.iter().any(|name| row.contains(name)));
        assert!(is_told, "src/lib.rs does not tell of {module}");
    }
}

#[test]
fn every_room_begins_with_its_paragraph() {
    let places = ["src", "engines", "database", "dns", "lists", "state", "tests", "benches"];
    let files = places.into_iter().flat_map(|place| sources(&root().join(place)));
    let bare: Vec<String> = files
        .filter(|file| !std::fs::read_to_string(file).unwrap().starts_with("//!"))
        .map(|file| file.strip_prefix(root()).unwrap().display().to_string())
        .collect();
    assert!(bare.is_empty(), "without a paragraph: {bare:#?}");
}
