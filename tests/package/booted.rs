//! The package under a real systemd, which boots in a container: what the units promise is what it
//! does.

use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::tree::{Said, Tree};
use super::{FIRST, REFUSED, ask_until, endpoint, refused};
use crate::harness::policy_client::PolicyClient;
use crate::harness::{eventually, pause};

/// A Debian with a systemd, which has installed the package; it is halted when this is dropped.
pub(super) struct Booted {
    container: Child,
    /// Its systemd, as this machine counts processes.
    pub(super) leader: u32,
    pub(super) tree: Tree,
}

impl Booted {
    fn start() -> Self {
        let booted = Booted::bare();
        std::fs::copy(super::tree::given(FIRST), booted.tree.path("/root/mppd.deb")).unwrap();
        booted.succeed("dpkg", &["--install", "/root/mppd.deb"]);
        booted
    }

    /// One that has not installed it.
    pub(super) fn bare() -> Self {
        let tree = Tree::of("MPPD_PACKAGE_BOOTING");
        let container = Command::new("systemd-nspawn")
            .args(["--quiet", "--boot", "--register=no", "--keep-unit", "--console=pipe"])
            .arg("--directory")
            .arg(tree.path("/"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::inherit())
            .spawn()
            .expect("systemd-nspawn starts; on Debian: apt-get install systemd-container");
        let leader = eventually(|| leader_of(container.id()));
        let mut booted = Booted { container, leader: leader.expect("a systemd"), tree };
        booted.wait_until_up();
        booted
    }

    fn wait_until_up(&mut self) {
        let is_up = eventually(|| {
            assert!(self.container.try_wait().unwrap().is_none(), "the container has ended");
            let said = self.run("systemctl", &["is-system-running"]).text;
            ["running", "degraded"].contains(&said.trim()).then_some(())
        });
        assert!(is_up.is_some(), "systemd is not up");
    }

    fn run(&self, program: &str, arguments: &[&str]) -> Said {
        let mut command = self.entering(Command::new("nsenter"));
        command.arg(program).args(arguments).stdin(Stdio::null());
        Said::of(&mut command)
    }

    /// The beginning of a command in the container, of one that enters it.
    pub(super) fn entering(&self, mut nsenter: Command) -> Command {
        nsenter.arg("--all").arg(format!("--target={}", self.leader));
        nsenter.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("LC_ALL", "C.UTF-8");
        nsenter.env("DEBIAN_FRONTEND", "noninteractive").env("HOME", "/root");
        nsenter
    }

    pub(super) fn succeed(&self, program: &str, arguments: &[&str]) -> String {
        let said = self.run(program, arguments);
        assert!(said.success, "{program} {arguments:?}: {}", said.text);
        said.text
    }

    /// A property of the service.
    pub(super) fn property(&self, name: &str) -> String {
        let text = self.succeed("systemctl", &["show", "--value", "--property", name, "mppd"]);
        text.trim().to_owned()
    }
}

impl Drop for Booted {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", self.run("journalctl", &["--no-pager", "--lines=50"]).text);
        }
        // All that it runs ends with its systemd.
        if let Ok(leader) = i32::try_from(self.leader) {
            // It may have ended by itself.
            let _ended = kill(Pid::from_raw(leader), Signal::SIGKILL);
        }
        drop(self.container.kill());
        drop(self.container.wait());
    }
}

/// The process that has become a systemd, of those that nspawn starts.
fn leader_of(container: u32) -> Option<u32> {
    let children = std::fs::read_to_string(format!("/proc/{container}/task/{container}/children"));
    let children = children.ok()?;
    let is_systemd = |pid: &&str| {
        let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
        name.is_ok_and(|name| name.trim() == "systemd")
    };
    children.split_whitespace().find(is_systemd)?.parse().ok()
}

pub(super) fn ask() -> String {
    PolicyClient::connect(&endpoint()).unwrap().ask(&refused()).unwrap()
}

#[test]
#[ignore = "needs packages: ./test package"]
fn systemd_starts_reloads_and_restarts_what_the_package_brings() {
    let booted = Booted::start();
    assert_eq!(booted.property("ActiveState"), "active");
    assert_eq!(booted.property("NotifyAccess"), "main");
    assert!(!booted.property("StatusText").is_empty(), "it does not say how it is");
    assert_eq!(ask(), REFUSED);

    booted.succeed("systemctl", &["reload", "mppd"]);
    let file = booted.tree.path("/etc/mppd/mppd.conf.xml");
    let sound = std::fs::read_to_string(&file).unwrap();
    std::fs::write(&file, sound.replacen("<common>", "<common><no_such_option/>", 1)).unwrap();
    assert!(!booted.run("systemctl", &["reload", "mppd"]).success, "a fault goes unnoticed");
    assert_eq!(booted.property("ActiveState"), "active");
    assert_eq!(ask(), REFUSED);
    std::fs::write(&file, sound).unwrap();
    booted.succeed("systemctl", &["reload", "mppd"]);

    let before = booted.property("MainPID");
    let ended = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        let ended = &ended;
        let clients = [true, true, false].map(|keep| scope.spawn(move || ask_until(ended, keep)));
        pause(Duration::from_millis(300));
        booted.succeed("systemctl", &["restart", "mppd"]);
        pause(Duration::from_millis(300));
        ended.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<u32>()
    });
    assert!(count > 50, "only {count} were asked");
    assert_ne!(booted.property("MainPID"), before);
}

#[test]
#[ignore = "needs packages: ./test package"]
fn a_connection_to_the_socket_of_systemd_starts_a_server_that_is_stopped() {
    let booted = Booted::start();
    booted.succeed("systemctl", &["stop", "mppd.service"]);
    assert_eq!(booted.property("ActiveState"), "inactive");
    assert_eq!(ask(), REFUSED);
    assert_eq!(booted.property("ActiveState"), "active");
}

#[test]
#[ignore = "needs packages: ./test package"]
fn a_server_that_is_killed_or_frozen_is_started_again() {
    let booted = Booted::start();
    let unit = booted.tree.path("/etc/systemd/system/mppd.service.d");
    std::fs::create_dir_all(&unit).unwrap();
    std::fs::write(unit.join("test.conf"), "[Service]\nWatchdogSec=2\n").unwrap();
    booted.succeed("systemctl", &["daemon-reload"]);
    booted.succeed("systemctl", &["restart", "mppd"]);
    for signal in ["KILL", "STOP"] {
        let before = booted.property("MainPID");
        // The shell's own: a small Debian has no program for it.
        booted.succeed("sh", &["-c", &format!("kill -{signal} {before}")]);
        let is_back = eventually(|| {
            let is_other = !["0", &before].contains(&&*booted.property("MainPID"));
            (is_other && booted.property("ActiveState") == "active").then_some(())
        });
        assert!(is_back.is_some(), "{signal}: it is not started again");
        assert_eq!(ask(), REFUSED);
    }
}

#[test]
#[ignore = "needs packages: ./test package"]
fn systemd_finds_little_that_the_service_is_exposed_to() {
    let booted = Booted::start();
    // Ten is the worst; 20 stands for 2.0.
    booted
        .succeed("systemd-analyze", &["security", "--threshold=20", "--no-pager", "mppd.service"]);
}
