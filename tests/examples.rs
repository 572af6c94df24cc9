//! The examples, and the guide that quotes them.

#[path = "../examples/size_limit/engine.rs"]
mod size_limit;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use mppd::config::{ConfigurationFile, LoadRequest, load};
use mppd_engine::slog::{Discard, Logger, o};
use mppd_engine::{BuildContext, kind};

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::PolicyRequest;
use size_limit::SizeLimit;

const GUIDE: &str = include_str!("../docs/writing-an-engine.md");

fn example(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/size_limit").join(file)
}

/// The blocks of the guide in one language.
fn blocks(language: &str) -> Vec<&'static str> {
    let opening = format!("```{language}\n");
    let pieces = GUIDE.split(opening.as_str()).skip(1);
    pieces.map(|piece| piece.split_once("```").map_or(piece, |(block, _)| block)).collect()
}

#[test]
fn the_guide_quotes_the_example() {
    let read = |file| std::fs::read_to_string(example(file)).unwrap();
    for (language, files) in [("rust", &["engine.rs", "main.rs"][..]), ("xml", &["mppd.conf.xml"])]
    {
        let blocks = blocks(language);
        assert!(!blocks.is_empty(), "{language}");
        for block in blocks {
            let is_quoted = files.iter().any(|file| read(file).contains(block));
            assert!(is_quoted, "not in {files:?}:\n{block}");
        }
    }
}

#[test]
fn the_configuration_of_the_example_builds_its_engine() {
    let file = ConfigurationFile::Path(example("mppd.conf.xml"));
    let request = LoadRequest { file, environment: BTreeMap::new(), set: Vec::new() };
    let configuration = load(&request).unwrap();
    let logger = Logger::root(Discard, o!());
    let mut cx = BuildContext::new(&configuration.sources, logger);
    let [element] = configuration.engines.as_slice() else { panic!("one engine") };
    let built = kind::<SizeLimit>().build(element, &mut cx).unwrap();
    assert_eq!(built.len(), 1);
    assert_eq!(cx.into_warnings(), []);
}

#[test]
fn the_example_runs_in_a_program_of_its_own() {
    let program = Path::new(env!("CARGO_BIN_EXE_mppd")).with_file_name("examples/size_limit");
    assert!(program.exists(), "build it first: cargo build --example size_limit");
    let daemon = Daemon::start(Settings {
        program: Some(program),
        checks: "size_limit".into(),
        engines: r#"<size_limit limit="1MiB"/>"#.into(),
        ..Settings::default()
    });
    let mut client = daemon.connect();
    let mut ask =
        |size: &str| client.ask(&PolicyRequest::new().set("size", size).octets()).unwrap();
    assert_eq!(ask("1048577"), "552 5.3.4 too large a message");
    assert_eq!(ask("1048576"), "DUNNO");
}
