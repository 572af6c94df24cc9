//! A Redis or Valkey of the test's own, on a port and with a directory that nobody else uses.

use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use super::eventually;
use super::ports::free_port;
use super::programs::{Server, program};

/// A running (or killed) private server. What it holds is written with each change, so it survives
/// being killed.
pub(crate) struct Redis {
    server: Server,
    port: u16,
    directory: TempDir,
    options: Vec<String>,
}

impl Redis {
    /// Starts a server.
    pub(crate) fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts one with more options, as its command line takes them.
    pub(crate) fn start_with(options: &[&str]) -> Self {
        let directory = tempfile::Builder::new().prefix("mppd-redis-").tempdir().unwrap();
        let options: Vec<String> = options.iter().map(|option| (*option).to_owned()).collect();
        let port = free_port();
        let server = spawn(port, &directory, &options);
        Redis { server, port, directory, options }
    }

    /// Three servers that are one cluster.
    pub(crate) fn start_cluster() -> [Redis; 3] {
        let nodes = [(); 3].map(|()| {
            // The port of the cluster's own talk is ten thousand higher unless given.
            let bus = free_port().to_string();
            Redis::start_with(&["--cluster-enabled", "yes", "--cluster-port", &bus])
        });
        let made = cli()
            .args(["--cluster", "create"])
            .args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)))
            .args(["--cluster-replicas", "0", "--cluster-yes"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stdout));
        let is_whole = |node: &Redis| node.say(&["cluster", "info"]).contains("cluster_state:ok");
        eventually(|| nodes.iter().all(is_whole).then_some(())).expect("a whole cluster");
        nodes
    }

    /// Its address.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// Gives a command; what the server says.
    pub(crate) fn say(&self, command: &[&str]) -> String {
        let said = cli().args(["-p", &self.port.to_string()]).args(command).output().unwrap();
        String::from_utf8_lossy(&said.stdout).into_owned()
    }

    /// Kills it with SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.server.kill();
    }

    /// Starts it again on the same port and data.
    pub(crate) fn restart(&mut self) {
        self.server = spawn(self.port, &self.directory, &self.options);
    }
}

fn spawn(port: u16, directory: &TempDir, options: &[String]) -> Server {
    let mut server = Server::start(
        Command::new(binary("server"))
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--dir", directory.path().to_str().unwrap()])
            .args(["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
            .args(options),
    );
    let ready = eventually(|| {
        assert!(server.is_running(), "Redis does not start");
        TcpStream::connect(("127.0.0.1", port)).ok()?;
        let said = cli().args(["-p", &port.to_string(), "ping"]).output().unwrap();
        (said.stdout != b"" && !said.stdout.starts_with(b"LOADING")).then_some(())
    });
    assert!(ready.is_some(), "Redis does not listen");
    server
}

fn cli() -> Command {
    Command::new(binary("cli"))
}

/// Valkey's program where there is one, else that of Redis.
fn binary(name: &str) -> PathBuf {
    let valkey = format!("valkey-{name}");
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).map(|directory| directory.join(&valkey));
    let package = if name == "cli" { "redis-tools" } else { "redis-server" };
    found
        .into_iter()
        .find(|path| path.exists())
        .unwrap_or_else(|| program(&format!("redis-{name}"), package))
}
