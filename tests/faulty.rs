//! Every faulty configuration of `tests/faulty`, and the report that `mppd check` gives of it.
//!
//! Each directory holds one: `mppd.conf.xml`, the files that it names, and `report.txt`, which the
//! command must print octet for octet. `MPPD_WRITE_REPORTS=1 cargo test --test main faulty` writes
//! the reports anew; read what has changed as an administrator would.

use std::path::{Path, PathBuf};

use crate::harness::command::Call;

/// How many there are at least, so that none gets lost.
const LEAST: usize = 60;

const CONFIGURATION_ERROR: i32 = 78;

fn directories() -> Vec<PathBuf> {
    let all = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/faulty");
    let mut directories: Vec<PathBuf> =
        std::fs::read_dir(all).unwrap().map(|entry| entry.unwrap().path()).collect();
    directories.sort();
    directories
}

/// What `mppd check` prints, started in the directory.
fn report(directory: &Path) -> String {
    let call = Call::new(["check", "--deny-warnings"]).within(directory);
    let said = call.with(Path::new("mppd.conf.xml")).run();
    assert_eq!(said.code, Some(CONFIGURATION_ERROR), "{}: {}", directory.display(), said.err);
    assert_eq!(said.out, "", "{}", directory.display());
    said.err
}

#[test]
fn every_faulty_configuration_gets_its_report() {
    let directories = directories();
    assert!(directories.len() >= LEAST, "there are only {}", directories.len());
    let writes = std::env::var_os("MPPD_WRITE_REPORTS").is_some();
    let mut others = Vec::new();
    for directory in directories {
        let report = report(&directory);
        let file = directory.join("report.txt");
        if writes {
            std::fs::write(&file, &report).unwrap();
            continue;
        }
        let expected = std::fs::read_to_string(&file).unwrap_or_default();
        if report != expected {
            let name = directory.file_name().unwrap_or_default().display();
            others.push(format!("{name}: expected\n{expected}\nbut it is\n{report}"));
        }
    }
    assert!(others.is_empty(), "{}", others.join("\n"));
}
