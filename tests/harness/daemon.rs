//! The real `mppd`, with a configuration and a state directory of its own.

use std::fmt::Write as _;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use super::policy_client::{Endpoint, PolicyClient};
use super::ports::free_port;
use super::{PATIENCE, eventually};

/// What is special in one test's configuration; everything is XML.
#[derive(Debug, Clone, Default)]
pub(crate) struct Settings {
    /// The program, if it is another one than `mppd`.
    pub(crate) program: Option<PathBuf>,
    /// Attributes of `<listen>` (with a blank in front) and the endpoint; one on a free port of
    /// 127.0.0.1 unless given.
    pub(crate) listen: Vec<(&'static str, Endpoint)>,
    /// More elements of `<policy_server>`.
    pub(crate) policy_server: String,
    /// The content of `<log>`; JSON unless given.
    pub(crate) log: &'static str,
    /// More elements of `<common>`.
    pub(crate) common: String,
    /// Whether PPXX0001 puts requests on record.
    pub(crate) tracking: bool,
    /// Elements of `<group id="default">`.
    pub(crate) group: String,
    /// What stands in `<groups>` beside that group.
    pub(crate) groups: String,
    /// The content of `<policy_check_engines>`.
    pub(crate) checks: String,
    /// The content of `<engines>`.
    pub(crate) engines: String,
    /// A whole configuration in place of all of these but the sockets, the records and the content
    /// of the default group.
    pub(crate) whole: Option<String>,
    /// Files beside the configuration, by their names.
    pub(crate) files: Vec<(String, String)>,
    /// Variables of its environment.
    pub(crate) environment: Vec<(&'static str, String)>,
    /// Whether only who starts it may read the configuration.
    pub(crate) private: bool,
    /// Sockets that are open when it starts, as systemd hands them over; at most two.
    pub(crate) handed_over: Vec<Arc<OwnedFd>>,
}

impl Settings {
    /// A server with one `wbl` engine of this content as its only check.
    pub(crate) fn wbl(content: &str) -> Self {
        Settings {
            checks: "wbl".into(),
            engines: format!("<wbl id=\"wbl\">{content}</wbl>"),
            ..Settings::default()
        }
    }

    pub(crate) fn xml(&self, state: &Path) -> String {
        let mut listen = String::new();
        for (attributes, endpoint) in &self.listen {
            write!(listen, "<listen{attributes}>{endpoint}</listen>").unwrap();
        }
        let state = state.display();
        let chain = |name: &str, content: &str| format!("<policy_{name}>{content}</policy_{name}>");
        let mut chains = String::new();
        let mut track = "";
        if self.tracking {
            chains.push_str(&chain("begin_engines", "PPXX0001.received"));
            chains.push_str(&chain("end_engines", "PPXX0001.processed"));
            chains.push_str(&chain("end_exception_engines", "PPXX0001.exception"));
            track = "<track id=\"PPXX0001\"/>";
        }
        if let Some(whole) = &self.whole {
            let default = "<group id=\"default\">";
            let (mut whole, mut groups) = (whole.clone(), String::new());
            match whole.find(default) {
                Some(at) => whole.insert_str(at + default.len(), &self.group),
                None => groups = format!("<groups>{default}{}</group></groups>", self.group),
            }
            let ours = format!(
                "<mppd><common><policy_server>{listen}</policy_server>\
                 <state_directory>{state}</state_directory>\
                 <log><format>json</format></log>{chains}</common>\
                 {groups}<engines>{track}</engines>"
            );
            return whole.replacen("<mppd>", &ours, 1);
        }
        chains.push_str(&chain("check_engines", &self.checks));
        format!(
            "<mppd>
  <common>
    <policy_server>{listen}{policy_server}</policy_server>
    <state_directory>{state}</state_directory>
    <log>{log}</log>
    {common}
    {chains}
  </common>
  <groups><group id=\"default\">{group}</group>{groups}</groups>
  <engines>{track}{engines}</engines>
</mppd>
",
            policy_server = self.policy_server,
            log = if self.log.is_empty() { "<format>json</format>" } else { self.log },
            common = self.common,
            group = self.group,
            groups = self.groups,
            engines = self.engines,
        )
    }
}

type Lines = Arc<Mutex<Vec<String>>>;

/// A running `mppd`; it is killed when this is dropped.
pub(crate) struct Daemon {
    child: Child,
    log: Lines,
    reader: Option<JoinHandle<()>>,
    directory: Arc<TempDir>,
    settings: Settings,
}

impl Daemon {
    /// Starts `mppd` and waits until each of its sockets accepts.
    pub(crate) fn start(settings: Settings) -> Self {
        let directory = tempfile::Builder::new().prefix("mppd-test-").tempdir().unwrap();
        std::fs::create_dir(directory.path().join("state")).unwrap();
        Daemon::start_in(Arc::new(directory), settings)
    }

    /// Starts another `mppd` with the directories of this one, after this one ended.
    pub(crate) fn again(mut self) -> Self {
        self.kill9();
        Daemon::start_in(Arc::clone(&self.directory), self.settings.clone())
    }

    /// Starts another `mppd` with the directories of this one, which has ended, and waits for nothing.
    pub(crate) fn next(mut self) -> Self {
        self.finish_log();
        Daemon::spawn(Arc::clone(&self.directory), self.settings.clone())
    }

    fn start_in(directory: Arc<TempDir>, settings: Settings) -> Self {
        let mut daemon = Daemon::spawn(directory, settings);
        let mut missing: Vec<Endpoint> = daemon.endpoints();
        eventually(|| {
            let exit = daemon.child.try_wait().unwrap();
            assert!(exit.is_none(), "mppd did not start: {exit:?}\n{}", daemon.log_text());
            missing.retain(|endpoint| PolicyClient::connect(endpoint).is_err());
            missing.is_empty().then_some(())
        })
        .unwrap_or_else(|| panic!("mppd does not listen on {missing:?}"));
        // Connections wait in its sockets long before it answers. Its log may be about errors only.
        let control = daemon.state_directory().join("control.sock");
        let is_ready = |line: &String| line.contains("mppd is ready");
        eventually(|| {
            let exit = daemon.child.try_wait().unwrap();
            assert!(exit.is_none(), "mppd did not start: {exit:?}\n{}", daemon.log_text());
            (UnixStream::connect(&control).is_ok() || daemon.log().iter().any(is_ready))
                .then_some(())
        })
        .unwrap_or_else(|| panic!("mppd is not ready: {}", daemon.log_text()));
        daemon
    }

    fn spawn(directory: Arc<TempDir>, mut settings: Settings) -> Self {
        if settings.listen.is_empty() {
            let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
            settings.listen.push(("", Endpoint::Inet(address)));
        }
        let configuration = directory.path().join("mppd.conf.xml");
        std::fs::write(&configuration, settings.xml(&directory.path().join("state"))).unwrap();
        for (name, text) in &settings.files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        if settings.private {
            let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
            std::fs::set_permissions(&configuration, mode).unwrap();
        }
        let mppd = Path::new(env!("CARGO_BIN_EXE_mppd"));
        let mut command = command(settings.program.as_deref().unwrap_or(mppd), &settings);
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("MPPD_") {
                command.env_remove(name);
            }
        }
        command.arg("run").arg("--config").arg(&configuration).current_dir(directory.path());
        command.envs(settings.environment.iter().map(|(name, value)| (name, value)));
        command.stderr(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let log = Lines::default();
        let reader = read_log(child.stderr.take().unwrap(), Arc::clone(&log));
        Daemon { child, log, reader: Some(reader), directory, settings }
    }

    /// Starts `mppd` with a configuration that it has to refuse; how it ended and what it said.
    pub(crate) fn refused(settings: Settings) -> (ExitStatus, String) {
        let directory = tempfile::tempdir().unwrap();
        std::fs::create_dir(directory.path().join("state")).unwrap();
        let mut daemon = Daemon::spawn(Arc::new(directory), settings);
        let status = eventually(|| daemon.child.try_wait().unwrap());
        // Its log ends with it.
        drop(daemon.child.kill());
        daemon.finish_log();
        let status = status.unwrap_or_else(|| panic!("mppd runs all the same"));
        (status, daemon.log_text())
    }

    /// Where this `mppd` listens.
    pub(crate) fn endpoints(&self) -> Vec<Endpoint> {
        self.settings.listen.iter().map(|(_, endpoint)| endpoint.clone()).collect()
    }

    /// The first of them.
    pub(crate) fn endpoint(&self) -> Endpoint {
        self.settings.listen[0].1.clone()
    }

    /// A new policy connection to the first endpoint.
    pub(crate) fn connect(&self) -> PolicyClient {
        PolicyClient::connect(&self.endpoint()).unwrap()
    }

    /// Its configuration.
    pub(crate) fn configuration(&self) -> PathBuf {
        self.directory.path().join("mppd.conf.xml")
    }

    /// The directory of the embedded store.
    pub(crate) fn state_directory(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    /// Writes another configuration, with the same sockets unless it names its own.
    pub(crate) fn configure(&mut self, mut settings: Settings) {
        if settings.listen.is_empty() {
            settings.listen.clone_from(&self.settings.listen);
        }
        let xml = settings.xml(&self.state_directory());
        self.write_configuration(&xml);
        self.settings = settings;
    }

    /// Writes anything in place of the configuration.
    pub(crate) fn write_configuration(&self, text: &str) {
        std::fs::write(self.configuration(), text).unwrap();
    }

    /// Ends it as a crash would.
    pub(crate) fn kill9(&mut self) {
        drop(self.child.kill());
        self.child.wait().unwrap();
        self.finish_log();
    }

    /// SIGTERM; how it ended.
    pub(crate) fn terminate(&mut self) -> ExitStatus {
        self.signal(Signal::SIGTERM);
        let status = eventually(|| self.child.try_wait().unwrap());
        status.unwrap_or_else(|| panic!("mppd still runs {PATIENCE:?} after SIGTERM"))
    }

    /// SIGHUP: reads the configuration again.
    pub(crate) fn hangup(&self) {
        self.signal(Signal::SIGHUP);
    }

    /// Its process ID.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether the process runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// What was logged so far, line by line.
    pub(crate) fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The first line of the log that satisfies `wanted`, parsed; it may still be to come.
    pub(crate) fn logged(&self, what: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let line = eventually(|| {
            let lines = self.log();
            lines
                .iter()
                .filter_map(|line| serde_json::from_str(line).ok())
                .find(|line| wanted(line))
        });
        line.unwrap_or_else(|| panic!("no line of the log says {what}"))
    }

    fn log_text(&self) -> String {
        self.log().join("\n")
    }

    fn signal(&self, signal: Signal) {
        let process = Pid::from_raw(i32::try_from(self.child.id()).unwrap());
        kill(process, signal).unwrap();
    }

    fn finish_log(&mut self) {
        if let Some(reader) = self.reader.take() {
            drop(reader.join());
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
        if std::thread::panicking() {
            // Under load, one line for each decision would hide all others.
            let mut log = self.log();
            let decisions = log.len().saturating_sub(20);
            let mut number = 0;
            log.retain(|line| {
                number += 1;
                number > decisions || !line.contains(r#""msg":"decision""#)
            });
            let tail = &log[log.len().saturating_sub(100)..];
            eprintln!("the end of mppd's log:\n{}", tail.join("\n"));
        }
    }
}

/// Whether a field of the log line holds this text.
pub(crate) fn mentions(line: &Value, text: &str) -> bool {
    line.as_object().is_some_and(|fields| {
        fields.values().any(|value| match value {
            Value::String(value) => value.contains(text),
            other => other.to_string().contains(text),
        })
    })
}

/// The program, with nothing to read or to print to, or with the sockets that are handed over: only
/// standard input and output can be given to a child, so a shell moves them to where they belong.
fn command(program: &Path, settings: &Settings) -> Command {
    let sockets: Vec<Stdio> = settings
        .handed_over
        .iter()
        .map(|socket| Stdio::from(socket.try_clone().unwrap()))
        .collect();
    let count = sockets.len();
    assert!(count <= 2, "no more can be handed over");
    let mut sockets = sockets.into_iter();
    let Some(first) = sockets.next() else {
        let mut command = Command::new(program);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        return command;
    };
    let mut command = Command::new("sh");
    command.arg("-c").arg(format!(
        "exec 3<&0 4>&1 </dev/null >/dev/null; [ {count} = 2 ] || exec 4>&-; \
         LISTEN_PID=$$ LISTEN_FDS={count} exec \"$@\""
    ));
    command.arg("sh").arg(program).stdin(first);
    command.stdout(sockets.next().unwrap_or_else(Stdio::null));
    command
}

fn read_log(stderr: ChildStderr, log: Lines) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut lines = BufReader::new(stderr).split(b'\n');
        while let Some(Ok(line)) = lines.next() {
            log.lock().unwrap().push(String::from_utf8_lossy(&line).into_owned());
        }
    })
}
