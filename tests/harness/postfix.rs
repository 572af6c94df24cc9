//! A private Postfix: its own directories and port, loopback only, mail thrown away. Nothing of
//! the system's Postfix is read or written.

use std::fmt::Write as _;
use std::fs;
use std::io::Read;
use std::net::{Ipv4Addr, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::eventually;
use super::policy_client::Endpoint;
use super::ports::free_port;

const POSTFIX: &str = "/usr/sbin/postfix";

const MASTER: &str = "\
cleanup    unix  n - n -     0 cleanup
qmgr       unix  n - n 300   1 qmgr
tlsmgr     unix  - - n 1000? 1 tlsmgr
rewrite    unix  - - n -     - trivial-rewrite
bounce     unix  - - n -     0 bounce
defer      unix  - - n -     0 bounce
trace      unix  - - n -     0 bounce
verify     unix  - - n -     1 verify
flush      unix  n - n 1000? 0 flush
proxymap   unix  - - n -     - proxymap
proxywrite unix  - - n -     1 proxymap
showq      unix  n - n -     - showq
error      unix  - - n -     - error
retry      unix  - - n -     - error
discard    unix  - - n -     - discard
anvil      unix  - - n -     1 anvil
postlog    unix-dgram n - n - 1 postlogd
";

/// `main.cf` apart from paths; mail to anyone is accepted and thrown away.
const MAIN: &[(&str, &str)] = &[
    ("compatibility_level", "3.6"),
    ("myhostname", "mx.example.com"),
    ("mydomain", "example.com"),
    ("myorigin", "example.com"),
    ("mydestination", ""),
    ("inet_interfaces", "127.0.0.1"),
    ("inet_protocols", "ipv4"),
    ("mynetworks", "127.0.0.0/8"),
    ("alias_maps", ""),
    ("alias_database", ""),
    ("local_recipient_maps", ""),
    ("relay_domains", "static:ALL"),
    ("default_transport", "discard:"),
    ("relay_transport", "discard:"),
    ("local_transport", "discard:"),
    ("virtual_transport", "discard:"),
    ("disable_dns_lookups", "yes"),
    ("smtpd_peername_lookup", "no"),
    ("smtpd_error_sleep_time", "0"),
    ("smtpd_hard_error_limit", "1000"),
    ("smtpd_client_connection_count_limit", "0"),
    ("smtpd_authorized_xclient_hosts", "127.0.0.1"),
    ("smtpd_relay_restrictions", "permit_mynetworks reject_unauth_destination"),
    // With as many processes as sessions Postfix itself pauses for a second now and then.
    ("default_process_limit", "250"),
];

/// The restriction lists that can ask a policy service at RCPT.
pub(crate) const LISTS: &[&str] = &[
    "smtpd_client_restrictions",
    "smtpd_helo_restrictions",
    "smtpd_sender_restrictions",
    "smtpd_recipient_restrictions",
];

/// What is special in one test's Postfix.
#[derive(Debug, Clone, Default)]
pub(crate) struct PostfixSettings {
    main: Vec<(String, String)>,
    services: Vec<Vec<(String, String)>>,
}

impl PostfixSettings {
    /// A Postfix that asks this policy service in these restriction lists.
    pub(crate) fn asking(endpoint: &Endpoint, lists: &[&str]) -> Self {
        let mut settings = PostfixSettings::default();
        for list in lists {
            settings = settings.set(list, &format!("check_policy_service {endpoint}"));
        }
        settings
    }

    /// The same with a line of `main.cf`.
    pub(crate) fn set(mut self, name: &str, value: &str) -> Self {
        self.main.retain(|(found, _)| found != name);
        self.main.push((name.into(), value.into()));
        self
    }

    /// The same with one more SMTP service, on a port of its own, that has settings of its own.
    pub(crate) fn service(mut self, settings: &[(&str, &str)]) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        self.services.push(settings.collect());
        self
    }
}

/// A running Postfix; it is stopped and removed when this is dropped.
pub(crate) struct Postfix {
    directory: TempDir,
    ports: Vec<u16>,
}

impl Postfix {
    /// Starts a Postfix and waits until it greets.
    pub(crate) fn start(settings: &PostfixSettings) -> Self {
        assert!(
            Path::new(POSTFIX).exists(),
            "{POSTFIX} is missing; on Debian or Ubuntu: apt-get install postfix"
        );
        assert!(nix::unistd::geteuid().is_root(), "a private Postfix can only be started by root");
        let directory = tempfile::Builder::new().prefix("mppd-postfix-").tempdir().unwrap();
        let ports = (0..=settings.services.len()).map(|_| free_port()).collect();
        let postfix = Postfix { directory, ports };
        postfix.lay_out(settings);
        let started = postfix.postfix("start");
        assert!(started, "Postfix did not start:\n{}", postfix.mail_log());
        for port in &postfix.ports {
            let greeted = eventually(|| greets(*port).then_some(()));
            assert!(greeted.is_some(), "Postfix does not greet:\n{}", postfix.mail_log());
        }
        postfix
    }

    /// The port of the first SMTP service.
    pub(crate) fn port(&self) -> u16 {
        self.ports[0]
    }

    /// The port of the `index`th further SMTP service.
    pub(crate) fn service_port(&self, index: usize) -> u16 {
        self.ports[index + 1]
    }

    /// What Postfix logged.
    pub(crate) fn mail_log(&self) -> String {
        let log = fs::read(self.base().join("log/mail.log")).unwrap_or_default();
        String::from_utf8_lossy(&log).into_owned()
    }

    /// A queued message, header and body, as `postcat` shows it.
    pub(crate) fn queued_message(&self, queue_id: &str) -> String {
        let output = Command::new("/usr/sbin/postcat")
            .arg("-c")
            .arg(self.base().join("etc"))
            .args(["-hb", "-q", queue_id])
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Its configuration directory.
    pub(crate) fn etc(&self) -> PathBuf {
        self.base().join("etc")
    }

    /// Has it read its configuration again; an smtpd that it starts from then on goes by that.
    pub(crate) fn reload(&self) {
        assert!(self.postfix("reload"), "{}", self.mail_log());
    }

    fn base(&self) -> &Path {
        self.directory.path()
    }

    fn lay_out(&self, settings: &PostfixSettings) {
        let base = self.base();
        open_to_all(base);
        for name in ["etc", "queue", "log", "data"] {
            fs::create_dir(base.join(name)).unwrap();
            open_to_all(&base.join(name));
        }
        let user = nix::unistd::User::from_name("postfix").unwrap().expect("no user postfix");
        nix::unistd::chown(&base.join("data"), Some(user.uid), None).unwrap();
        fs::set_permissions(base.join("data"), fs::Permissions::from_mode(0o700)).unwrap();
        fs::write(base.join("etc/main.cf"), self.main_cf(settings)).unwrap();
        fs::write(base.join("etc/master.cf"), self.master_cf(settings)).unwrap();
    }

    fn main_cf(&self, settings: &PostfixSettings) -> String {
        let base = self.base().display();
        let mut text = format!(
            "config_directory = {base}/etc\n\
             queue_directory = {base}/queue\n\
             data_directory = {base}/data\n\
             maillog_file = {base}/log/mail.log\n\
             maillog_file_prefixes = {base}\n"
        );
        let is_set = |name: &str| settings.main.iter().any(|(found, _)| found == name);
        for (name, value) in MAIN.iter().filter(|(name, _)| !is_set(name)) {
            writeln!(text, "{name} = {value}").unwrap();
        }
        for (name, value) in &settings.main {
            writeln!(text, "{name} = {value}").unwrap();
        }
        text
    }

    fn master_cf(&self, settings: &PostfixSettings) -> String {
        let mut text = String::new();
        let none = Vec::new();
        let services = std::iter::once(&none).chain(&settings.services);
        for (port, options) in self.ports.iter().zip(services) {
            writeln!(text, "127.0.0.1:{port} inet n - n - - smtpd").unwrap();
            for (name, value) in options {
                writeln!(text, "    -o {{ {name} = {value} }}").unwrap();
            }
        }
        text + MASTER
    }

    fn postfix(&self, command: &str) -> bool {
        let output =
            Command::new(POSTFIX).arg("-c").arg(self.base().join("etc")).arg(command).output();
        output.is_ok_and(|output| output.status.success())
    }

    fn keep_mail_log(&self) {
        let kept = PathBuf::from(env!("CARGO_TARGET_TMPDIR"));
        let kept = kept.join(format!("postfix-{}.log", self.port()));
        let log = self.mail_log();
        let lines: Vec<&str> = log.lines().collect();
        let tail = &lines[lines.len().saturating_sub(40)..];
        drop(fs::write(&kept, &log));
        eprintln!("the mail log is kept as {}; its end:\n{}", kept.display(), tail.join("\n"));
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.keep_mail_log();
        }
        if !self.postfix("stop") {
            self.postfix("abort");
        }
    }
}

fn open_to_all(directory: &Path) {
    fs::set_permissions(directory, fs::Permissions::from_mode(0o755)).unwrap();
}

fn greets(port: u16) -> bool {
    let Ok(mut stream) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return false };
    let mut banner = [0; 3];
    stream.set_read_timeout(Some(Duration::from_secs(5))).is_ok()
        && stream.read_exact(&mut banner).is_ok()
        && &banner == b"220"
}
