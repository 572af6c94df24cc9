//! What else the pages show: what commands print, and what is written for other programs.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::commands::give;
use super::{Act, Block, blocks, faults, root, text};
use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::mariadb::{MariaDb, tls_file};
use crate::harness::policy_client::PolicyRequest;
use crate::harness::ports::free_port;
use crate::harness::programs::program;
use crate::mysql::block_on;

const ENGINE: &str = "docs/writing-an-engine.md";

const ACTS: [Act<fn(&Block)>; 14] = [
    Act { page: "docs/first-steps.md", begins: "action=REJECT", run: the_answer_is_given },
    Act { page: "docs/configuration.md", begins: "error: unknown", run: the_faults_are_told },
    Act { page: "docs/engines/greylist.md", begins: "$ mppd import", run: postgrey_is_imported },
    Act { page: "docs/engines/threshold.md", begins: "$ mppd threshold", run: counts_are_listed },
    Act { page: "docs/engines/threshold.md", begins: "smtpd_data", run: postfix_understands },
    Act { page: "docs/administrators.md", begins: "smtpd_recipient", run: postfix_understands },
    Act { page: "docs/console.md", begins: "server {", run: nginx_understands },
    Act { page: "docs/monitoring.md", begins: "scrape_configs:", run: prometheus_understands },
    Act { page: "docs/monitoring.md", begins: "<traces>", run: nothing_but_the_feature_is_missing },
    Act { page: "docs/administrators.md", begins: "CREATE DATABASE", run: requests_are_recorded },
    Act { page: "docs/modules/PPXX0002.md", begins: "INSERT", run: the_tables_take_the_statements },
    Act { page: "docs/modules/PPXX0003.md", begins: "INSERT", run: the_tables_take_the_statements },
    Act { page: "docs/modules/PPXX0004.md", begins: "UPDATE", run: the_tables_take_the_statements },
    Act { page: ENGINE, begins: "[dependencies]", run: the_crates_are_there },
];

/// How many acts run a block.
pub(super) fn runs(block: &Block) -> usize {
    ACTS.iter().filter(|act| act.is_of(block)).count()
}

#[test]
fn what_the_pages_show_is_what_there_is() {
    for act in ACTS {
        (act.run)(&act.block());
    }
}

fn shipped() -> std::path::PathBuf {
    root().join("conf/mppd.conf.xml")
}

/// What a program says that must be content.
fn say(command: &mut Command) -> String {
    let output = command.output().unwrap();
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

fn the_answer_is_given(block: &Block) {
    let is_question = |other: &Block| other.page == block.page && other.text.contains("mppd ask ");
    let question = blocks("sh").into_iter().find(is_question).expect("a question");
    let question = question.commands().pop().unwrap();
    let words: Vec<&str> = question.split_whitespace().skip(2).collect();
    let explained = Call::new(["explain"].iter().chain(&words)).with(&shipped()).succeed();
    assert!(explained.contains(block.text.trim()), "{explained}");
}

fn the_faults_are_told(block: &Block) {
    let directory = tempfile::tempdir().unwrap();
    let configuration = "<mppd>\n  <common>\n    <policy_server>\n      <!-- Postfix -->\n      \
         <listen>inet:127.0.0.1:10040</listen>\n\n      <max_conections>100</max_conections>\n    \
         </policy_server>\n  </common>\n</mppd>\n";
    fs::write(directory.path().join("mppd.conf.xml"), configuration).unwrap();
    let call = Call::new(["check"]).within(directory.path()).with(Path::new("mppd.conf.xml"));
    let said = call.environment("MPPD_COMMON__LOG__LEVEL", "debgu").run();
    assert_eq!(said.err.trim(), block.text.trim());
}

/// Each line with every number as the same one.
fn shapes(text: &str) -> Vec<String> {
    let number = |line: &str| {
        let words = line.split_inclusive(' ').map(|word| {
            let is_number = word.trim().parse::<u64>().is_ok();
            if is_number {
                word.replace(|letter: char| letter.is_ascii_digit(), "")
            } else {
                word.to_owned()
            }
        });
        words.collect::<String>()
    };
    text.lines().map(number).collect()
}

fn postgrey_is_imported(block: &Block) {
    let postgrey = crate::import::filled();
    let (command, shown) = block.text.split_once('\n').unwrap();
    let script = command.trim_start_matches("$ ");
    let script = script.replace("/var/lib/postgrey", postgrey.directory().to_str().unwrap());
    let configured = crate::import::configuration("<greylist/>");
    let mut shell = Command::new("sh");
    give(&mut shell, &script, &configured.path().join("mppd.conf.xml"));
    let said = say(&mut shell);
    let (shown, printed) = (shapes(shown), shapes(&said));
    assert!(printed.len() >= 4, "{said}");
    assert!(printed.iter().all(|line| shown.contains(line)), "{said}\n{shown:?} {printed:?}");
}

fn counts_are_listed(block: &Block) {
    let daemon = Daemon::start(Settings {
        checks: "outbound".to_owned(),
        engines:
            "<threshold id=\"outbound\" key=\"$sasl_username\"><limit max=\"100\" per=\"1h\"/>\
                  <limit max=\"500\" per=\"day\"/></threshold>"
                .to_owned(),
        ..Settings::default()
    });
    let mut client = daemon.connect();
    for (user, times) in [("alice", 100), ("bob", 12)] {
        for _ in 0..times {
            client.ask(&PolicyRequest::new().set("sasl_username", user).octets()).unwrap();
        }
    }
    let mut said = String::new();
    for command in block.text.lines().filter_map(|line| line.strip_prefix("$ ")) {
        let mut shell = Command::new("sh");
        give(&mut shell, command, &daemon.configuration());
        said.extend(["$ ", command, "\n", &say(&mut shell)]);
    }
    let plain =
        |text: &str| text.lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>();
    assert_eq!(plain(&said), plain(&block.text));
}

fn postfix_understands(block: &Block) {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("main.cf"), &block.text).unwrap();
    fs::write(directory.path().join("master.cf"), "").unwrap();
    let postconf = || {
        let mut command = Command::new(program("postconf", "postfix"));
        command.arg("-c").arg(directory.path());
        command
    };
    let name = block.text.split_whitespace().next().unwrap();
    let said = say(postconf().args(["-h", name]));
    assert!(said.contains("check_policy_service") && !said.contains("warning"), "{said}");
    assert!(!say(postconf().arg("-n")).contains("warning"), "{}", block.text);
}

fn nginx_understands(block: &Block) {
    let directory = tempfile::tempdir().unwrap();
    let at = directory.path().display();
    let server = block.text.replace("listen 443", &format!("listen 127.0.0.1:{}", free_port()));
    let server = server.replace("/etc/ssl/console.pem", tls_file("server.pem").to_str().unwrap());
    let server =
        server.replace("/etc/ssl/console.key", tls_file("server-key.pem").to_str().unwrap());
    let whole = format!(
        "pid {at}/pid;\nerror_log stderr;\nevents {{}}\nhttp {{\naccess_log off;\n{server}}}\n"
    );
    let file = directory.path().join("nginx.conf");
    fs::write(&file, whole).unwrap();
    let said = say(Command::new(program("nginx", "nginx-light")).arg("-t").arg("-c").arg(&file));
    assert!(!said.contains("[warn]"), "{said}");
}

fn prometheus_understands(block: &Block) {
    let rules = root().join("conf/monitoring/mppd-alerts.yml");
    let text = block.text.replace("/etc/prometheus/mppd-alerts.yml", rules.to_str().unwrap());
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("prometheus.yml");
    fs::write(&file, text).unwrap();
    let said =
        say(Command::new(program("promtool", "prometheus")).args(["check", "config"]).arg(file));
    assert!(said.contains("1 rule files found"), "{said}");
}

/// Traces are not built unless asked for, which is all that may be wrong then.
fn nothing_but_the_feature_is_missing(block: &Block) {
    let said = faults(&format!("<mppd><common>{}</common></mppd>", block.text), &[], false);
    if cfg!(feature = "otel") {
        assert_eq!(said, "");
        return;
    }
    assert!(said.contains("otel") && said.matches("error:").count() == 1, "{said}");
}

/// As the user that the page makes, over the connection that it names then.
fn requests_are_recorded(block: &Block) {
    let is_connection = |other: &Block| {
        other.page == block.page && other.text.starts_with("<PPXX0001_track_policy_connection>")
    };
    let connection = blocks("xml").into_iter().find(is_connection).expect("the connection").text;
    block_on(async {
        let server = MariaDb::start().await;
        server.execute("DROP DATABASE mppd; DROP USER mppd@'%'").await;
        server.execute(&block.text).await;
        let socket = server.connection_by_socket().unix_socket.unwrap();
        let daemon = Daemon::start(Settings {
            tracking: true,
            group: connection.replace("/run/mysqld/mysqld.sock", socket.to_str().unwrap()),
            files: vec![("secrets/db".to_owned(), "...\n".to_owned())],
            ..Settings::default()
        });
        daemon.connect().ask(&PolicyRequest::new().octets()).unwrap();
        let count: Vec<u64> = server.ask("SELECT count(*) FROM track_policy_request").await;
        assert_eq!(count, [1], "the request is not in the database");
    });
}

fn the_tables_take_the_statements(block: &Block) {
    let module = block.page.file_stem().unwrap().to_str().unwrap();
    let tables = text(&Path::new("conf/esm").join(module).with_extension("sql"));
    block_on(async {
        let server = MariaDb::start().await;
        server.execute(&tables).await;
        server.execute(&block.text).await;
    });
}

fn the_crates_are_there(block: &Block) {
    let mut count = 0;
    for line in block.text.lines().filter(|line| line.contains("path = ")) {
        let (name, rest) = line.split_once(" = ").unwrap();
        let path = rest.split_once("path = \"../mppd").unwrap().1.split('"').next().unwrap();
        let manifest = text(&Path::new(path.trim_start_matches('/')).join("Cargo.toml"));
        assert!(manifest.contains(&format!("name = \"{name}\"")), "{line}");
        for feature in rest
            .split_once("features = [")
            .map_or("", |(_, list)| list)
            .split('"')
            .skip(1)
            .step_by(2)
        {
            assert!(manifest.contains(&format!("\n{feature} = ")), "{line}");
        }
        count += 1;
    }
    assert!(count >= 3, "only {count} crates");
}
