//! A real rbldnsd, the name server that many operators of DNS lists run, on a port of its own.

use std::fs::{self, Permissions};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt as _;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use super::eventually;
use super::ports::free_port;
use super::programs::{Server, program, user_name};

/// Whom it runs as where the tests run as root, which it refuses to do.
const NOBODY: &str = "nobody";

/// A question for the records of any name, by hand: number 1, recursion desired, `probe` TXT.
const PROBE: &[u8] = b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x05probe\0\0\x10\0\x01";

/// A running rbldnsd.
pub(crate) struct Rbldnsd {
    _server: Server,
    address: SocketAddr,
    _directory: TempDir,
}

impl Rbldnsd {
    /// Starts a server of these zones: name, type of the data (`ip4set`, `ip6trie`, `dnset` …), and
    /// the data.
    pub(crate) fn start(zones: &[(&str, &str, &str)]) -> Self {
        let directory = tempfile::Builder::new().prefix("mppd-rbldnsd-").tempdir().unwrap();
        fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()));
        let user = user_name();
        let user = if user == "root" { NOBODY } else { &user };
        let mut command = Command::new(program("rbldnsd", "rbldnsd"));
        command.args(["-n", "-u", user, "-b", &format!("{}/{}", address.ip(), address.port())]);
        command.arg("-w").arg(directory.path());
        for (zone, kind, data) in zones {
            fs::write(directory.path().join(zone), data).unwrap();
            command.arg(format!("{zone}:{kind}:{zone}"));
        }
        let mut server = Server::start(&mut command);
        let asker = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        asker.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
        let ready = eventually(|| {
            assert!(server.is_running(), "rbldnsd does not start");
            asker.send_to(PROBE, address).ok()?;
            asker.recv(&mut [0; 512]).ok()
        });
        assert!(ready.is_some(), "rbldnsd does not answer");
        Rbldnsd { _server: server, address, _directory: directory }
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }
}
