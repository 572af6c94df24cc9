//! A real slapd, on a port and with a directory of its own.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpStream;
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::eventually;
use super::mariadb::tls_file;
use super::ports::free_port;
use super::programs::{Server, program};

/// Who may read the directory.
pub(crate) const READER: &str = "cn=reader,dc=example,dc=org";
pub(crate) const PASSWORD: &str = "s3cret";

/// A running slapd of `dc=example,dc=org`.
pub(crate) struct Slapd {
    server: Server,
    port: u16,
    tls_port: u16,
    directory: TempDir,
}

impl Slapd {
    /// Starts a server that holds these entries (LDIF) below `ou=people,dc=example,dc=org`.
    pub(crate) fn start(people: &str) -> Self {
        let directory = tempfile::Builder::new().prefix("mppd-slapd-").tempdir().unwrap();
        fs::create_dir(directory.path().join("data")).unwrap();
        fs::write(directory.path().join("slapd.conf"), configuration(&directory)).unwrap();
        fs::write(directory.path().join("data.ldif"), entries(people)).unwrap();
        let added = Command::new(program("slapadd", "slapd"))
            .arg("-f")
            .arg(directory.path().join("slapd.conf"))
            .arg("-l")
            .arg(directory.path().join("data.ldif"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        assert!(added.status.success(), "{}", String::from_utf8_lossy(&added.stderr));
        Slapd::start_on(free_port(), free_port(), directory)
    }

    fn start_on(port: u16, tls_port: u16, directory: TempDir) -> Self {
        let addresses = format!(
            "ldap://127.0.0.1:{port}/ ldaps://127.0.0.1:{tls_port}/ ldapi://{}",
            socket(&directory)
        );
        let mut server = Server::start(
            Command::new(program("slapd", "slapd"))
                .arg("-f")
                .arg(directory.path().join("slapd.conf"))
                .args(["-h", &addresses, "-d", "0"]),
        );
        let ready = eventually(|| {
            assert!(server.is_running(), "slapd does not start");
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        assert!(ready.is_some(), "slapd does not listen");
        Slapd { server, port, tls_port, directory }
    }

    /// Kills it and starts it again, with the same ports and data.
    pub(crate) fn restart(self) -> Self {
        let Slapd { mut server, port, tls_port, directory } = self;
        server.kill();
        Slapd::start_on(port, tls_port, directory)
    }

    pub(crate) fn url(&self) -> String {
        format!("ldap://127.0.0.1:{}", self.port)
    }

    pub(crate) fn tls_url(&self) -> String {
        format!("ldaps://127.0.0.1:{}", self.tls_port)
    }

    pub(crate) fn socket_url(&self) -> String {
        format!("ldapi://{}", socket(&self.directory))
    }
}

/// The path of the socket as it stands in a URL.
fn socket(directory: &TempDir) -> String {
    directory.path().join("socket").display().to_string().replace('/', "%2F")
}

fn configuration(directory: &TempDir) -> String {
    let mut text = String::new();
    for schema in ["core", "cosine", "inetorgperson"] {
        writeln!(text, "include /etc/ldap/schema/{schema}.schema").unwrap();
    }
    let (certificate, key) = (tls_file("server.pem"), tls_file("server-key.pem"));
    let directory = directory.path().display();
    write!(
        text,
        "modulepath /usr/lib/ldap
moduleload back_mdb
pidfile {directory}/pid
TLSCertificateFile {certificate}
TLSCertificateKeyFile {key}
database mdb
maxsize 10485760
suffix dc=example,dc=org
directory {directory}/data
access to attrs=userPassword by anonymous auth
access to * by users read
",
        certificate = certificate.display(),
        key = key.display(),
    )
    .unwrap();
    text
}

fn entries(people: &str) -> String {
    format!(
        "dn: dc=example,dc=org
objectClass: dcObject
objectClass: organization
dc: example
o: Example

dn: {READER}
objectClass: organizationalRole
objectClass: simpleSecurityObject
cn: reader
userPassword: {PASSWORD}

dn: ou=people,dc=example,dc=org
objectClass: organizationalUnit
ou: people

{people}"
    )
}
