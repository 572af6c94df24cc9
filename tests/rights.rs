//! Rights: mppd that is started as root gives them up once its sockets are open.

use std::os::unix::fs::{MetadataExt as _, chown};
use std::path::Path;

use nix::unistd::{Uid, User};

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::policy_client::{Endpoint, PolicyRequest};

/// A user that every system has, and who may do nothing.
fn nobody() -> User {
    assert!(Uid::effective().is_root(), "only root can give up its rights");
    User::from_name("nobody").unwrap().expect("a user nobody")
}

/// A line of `/proc/PID/status`.
fn said_by_the_system(pid: u32, name: &str) -> String {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    line.unwrap_or_else(|| panic!("no {name}")).split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A directory that somebody else may enter, with a state directory of their own yet to be made.
fn open_to_all() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(directory.path(), mode).unwrap();
    directory
}

fn start(directory: &Path) -> Daemon {
    let socket = directory.join("policy");
    let state = directory.join("state");
    Daemon::start(Settings {
        // A port and a place that only root can have.
        listen: vec![(" mode=\"0666\"", Endpoint::Unix(socket))],
        common: "<user>nobody</user>".to_owned(),
        environment: vec![("MPPD_COMMON__STATE_DIRECTORY", state.display().to_string())],
        tracking: true,
        ..Settings::wbl("<black><sender>a@example.org</sender></black>")
    })
}

#[test]
fn a_server_that_was_started_as_root_has_only_the_rights_of_its_user() {
    let (nobody, directory) = (nobody(), open_to_all());
    let daemon = start(directory.path());
    daemon.connect().ask(&PolicyRequest::new().octets()).unwrap();
    let four_times = |id: u32| [id; 4].map(|id| id.to_string()).join(" ");
    for thread in std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap() {
        let thread = thread.unwrap().file_name().into_string().unwrap().parse().unwrap();
        assert_eq!(said_by_the_system(thread, "Uid:"), four_times(nobody.uid.as_raw()));
        assert_eq!(said_by_the_system(thread, "Gid:"), four_times(nobody.gid.as_raw()));
        assert_eq!(said_by_the_system(thread, "Groups:"), nobody.gid.to_string());
        assert_eq!(said_by_the_system(thread, "CapEff:").trim_matches('0'), "");
    }
    for made in ["state", "state/control.sock", "state/lock"] {
        let made = std::fs::metadata(directory.path().join(made)).unwrap();
        assert_eq!(made.uid(), nobody.uid.as_raw());
    }
    let socket = std::fs::metadata(directory.path().join("policy")).unwrap();
    assert_eq!(socket.uid(), 0);
}

#[test]
fn no_core_is_written_of_a_process_that_knows_passwords() {
    let daemon = Daemon::start(Settings::default());
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert_eq!(core.split_whitespace().nth(4), Some("0"), "{core}");
    // Who may not have a core may not look into the memory either: it belongs to root.
    nobody();
    let directory = open_to_all();
    let daemon = start(directory.path());
    let owner = std::fs::metadata(format!("/proc/{}/mem", daemon.pid())).unwrap().uid();
    assert_eq!(owner, 0);
}

#[test]
fn a_reload_works_without_the_rights_of_root() {
    nobody();
    let directory = open_to_all();
    let daemon = start(directory.path());
    let state = directory.path().join("state");
    let reload = || Call::new(["reload", "--state-directory"]).argument(&state);
    reload().succeed();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(daemon.configuration(), mode).unwrap();
    let refused = reload().run();
    assert_eq!(refused.code, Some(78), "{}", refused.err);
    assert!(refused.err.contains("Permission denied"), "{}", refused.err);
}

#[test]
fn a_configuration_that_the_user_cannot_read_is_refused_at_the_start() {
    nobody();
    let (status, log) = Daemon::refused(Settings {
        common: "<user>nobody</user>".to_owned(),
        private: true,
        ..Settings::default()
    });
    assert_eq!(status.code(), Some(78), "{log}");
    assert!(log.contains("user nobody can't read"), "{log}");
}

#[test]
fn a_server_that_keeps_the_rights_of_root_says_so() {
    nobody();
    let daemon = Daemon::start(Settings::default());
    let line = daemon.logged("that it is root", |line| mentions(line, "rights of root"));
    assert_eq!(line["level"], "WARN");
}

#[test]
fn a_user_is_looked_up_when_the_configuration_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mppd.conf.xml");
    for (rights, expected) in [
        ("<user>no_such_user</user>", "there is no user \"no_such_user\""),
        ("<user>nobody</user><group>no_such_group</group>", "there is no group \"no_such_group\""),
        ("<user>4000000</user>", "name a <group> as well"),
        ("<group>nogroup</group>", "<group> takes a <user>"),
        ("<user>root</user>", "these are the rights of root"),
    ] {
        let xml = format!("<mppd><common>{rights}</common></mppd>");
        std::fs::write(&file, xml).unwrap();
        let said = Call::new(["check"]).with(&file).run();
        assert_eq!(said.code, Some(78), "{rights}");
        assert!(said.err.contains(expected), "{}", said.err);
    }
}

#[test]
fn a_state_directory_of_somebody_else_is_told() {
    nobody();
    let directory = open_to_all();
    let state = directory.path().join("state");
    std::fs::create_dir(&state).unwrap();
    chown(&state, Some(1), Some(1)).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
    std::fs::set_permissions(&state, mode).unwrap();
    let (status, log) = Daemon::refused(Settings {
        common: "<user>nobody</user>".to_owned(),
        environment: vec![("MPPD_COMMON__STATE_DIRECTORY", state.display().to_string())],
        tracking: true,
        ..Settings::default()
    });
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("the state directory") && log.contains("denied"), "{log}");
}
