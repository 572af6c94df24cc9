//! What is printed when nobody takes it.

use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use crate::harness::command::Call;
use crate::harness::pause;

/// Runs `mppd` with a standard output that is closed at the other end.
fn unread(arguments: &[&str]) -> Output {
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mppd"));
    command.args(arguments).stdin(Stdio::null()).stdout(writer).output().unwrap()
}

#[test]
fn a_reader_that_has_seen_enough_is_no_fault() {
    for arguments in [&["schema", "mysql"][..], &["reference"]] {
        let output = unread(arguments);
        assert_eq!(String::from_utf8_lossy(&output.stderr), "", "{arguments:?}");
        assert!(output.status.success(), "{arguments:?}");
    }
}

/// What the server says it can be asked, started with this configuration below `common`.
fn hints(configured: &str) -> (String, PathBuf, tempfile::TempDir) {
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("mppd.conf.xml");
    let listen = format!("<listen>unix:{}/policy</listen>", directory.path().display());
    let server = format!("<policy_server>{listen}</policy_server>");
    std::fs::write(&configuration, configured.replace("LISTEN", &server)).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_mppd"));
    command.arg("run").arg("--config").arg(&configuration).stdin(Stdio::null());
    command.current_dir(directory.path()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    for line in BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap) {
        said.push_str(&line);
        said.push('\n');
        if line.contains("smtpd_recipient_restrictions") {
            break;
        }
    }
    child.kill().unwrap();
    child.wait().unwrap();
    (said, configuration, directory)
}

#[test]
fn the_hints_name_the_configuration_that_other_commands_must_read() {
    let tracking = "<mppd><common>LISTEN<policy_begin_engines>track.received</policy_begin_engines><policy_end_engines>track.processed</policy_end_engines></common>\
                    <engines><track/></engines></mppd>";
    let (said, configuration, _directory) = hints(tracking);
    let search = format!("--config {} track search", configuration.display());
    assert!(said.contains(&search), "{said}");
}

#[test]
fn who_puts_nothing_on_record_is_not_told_to_look_there() {
    let (said, _, _directory) = hints("<mppd><common>LISTEN</common></mppd>");
    assert!(said.contains("nowhere") && !said.contains("track search"), "{said}");
}

#[test]
fn who_looks_for_records_that_nobody_writes_is_told_so() {
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("mppd.conf.xml");
    let state = format!("<state_directory>{}</state_directory>", directory.path().display());
    let said = |more: &str, engines: &str, what: &[&str]| {
        let text = format!("<mppd><common>{state}{more}</common>{engines}</mppd>");
        std::fs::write(&configuration, text).unwrap();
        Call::new(["track"].iter().chain(what)).with(&configuration).run().err
    };
    let told = "mppd track: no chain of the configuration puts requests on record";
    for what in [&["search"][..], &["stats"]] {
        let err = said("", "", what);
        assert!(err.contains(told) && err.contains("esm/PPXX0001.xml"), "{err}");
    }
    let chain = "<policy_end_engines>track.processed</policy_end_engines>";
    let err = said(chain, "<engines><track/></engines>", &["search"]);
    assert!(!err.contains(told), "{err}");
}

#[test]
fn the_server_runs_although_nobody_reads_its_hints() {
    let directory = tempfile::tempdir().unwrap();
    let configuration = directory.path().join("mppd.conf.xml");
    let listen = format!("<listen>unix:{}/policy</listen>", directory.path().display());
    let xml = format!("<mppd><common><policy_server>{listen}</policy_server></common></mppd>");
    std::fs::write(&configuration, xml).unwrap();
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_mppd"));
    command.arg("run").arg("--config").arg(&configuration).stdin(Stdio::null());
    command.current_dir(directory.path());
    let mut child = command.stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    pause(Duration::from_secs(1));
    let ended = child.try_wait().unwrap();
    drop(child.kill());
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    child.wait().unwrap();
    assert!(ended.is_none(), "{said}");
    assert!(said.contains("mppd is ready") && !said.contains("panicked"), "{said}");
}
