//! mppd's own disk is full: requests are answered, and what is to be kept is kept as soon as there
//! is room again.

use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::eventually;
use crate::harness::policy_client::PolicyRequest;
use crate::harness::records;
use crate::harness::small_disk::SmallDisk;

/// Room for all that is asked here; what is full is full all the same.
const SIZE: &str = "32m";

/// An mppd whose state directory is a small disk.
fn start(settings: Settings) -> (SmallDisk, Daemon) {
    let mut daemon = Daemon::start(settings);
    assert!(daemon.terminate().success());
    let disk = SmallDisk::mount(&daemon.state_directory(), SIZE);
    (disk, daemon.again())
}

fn says(daemon: &Daemon, text: &str) -> bool {
    daemon.log().iter().any(|line| line.contains(text))
}

/// Asks until the log says something; the instances.
fn ask_until(daemon: &Daemon, said: &str) -> Vec<String> {
    let (mut client, mut instances) = (daemon.connect(), Vec::new());
    let is_said = eventually(|| {
        let request = PolicyRequest::new();
        assert_eq!(client.ask(&request.octets()).unwrap(), "DUNNO");
        instances.push(request.instance());
        says(daemon, said).then_some(())
    });
    assert!(is_said.is_some(), "the log does not say {said:?}");
    instances
}

#[test]
fn records_wait_in_memory_while_the_disk_is_full_and_are_written_once_when_it_has_room() {
    for durability in ["answer", "strict", "relaxed"] {
        let (disk, mut daemon) = start(Settings {
            tracking: true,
            common: format!("<tracking><durability>{durability}</durability></tracking>"),
            ..Settings::default()
        });
        let mut asked = ask_until(&daemon, "mppd is ready");
        disk.fill();
        asked.extend(ask_until(&daemon, "requests cannot be put on record"));
        disk.empty();
        asked.extend(ask_until(&daemon, "requests are put on record again"));
        assert!(daemon.terminate().success());
        let rows = records::sqlite(&daemon.state_directory());
        let mut found: Vec<String> = rows.iter().map(|row| row.text("instance")).collect();
        found.sort_unstable();
        asked.sort_unstable();
        assert!(found == asked, "{durability}: {} rows of {}", found.len(), asked.len());
        assert!(rows.iter().all(|row| row.text("state") == "processed"), "{durability}");
        drop(daemon);
        drop(disk);
    }
}

#[test]
fn what_engines_remember_while_the_disk_is_full_outlives_a_kill_once_it_has_room() {
    let (disk, mut daemon) = start(Settings {
        checks: "greylist".into(),
        engines: "<greylist><delay>1ms</delay></greylist>".into(),
        ..Settings::default()
    });
    let asked =
        |number: usize| PolicyRequest::new().set("sender", format!("a{number}@example.org"));
    disk.fill();
    let mut count = 0;
    let mut client = daemon.connect();
    let is_full = eventually(|| {
        count += 1;
        let answer = client.ask(&asked(count).octets()).unwrap();
        assert!(answer.starts_with("DEFER_IF_PERMIT"), "{answer}");
        says(&daemon, "state can't be written to its file").then_some(())
    });
    assert!(is_full.is_some(), "the disk is not full");
    disk.empty();
    daemon
        .logged("that there is room", |line| mentions(line, "state is written to its file again"));
    daemon.kill9();
    let daemon = daemon.again();
    let mut client = daemon.connect();
    for number in 1..=count {
        let answer = client.ask(&asked(number).octets()).unwrap();
        assert!(!answer.starts_with("DEFER"), "{number} of {count}: {answer}");
    }
    drop(daemon);
    drop(disk);
}
