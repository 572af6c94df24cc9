//! A connection to MySQL or MariaDB as it will be made: the options of
//! `<PPXX0001_track_policy_connection>`, its option file and its secrets, put together.

use std::path::{Path, PathBuf};
use std::time::Duration;

use mppd_engine::Finding;
use mppd_engine::config::{Origin, Source, SourceMap, Spanned};

use super::files::read_bounded;
use super::option_file::{self, OptionFile};
use super::redact;
use super::settings::{ConnectionOptions, Secret, SecretOptions, TlsOptions};

const DEFAULT_HOST: &str = "127.0.0.1";
const DEFAULT_PORT: u16 = 3306;
const DEFAULT_NAME: &str = "mppd";

/// The largest option file, and the largest file with a secret.
const MOST_OCTETS: usize = 1 << 20;

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

/// Puts a connection together. The option file joins the sources, so that its faults have a place.
///
/// # Errors
/// Every fault of the options and of the files that they name.
pub fn resolve(
    options: &ConnectionOptions,
    sources: &mut SourceMap,
) -> Result<ResolvedConnection, Vec<Finding>> {
    let mut findings = Vec::new();
    let password = match options.password.as_ref().map(|secret| reveal(secret, sources)) {
        Some(Ok(secret)) => Some(secret),
        Some(Err(finding)) => {
            findings.push(finding);
            None
        }
        None => None,
    };
    let defaults = match options.defaults_file.as_ref().map(|file| read_defaults(file, sources)) {
        Some(Ok(defaults)) => defaults,
        Some(Err(mut faults)) => {
            findings.append(&mut faults);
            OptionFile::default()
        }
        None => OptionFile::default(),
    };
    if let Some(file) = options.tls.as_ref().and_then(|tls| tls.ca_file.as_ref()) {
        findings.extend(check_authorities(file, sources).err());
    }
    if findings.is_empty() {
        Ok(combine(options, password, defaults, sources))
    } else {
        Err(findings)
    }
}

fn combine(
    options: &ConnectionOptions,
    password: Option<Secret>,
    defaults: OptionFile,
    sources: &SourceMap,
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
    let ssl_ca = defaults
        .ssl_ca
        .map(|file| Tls { ca_file: Some(beside(&file, sources)), skip_verification: false });
    ResolvedConnection {
        host: unix_socket.is_none().then_some(host),
        port: options.port.or(defaults.port).unwrap_or(DEFAULT_PORT),
        database: name(&options.database, defaults.database),
        unix_socket,
        user: name(&options.user, defaults.user),
        password: password.or(defaults.password),
        tls: options.tls.as_ref().map(|tls| encryption(tls, sources)).or(ssl_ca),
        connect_timeout: options.connect_timeout.0,
        write_timeout: options.write_timeout.0,
    }
}

/// A file without certificates would only show as a database that is away.
fn check_authorities(file: &Spanned<PathBuf>, sources: &SourceMap) -> Result<(), Finding> {
    let path = beside(file, sources);
    let pem = std::fs::read(&path).map_err(|error| {
        Finding::error(file.span, format!("can't read {}: {error}", path.display()))
    })?;
    if memchr::memmem::find(&pem, b"-----BEGIN CERTIFICATE-----").is_none() {
        let message = format!("{} holds no certificate in PEM form", path.display());
        return Err(Finding::error(file.span, message));
    }
    Ok(())
}

fn encryption(options: &TlsOptions, sources: &SourceMap) -> Tls {
    Tls {
        ca_file: options.ca_file.as_ref().map(|file| beside(file, sources)),
        skip_verification: options.skip_verification,
    }
}

/// A file name, relative to the file that names it.
fn beside(name: &Spanned<PathBuf>, sources: &SourceMap) -> PathBuf {
    sources.directory(name.span.source).join(&name.value)
}

/// The secret itself, from wherever it is.
///
/// # Errors
/// A finding at the secret's place, if it is given in two ways or in none, or can't be read.
pub fn reveal(options: &Spanned<SecretOptions>, sources: &SourceMap) -> Result<Secret, Finding> {
    match (&options.value.text, &options.value.file) {
        (Some(text), None) => Ok(text.clone()),
        (None, Some(file)) => read_secret(file, sources),
        (Some(_), Some(file)) => {
            let message = "the secret is given twice, as text and by a file";
            Err(Finding::error(file.span, message).with_help("keep one of them"))
        }
        (None, None) => Err(Finding::error(options.span, "the secret is missing")
            .with_help("write it here, or name the file that holds it: file=\"secrets/db\"")),
    }
}

fn read_secret(file: &Spanned<PathBuf>, sources: &SourceMap) -> Result<Secret, Finding> {
    let path = beside(file, sources);
    let text = read_text(&path).map_err(|message| Finding::error(file.span, message))?;
    let line = text.split('\n').next().unwrap_or_default();
    let line = line.strip_suffix('\r').unwrap_or(line);
    if line.is_empty() {
        let message = format!("the first line of {} is empty", path.display());
        return Err(Finding::error(file.span, message).with_help("the secret is expected there"));
    }
    Ok(Secret::from(line.to_owned()))
}

fn read_defaults(
    file: &Spanned<PathBuf>,
    sources: &mut SourceMap,
) -> Result<OptionFile, Vec<Finding>> {
    let path = beside(file, sources);
    let text = read_text(&path).map_err(|message| vec![Finding::error(file.span, message)])?;
    let origin = Origin::File(path);
    let source = sources.add(Source { origin, text: redact::option_file(&text) });
    option_file::parse(&text, source)
}

/// The text of a file, or why there is none.
fn read_text(path: &Path) -> Result<String, String> {
    let octets = read_bounded(path, MOST_OCTETS)
        .map_err(|error| format!("can't read {}: {error}", path.display()))?;
    if octets.len() > MOST_OCTETS {
        return Err(format!("{} is larger than {MOST_OCTETS} octets", path.display()));
    }
    String::from_utf8(octets).map_err(|_| format!("{} is not UTF-8", path.display()))
}
