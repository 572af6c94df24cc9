//! Commands of the pages for who has the sources. What builds is built when tests run, so `cargo run`
//! is the program that is there; what takes its time is what CI runs anyway.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Act, Block, root, text};
use crate::harness::terminal::{CTRL_C, Terminal};

const ACTS: [Act<fn(&Block)>; 5] = [
    Act { page: "README.md", begins: "cargo run --release\n", run: the_server_says_what_is_next },
    Act { page: "README.md", begins: "./test\n", run: scripts_know_what_they_are_told },
    Act { page: "CONTRIBUTING.md", begins: "cargo run", run: scripts_know_what_they_are_told },
    Act { page: "docs/performance.md", begins: "cargo run", run: records_are_made },
    Act { page: "docs/writing-an-engine.md", begins: "$ cargo run", run: the_example_answers },
];

/// How many acts run a block.
pub(super) fn runs(block: &Block) -> usize {
    ACTS.iter().filter(|act| act.is_of(block)).count()
}

#[test]
fn what_the_pages_have_whoever_has_the_sources_do_does_what_it_should() {
    for act in ACTS {
        (act.run)(&act.block());
    }
}

/// The program that `cargo run` runs with these arguments, and what it is told.
fn built(command: &str) -> (PathBuf, Vec<String>) {
    let mut words = command.strip_prefix("cargo run").expect("cargo run").split_whitespace();
    let program = Path::new(env!("CARGO_BIN_EXE_mppd"));
    let mut built = program.to_owned();
    while let Some(word) = words.next() {
        match word {
            "--release" => {}
            "--example" => built = program.with_file_name("examples").join(words.next().unwrap()),
            "--" => break,
            other => panic!("{other}?"),
        }
    }
    assert!(built.exists(), "build {} first: cargo build --examples", built.display());
    (built, words.map(str::to_owned).collect())
}

/// The directory of the project as a server may use it, in a network in which nobody else has the
/// ports of the pages.
struct Apart {
    directory: tempfile::TempDir,
    terminal: Terminal,
}

impl Apart {
    fn start(command: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for part in ["conf", "examples"] {
            let from = root().join(part);
            let copied = Command::new("cp").arg("-r").arg(from).arg(directory.path()).status();
            assert!(copied.unwrap().success());
        }
        let (program, arguments) = built(command);
        let mut shell = Terminal::command("unshare");
        shell.args(["--net", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"]);
        shell.arg(program).args(arguments);
        told_by_cargo(&mut shell).current_dir(directory.path());
        Apart { directory, terminal: Terminal::start(shell) }
    }

    /// What another command says there.
    fn run(&self, program: &str, arguments: &[String]) -> String {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.terminal.pid())).arg(program);
        command.args(arguments).current_dir(self.directory.path());
        let output = told_by_cargo(&mut command).output().unwrap();
        let said = [output.stdout.as_slice(), &output.stderr].concat();
        String::from_utf8_lossy(&said).into_owned()
    }

    fn end(mut self) {
        self.terminal.type_in(CTRL_C);
        assert_eq!(self.terminal.end(), Some(0), "{}", self.terminal.screen());
    }
}

/// As cargo sets it.
fn told_by_cargo(command: &mut Command) -> &mut Command {
    let settings = text(Path::new(".cargo/config.toml"));
    let is_told =
        settings.contains("MPPD_CONFIG = { value = \"conf/mppd.conf.xml\", relative = true }");
    assert!(is_told, "{settings}");
    command.env("MPPD_CONFIG", "conf/mppd.conf.xml")
}

fn the_server_says_what_is_next(block: &Block) {
    let commands = block.commands();
    let [command] = commands.as_slice() else { panic!("other commands: {commands:?}") };
    let mut server = Apart::start(command);
    server.terminal.wait_for("mppd answers at inet:127.0.0.1:10040");
    server.terminal.wait_for("Ask it something, from another terminal:");
    server.terminal.wait_for("Have Postfix ask it");
    let screen = server.terminal.screen();
    let (_, hint) = screen.split_once("from another terminal:").unwrap();
    let hint = hint.trim_start().split("\r\n    ").collect::<Vec<&str>>();
    let ask = format!("{} {}", hint[0].trim_end_matches('\\'), hint[1].trim());
    let answer = server.run("sh", &["-c".to_owned(), ask]);
    assert!(answer.contains("action=REJECT Your host is on the black list"), "{answer}{screen}");
    assert!(server.directory.path().join("var/requests.sqlite").exists());
    server.end();
}

fn the_example_answers(block: &Block) {
    let commands = block.commands();
    let [start, ask] = commands.as_slice() else { panic!("other commands: {commands:?}") };
    let [start, ask] = [start, ask].map(|command| command.strip_prefix("$ ").unwrap());
    let mut server = Apart::start(start);
    server.terminal.wait_for("mppd answers at");
    server.terminal.wait_for("Have Postfix ask it");
    let (program, arguments) = built(ask);
    let answer = server.run(program.to_str().unwrap(), &arguments);
    assert!(answer.contains("action=552 5.3.4 too large for mail"), "{answer}");
    server.end();
}

fn records_are_made(block: &Block) {
    let commands = block.commands();
    let [command] = commands.as_slice() else { panic!("other commands: {commands:?}") };
    let (program, mut arguments) = built(command);
    let count = arguments.iter().position(|word| word == "10000000").expect("ten million");
    "1000".clone_into(&mut arguments[count]);
    let directory = tempfile::tempdir().unwrap();
    let output =
        Command::new(program).args(arguments).current_dir(directory.path()).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success() && said.starts_with("1000 rows in "), "{said}");
    let records = rusqlite::Connection::open(directory.path().join("requests.sqlite")).unwrap();
    let count =
        records.query_row("SELECT count(*) FROM track_policy_request", [], |row| row.get(0));
    assert_eq!(count, Ok(1000));
}

/// The words that `./test` knows: those of its last `case`.
fn known_to_test() -> BTreeSet<String> {
    let script = text(Path::new("test"));
    let cases = script.rsplit_once("case \"${1:-}\" in").unwrap().1;
    let word = |line: &str| {
        let word = line.split_once(')')?.0;
        let is_word = |letter: char| letter.is_ascii_lowercase() || letter == '-';
        (!word.is_empty() && word.chars().all(is_word)).then(|| word.to_owned())
    };
    cases.lines().filter_map(word).collect()
}

fn scripts_know_what_they_are_told(block: &Block) {
    let known = known_to_test();
    for command in block.commands() {
        let mut words = command.split_whitespace();
        match words.next() {
            // The README has it as well, where it is run.
            Some("cargo") => assert_eq!(command, "cargo run --release"),
            Some("./test") => {
                let is_known = words.next().is_none_or(|word| known.contains(word));
                assert!(is_known, "{command}: only {known:?}");
            }
            Some(script) => {
                assert_eq!(script, ".ci/run");
                let mode = std::fs::metadata(root().join(script)).unwrap().permissions().mode();
                assert_eq!(mode & 0o111, 0o111);
            }
            None => {}
        }
    }
}

#[test]
fn continuous_integration_runs_what_the_pages_say_it_does() {
    let run = text(Path::new(".ci/run"));
    for command in ["./test", "./test site", "./test package"] {
        assert!(run.lines().any(|line| line == command), "{command}");
    }
}

#[test]
fn whatever_the_pages_tell_the_script_of_the_tests_it_knows() {
    let known = known_to_test();
    let mut told = 0;
    for page in super::pages() {
        let text = text(&page);
        for rest in text.split("`./test ").skip(1) {
            let word = rest.split([' ', '`', '\n']).next().unwrap();
            assert!(known.contains(word), "{}: ./test {word}", page.display());
            told += 1;
        }
    }
    assert!(told > 5, "only {told} are told");
}

#[test]
fn the_script_of_the_tests_tells_all_that_it_knows() {
    let output = Command::new("./test").arg("nonsense").current_dir(root()).output().unwrap();
    let usage = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{usage}");
    let head = text(Path::new("test"));
    for word in known_to_test() {
        assert!(usage.contains(&word), "{word}: {usage}");
        assert!(head.lines().any(|line| line.starts_with(&format!("# ./test {word} "))), "{word}");
    }
}
