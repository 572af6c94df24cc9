//! What stands in for systemd in a tree where it can't run: it does what the units of the package
//! say. Sockets stay open while services come and go, a service counts as started when it says so,
//! and `systemctl` of the tree hands over what it is told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::UnixDatagram;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::tree::Tree;
use crate::harness::{eventually, pause};

const SYSTEMCTL: &str = r#"#!/bin/sh
asked=$(mktemp /run/manager/XXXXXX)
printf '%s\n' "$*" >"$asked"
mv "$asked" "$asked.asked"
while [ ! -e "$asked.done" ]; do sleep 0.02; done
tail -n +2 "$asked.done"
exit "$(head -n 1 "$asked.done")"
"#;

/// The stand-in, at work until it is dropped; so are the services.
pub(super) struct Manager {
    ended: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Manager {
    pub(super) fn start(tree: &Arc<Tree>) -> Self {
        fs::create_dir_all(tree.path("/run/systemd/system")).unwrap();
        fs::create_dir_all(tree.path("/run/manager")).unwrap();
        fs::create_dir_all(tree.path("/usr/local/bin")).unwrap();
        fs::write(tree.path("/usr/local/bin/systemctl"), SYSTEMCTL).unwrap();
        open_to_all(&tree.path("/usr/local/bin/systemctl"));
        let ended = Arc::new(AtomicBool::new(false));
        let mut work = Work {
            tree: Arc::clone(tree),
            units: BTreeMap::new(),
            sockets: BTreeMap::new(),
            services: BTreeMap::new(),
        };
        let told = Arc::clone(&ended);
        let worker = std::thread::spawn(move || {
            while !told.load(Ordering::Relaxed) {
                work.answer();
                pause(Duration::from_millis(10));
            }
        });
        Manager { ended, worker: Some(worker) }
    }
}

impl Drop for Manager {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            drop(worker.join());
        }
    }
}

/// What a unit says: the values of each name, in order.
type Unit = BTreeMap<String, Vec<String>>;

struct Work {
    tree: Arc<Tree>,
    units: BTreeMap<String, Unit>,
    sockets: BTreeMap<String, Vec<OwnedFd>>,
    services: BTreeMap<String, Service>,
}

struct Service(Child);

impl Service {
    /// SIGTERM, and its end.
    fn stop(&mut self) {
        let pid = Pid::from_raw(i32::try_from(self.0.id()).unwrap());
        kill(pid, Signal::SIGTERM).unwrap();
        let ended = eventually(|| self.0.try_wait().unwrap());
        assert!(ended.is_some_and(|status| status.success()), "the service ended badly: {ended:?}");
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

impl Work {
    fn answer(&mut self) {
        for entry in fs::read_dir(self.tree.path("/run/manager")).unwrap() {
            let asked = entry.unwrap().path();
            if asked.extension().is_none_or(|extension| extension != "asked") {
                continue;
            }
            let words = fs::read_to_string(&asked).unwrap();
            fs::remove_file(&asked).unwrap();
            let (code, said) = self.systemctl(&words);
            let answer = asked.with_extension("new");
            fs::write(&answer, format!("{code}\n{said}")).unwrap();
            fs::rename(answer, asked.with_extension("done")).unwrap();
        }
    }

    fn systemctl(&mut self, words: &str) -> (u8, String) {
        let mut words = words.split_whitespace().filter(|word| !word.starts_with('-'));
        let verb = words.next().unwrap_or_default().to_owned();
        let units: Vec<&str> = words.collect();
        match verb.as_str() {
            "daemon-reload" => self.read_units(),
            "is-enabled" => {
                let is_enabled = units.iter().all(|unit| self.is_enabled(unit));
                let said = if is_enabled { "enabled\n" } else { "disabled\n" };
                return (u8::from(!is_enabled), said.to_owned());
            }
            "is-active" => {
                let is_active = |unit: &&str| {
                    self.sockets.contains_key(*unit) || self.services.contains_key(*unit)
                };
                return (u8::from(!units.iter().all(is_active)) * 3, String::new());
            }
            "start" => units.iter().for_each(|unit| self.start(unit)),
            "stop" => units.iter().for_each(|unit| self.stop(unit)),
            "restart" => {
                for unit in &units {
                    self.stop(unit);
                }
                for unit in &units {
                    self.start(unit);
                }
            }
            other => return (1, format!("the stand-in for systemd does not know {other}\n")),
        }
        (0, String::new())
    }

    fn read_units(&mut self) {
        self.units.clear();
        for entry in fs::read_dir(self.tree.path("/usr/lib/systemd/system")).into_iter().flatten() {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            if name.starts_with("mppd.") {
                let text = fs::read_to_string(entry.path()).unwrap();
                self.units.insert(name, unit(&text));
            }
        }
    }

    fn is_enabled(&self, unit: &str) -> bool {
        let links = ["multi-user.target.wants", "sockets.target.wants"];
        let link = |wants: &&str| self.tree.path(&format!("/etc/systemd/system/{wants}/{unit}"));
        links.iter().any(|wants| link(wants).symlink_metadata().is_ok())
    }

    fn start(&mut self, name: &str) {
        let Some(unit) = self.units.get(name).cloned() else { panic!("there is no unit {name}") };
        if name.ends_with(".socket") {
            let addresses = unit["ListenStream"].iter();
            let open = |address: &String| OwnedFd::from(TcpListener::bind(address).unwrap());
            self.sockets.entry(name.to_owned()).or_insert_with(|| addresses.map(open).collect());
            return;
        }
        if !self.services.contains_key(name) {
            let service = self.run_service(&unit);
            self.services.insert(name.to_owned(), service);
        }
    }

    fn stop(&mut self, name: &str) {
        self.sockets.remove(name);
        if let Some(mut service) = self.services.remove(name) {
            service.stop();
        }
    }

    /// Starts a service with its user, its sockets and hardly any rights, and waits until it says
    /// that it is ready.
    fn run_service(&self, unit: &Unit) -> Service {
        for before in unit.get("ExecStartPre").into_iter().flatten() {
            let status = self.shell(unit, before, 0).stdout(Stdio::null()).status().unwrap();
            assert!(status.success(), "{before}: {status}");
        }
        let notify = self.tree.path("/run/notify");
        drop(fs::remove_file(&notify));
        let socket = UnixDatagram::bind(&notify).unwrap();
        open_to_all(&notify);
        socket.set_read_timeout(Some(crate::harness::PATIENCE)).unwrap();
        let sockets: Vec<&OwnedFd> = self.sockets.values().flatten().collect();
        assert!(sockets.len() <= 1, "the stand-in for systemd hands over one socket");
        let mut command = self.shell(unit, &unit["ExecStart"][0], sockets.len());
        command.env("NOTIFY_SOCKET", "/run/notify");
        if let Some(socket) = sockets.first() {
            command.stdin(Stdio::from(socket.try_clone().unwrap()));
        }
        let mut log = fs::OpenOptions::new();
        let log = log.create(true).append(true).open(self.tree.path("/run/mppd.log")).unwrap();
        command.stderr(log).stdout(Stdio::null());
        let service = Service(command.spawn().unwrap());
        let mut octets = [0; 4096];
        loop {
            let length = socket.recv(&mut octets).expect("the service does not say it is ready");
            if String::from_utf8_lossy(&octets[..length]).contains("READY=1") {
                return service;
            }
        }
    }

    /// A command line of a unit, as its user, in the tree.
    fn shell(&self, unit: &Unit, line: &str, sockets: usize) -> Command {
        let known: BTreeSet<&str> = ["User", "Group", "UMask"].into();
        assert!(known.iter().all(|name| unit.contains_key(*name)), "the unit names no user");
        let (user, group, mask) = (&unit["User"][0], &unit["Group"][0], &unit["UMask"][0]);
        let handed_over = match sockets {
            0 => "",
            _ => "exec 3<&0 </dev/null; export LISTEN_PID=$$ LISTEN_FDS=1;",
        };
        let mut command = self.tree.command("sh");
        command.arg("-c").arg(format!(
            "umask {mask}; ulimit -c 0; {handed_over} exec setpriv --reuid={user} --regid={group} \
             --init-groups --no-new-privs --bounding-set=-all --inh-caps=-all {line}"
        ));
        command.stdin(Stdio::null());
        command
    }
}

/// Reads a unit; a name may stand several times.
fn unit(text: &str) -> Unit {
    let mut unit = Unit::new();
    for line in text.lines().filter(|line| !line.starts_with(['#', '['])) {
        if let Some((name, value)) = line.split_once('=') {
            unit.entry(name.to_owned()).or_default().push(value.to_owned());
        }
    }
    unit
}

fn open_to_all(path: &PathBuf) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
}
