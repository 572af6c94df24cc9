//! A connection to MySQL or MariaDB as it will be made: the options, their option file and their
//! secrets, put together.

use std::env::VarError;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mppd_engine::config::{Origin, Severity, Source, SourceMap, Spanned};
use mppd_engine::{BuildContext, Finding, Span};

use crate::option_file::{self, Fault, OptionFile};
use crate::options::{ConnectionOptions, Secret, SecretOptions, TlsOptions};
use crate::redact;

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 3306;
const DEFAULT_NAME: &str = "mppd";

/// The largest option file, and the largest file with a secret.
const MOST_OCTETS: u64 = 1 << 20;

/// Everything that is needed to connect. Groups whose connections are equal share one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvedConnection {
    /// Host name or address; `None` where a socket file is used instead.
    pub host: Option<String>,
    /// TCP port.
    pub port: u16,
    /// Database that holds the table.
    pub database: String,
    /// Socket file of a server on this machine.
    pub unix_socket: Option<PathBuf>,
    /// User name.
    pub user: String,
    /// Password; none where the server asks for none.
    pub password: Option<Secret>,
    /// Encryption; `None` for a plain connection.
    pub tls: Option<Tls>,
    /// How long to wait for a connection.
    pub connect_timeout: Duration,
    /// How long one transaction may take before the database counts as away.
    pub write_timeout: Duration,
}

/// Encryption of a connection to a database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// Certificates of the authorities to trust, PEM; those of the Web where there is none.
    pub ca_file: Option<PathBuf>,
    /// Whether to accept any certificate.
    pub skip_verification: bool,
}

/// Where the files are that a connection names, and how what is wrong in them is told.
pub trait Files {
    /// The file that is meant by a name.
    fn path(&self, name: &Spanned<PathBuf>) -> PathBuf;

    /// What is wrong in a file that was read. The text has its secrets hidden.
    fn findings(
        &mut self,
        named: Span,
        path: &Path,
        text: String,
        faults: Vec<Fault>,
    ) -> Vec<Finding>;

    /// Tells what works, but probably not as meant.
    fn warn(&mut self, warning: Finding);
}

/// The server's: the file joins the sources, so that each fault has its own place.
#[derive(Debug)]
pub struct ServerFiles<'a> {
    /// Where everything stands.
    pub sources: &'a mut SourceMap,
    /// What there is to warn of.
    pub warnings: Vec<Finding>,
}

impl<'a> ServerFiles<'a> {
    /// Files that are named in these sources.
    #[must_use]
    pub fn new(sources: &'a mut SourceMap) -> Self {
        ServerFiles { sources, warnings: Vec::new() }
    }
}

impl Files for ServerFiles<'_> {
    fn path(&self, name: &Spanned<PathBuf>) -> PathBuf {
        self.sources.directory(name.span.source).join(&name.value)
    }

    fn warn(&mut self, warning: Finding) {
        self.warnings.push(Finding { severity: Severity::Warning, ..warning });
    }

    fn findings(&mut self, _: Span, path: &Path, text: String, faults: Vec<Fault>) -> Vec<Finding> {
        let source = self.sources.add(Source { origin: Origin::File(path.to_owned()), text });
        let finding = |Fault { place, message, help }| {
            let span = Span { source, start: place.start, end: place.end };
            helped(Finding::error(span, message), help)
        };
        faults.into_iter().map(finding).collect()
    }
}

/// An engine's: faults are told where the file is named, with the file's line.
impl Files for BuildContext<'_> {
    fn path(&self, name: &Spanned<PathBuf>) -> PathBuf {
        BuildContext::path(self, name)
    }

    fn warn(&mut self, warning: Finding) {
        BuildContext::warn(self, warning);
    }

    fn findings(
        &mut self,
        named: Span,
        path: &Path,
        text: String,
        faults: Vec<Fault>,
    ) -> Vec<Finding> {
        let finding = |Fault { place, message, help }: Fault| {
            let before = text.get(..place.start).unwrap_or_default();
            let line = before.matches('\n').count() + 1;
            let message = format!("{}:{line}: {message}", path.display());
            helped(Finding::error(named, message), help)
        };
        faults.into_iter().map(finding).collect()
    }
}

fn helped(finding: Finding, help: Option<&str>) -> Finding {
    match help {
        Some(help) => finding.with_help(help),
        None => finding,
    }
}

/// Puts a connection together.
///
/// # Errors
/// Every fault of the options and of the files that they name.
pub fn resolve(
    options: &ConnectionOptions,
    files: &mut impl Files,
) -> Result<ResolvedConnection, Vec<Finding>> {
    let mut findings = Vec::new();
    let password = match options.password.as_ref().map(|secret| reveal(secret, files)) {
        Some(Ok(secret)) => Some(secret),
        Some(Err(finding)) => {
            findings.push(finding);
            None
        }
        None => None,
    };
    let defaults = match options.defaults_file.as_ref().map(|file| read_defaults(file, files)) {
        Some(Ok(defaults)) => defaults,
        Some(Err(mut faults)) => {
            findings.append(&mut faults);
            OptionFile::default()
        }
        None => OptionFile::default(),
    };
    if let Some(tls) = &options.tls {
        findings.extend(
            tls.value.ca_file.as_ref().and_then(|file| check_authorities(file, files).err()),
        );
        if let Some(warning) = trusts_anybody(tls) {
            files.warn(warning);
        }
    }
    if findings.is_empty() {
        Ok(combine(options, password, defaults, files))
    } else {
        Err(findings)
    }
}

fn combine(
    options: &ConnectionOptions,
    password: Option<Secret>,
    defaults: OptionFile,
    files: &impl Files,
) -> ResolvedConnection {
    // The clients of MySQL use the socket file where the host is this machine; a host or port
    // given to mppd is meant.
    let is_local = defaults.host.as_deref().is_none_or(|host| host == "localhost");
    let is_remote = options.host.is_some() || options.port.is_some() || !is_local;
    let socket_of_defaults = defaults.socket.filter(|_| !is_remote);
    let unix_socket = options.unix_socket.clone().or(socket_of_defaults);
    let host = options.host.clone().or(defaults.host).unwrap_or_else(|| DEFAULT_HOST.to_owned());
    let name = |given: &Option<String>, default: Option<String>| {
        given.clone().or(default).unwrap_or_else(|| DEFAULT_NAME.to_owned())
    };
    let ssl_ca = defaults.ssl_ca.map(|file| Tls { ca_file: Some(file), skip_verification: false });
    ResolvedConnection {
        host: unix_socket.is_none().then_some(host),
        port: options.port.or(defaults.port).unwrap_or(DEFAULT_PORT),
        database: name(&options.database, defaults.database),
        unix_socket,
        user: name(&options.user, defaults.user),
        password: password.or(defaults.password),
        tls: options.tls.as_ref().map(|tls| encryption(&tls.value, files)).or(ssl_ca),
        connect_timeout: options.connect_timeout.0,
        write_timeout: options.write_timeout.0,
    }
}

/// A file without certificates would only show as a database that is away.
fn check_authorities(file: &Spanned<PathBuf>, files: &impl Files) -> Result<(), Finding> {
    let path = files.path(file);
    let pem = std::fs::read(&path).map_err(|error| {
        Finding::error(file.span, format!("can't read {}: {error}", path.display()))
    })?;
    if !String::from_utf8_lossy(&pem).contains("-----BEGIN CERTIFICATE-----") {
        let message = format!("{} holds no certificate in PEM form", path.display());
        return Err(Finding::error(file.span, message));
    }
    Ok(())
}

fn encryption(options: &TlsOptions, files: &impl Files) -> Tls {
    Tls {
        ca_file: options.ca_file.as_ref().map(|file| files.path(file)),
        skip_verification: options.skip_verification,
    }
}

/// What is to be said of encryption that takes any certificate.
#[must_use]
pub fn trusts_anybody(tls: &Spanned<TlsOptions>) -> Option<Finding> {
    let warning = Finding::warning(
        tls.span,
        "skip_verification takes any certificate: whoever sits between can read and change \
         everything",
    );
    let help = "name the authority of the server's certificate: ca_file=\"…\"";
    tls.value.skip_verification.then(|| warning.with_help(help))
}

/// The secret itself, from wherever it is. Warns of a file that everybody can read.
///
/// # Errors
/// A finding at the secret's place, if it is given in two ways or in none, or can't be read.
pub fn reveal(options: &Spanned<SecretOptions>, files: &mut impl Files) -> Result<Secret, Finding> {
    let SecretOptions { text, file, variable } = &options.value;
    match (text, file, variable) {
        (Some(text), None, None) => Ok(text.clone()),
        (None, Some(file), None) => read_secret(file, files),
        (None, None, Some(variable)) => of_environment(variable),
        (None, None, None) => Err(Finding::error(options.span, "the secret is missing")
            .with_help("write it here, or name the file that holds it: file=\"secrets/db\"")),
        _ => {
            let place = variable.as_ref().map(|it| it.span).or(file.as_ref().map(|it| it.span));
            let message = "the secret is given more than once: as text, by a file, by a variable";
            Err(Finding::error(place.unwrap_or(options.span), message)
                .with_help("keep one of them"))
        }
    }
}

fn of_environment(variable: &Spanned<String>) -> Result<Secret, Finding> {
    let name = variable.value.trim();
    let refused = |why: &str| {
        Finding::error(variable.span, format!("the variable {name} of the environment {why}"))
            .with_help("the secret is expected there")
    };
    match std::env::var(name) {
        Ok(secret) if !secret.is_empty() => Ok(Secret::from(secret)),
        Ok(_) => Err(refused("is empty")),
        Err(VarError::NotPresent) => Err(refused("is not set")),
        Err(VarError::NotUnicode(_)) => Err(refused("is not UTF-8")),
    }
}

fn read_secret(file: &Spanned<PathBuf>, files: &mut impl Files) -> Result<Secret, Finding> {
    let path = files.path(file);
    let text = read_text(&path).map_err(|message| Finding::error(file.span, message))?;
    warn_of_readers(file, &path, files);
    let line = text.split('\n').next().unwrap_or_default();
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        let message = format!("the first line of {} is empty", path.display());
        return Err(Finding::error(file.span, message).with_help("the secret is expected there"));
    }
    Ok(Secret::from(line.to_owned()))
}

/// Warns of a file with a secret that users can read who are neither its owner nor of its group.
fn warn_of_readers(file: &Spanned<PathBuf>, path: &Path, files: &mut impl Files) {
    let mode = std::fs::metadata(path).map_or(0, |metadata| metadata.permissions().mode());
    if mode & 0o004 == 0 {
        return;
    }
    let message = format!("everybody on this machine can read the secret in {}", path.display());
    let help = format!("chmod o= {}", path.display());
    files.warn(Finding::warning(file.span, message).with_help(help));
}

fn read_defaults(
    file: &Spanned<PathBuf>,
    files: &mut impl Files,
) -> Result<OptionFile, Vec<Finding>> {
    let path = files.path(file);
    let text = read_text(&path).map_err(|message| vec![Finding::error(file.span, message)])?;
    let mut options = option_file::parse(&text)
        .map_err(|faults| files.findings(file.span, &path, redact::option_file(&text), faults))?;
    if options.password.is_some() {
        warn_of_readers(file, &path, files);
    }
    let directory = path.parent().unwrap_or(Path::new(""));
    options.ssl_ca = options.ssl_ca.map(|file| directory.join(file));
    Ok(options)
}

/// The text of a file, or why there is none.
fn read_text(path: &Path) -> Result<String, String> {
    let unreadable = |error| format!("can't read {}: {error}", path.display());
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mut octets = Vec::new();
    file.take(MOST_OCTETS + 1).read_to_end(&mut octets).map_err(unreadable)?;
    if octets.len() as u64 > MOST_OCTETS {
        return Err(format!("{} is larger than {MOST_OCTETS} octets", path.display()));
    }
    String::from_utf8(octets).map_err(|_| format!("{} is not UTF-8", path.display()))
}

#[cfg(test)]
mod tests {
    use mppd_engine::slog::{Discard, Logger, o};

    use super::*;

    #[test]
    fn an_engine_is_told_the_line_of_a_fault_in_an_option_file() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("my.cnf");
        std::fs::write(&file, "[client]\nport=many\npassword=geheim\n").unwrap();
        let mut sources = SourceMap::default();
        let origin = Origin::File(directory.path().join("mppd.conf.xml"));
        let source = sources.add(Source { origin, text: "my.cnf".to_owned() });
        let named = Spanned { value: "my.cnf".into(), span: Span { source, start: 0, end: 6 } };
        let options = ConnectionOptions { defaults_file: Some(named), ..Default::default() };
        let mut cx = BuildContext::new(&sources, Logger::root(Discard, o!()));
        let findings = resolve(&options, &mut cx).unwrap_err();
        let message = format!("{}:2: \"many\" is not a port (0 to 65535)", file.display());
        assert_eq!(findings, [Finding::error(Span { source, start: 0, end: 6 }, message)]);
    }

    /// What is warned of where these options stand beside a file `secret` of this mode.
    fn warnings(options: impl Fn(Span) -> ConnectionOptions, mode: u32) -> Vec<String> {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("secret");
        std::fs::write(&file, "[client]\npassword=geheim\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        let mut sources = SourceMap::default();
        let origin = Origin::File(directory.path().join("mppd.conf.xml"));
        let source = sources.add(Source { origin, text: "secret".to_owned() });
        let place = Span { source, start: 0, end: 6 };
        let mut files = ServerFiles::new(&mut sources);
        resolve(&options(place), &mut files).unwrap();
        let is_placed = |it: &Finding| (it.severity, it.span) == (Severity::Warning, Some(place));
        assert!(files.warnings.iter().all(is_placed), "{:?}", files.warnings);
        files.warnings.into_iter().map(|warning| warning.message).collect()
    }

    fn secret_file(span: Span) -> Spanned<PathBuf> {
        Spanned { value: "secret".into(), span }
    }

    fn by_file(span: Span) -> ConnectionOptions {
        let secret = SecretOptions { text: None, file: Some(secret_file(span)), variable: None };
        let password = Some(Spanned { value: secret, span });
        ConnectionOptions { password, ..Default::default() }
    }

    fn by_option_file(span: Span) -> ConnectionOptions {
        ConnectionOptions { defaults_file: Some(secret_file(span)), ..Default::default() }
    }

    #[test]
    fn a_secret_that_everybody_can_read_is_warned_of() {
        for options in [by_file, by_option_file] {
            for mode in [0o600, 0o640, 0o440] {
                assert_eq!(warnings(options, mode), [""; 0], "{mode:o}");
            }
            for mode in [0o644, 0o604, 0o444] {
                let warned = warnings(options, mode);
                assert!(warned[0].starts_with("everybody on this machine can read the secret in"));
                assert!(!warned[0].contains("geheim"));
            }
        }
    }

    #[test]
    fn encryption_that_trusts_anybody_is_warned_of() {
        let with = |skip_verification| {
            let tls = TlsOptions { ca_file: None, skip_verification };
            let options = |span| ConnectionOptions {
                tls: Some(Spanned { value: tls.clone(), span }),
                ..Default::default()
            };
            warnings(options, 0o600)
        };
        assert_eq!(with(false), [""; 0]);
        assert!(with(true)[0].starts_with("skip_verification takes any certificate"));
    }
}
