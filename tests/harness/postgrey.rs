//! A real postgrey, on a port and with a database of its own.

use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use tempfile::TempDir;

use super::eventually;
use super::ports::free_port;
use super::programs::{Server, group_name, program, user_name};

/// A running postgrey that lets a client in after one second.
pub(crate) struct Postgrey {
    server: Server,
    port: u16,
    directory: TempDir,
}

impl Postgrey {
    pub(crate) fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("mppd-postgrey-").tempdir().unwrap();
        Postgrey::start_on(free_port(), directory)
    }

    fn start_on(port: u16, directory: TempDir) -> Self {
        let mut server = Server::start(
            Command::new(program("postgrey", "postgrey"))
                .arg(format!("--inet=127.0.0.1:{port}"))
                .arg(format!("--dbdir={}", directory.path().display()))
                .arg(format!("--pidfile={}", directory.path().join("pid").display()))
                .arg(format!("--user={}", user_name()))
                .arg(format!("--group={}", group_name()))
                .args(["--delay=1", "--greylist-text=come back in %s seconds"]),
        );
        let ready = eventually(|| {
            assert!(server.is_running(), "postgrey does not start");
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        assert!(ready.is_some(), "postgrey does not listen");
        Postgrey { server, port, directory }
    }

    /// Kills it and starts it again, with the same port and database.
    pub(crate) fn restart(self) -> Self {
        let Postgrey { mut server, port, directory } = self;
        server.kill();
        Postgrey::start_on(port, directory)
    }

    /// Where its databases are.
    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("inet:127.0.0.1:{}", self.port)
    }
}
