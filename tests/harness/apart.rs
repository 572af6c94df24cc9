//! An mppd that sees other files than everybody else where the system has only one: it runs in a
//! mount namespace of its own.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

/// What is needed of the system's devices.
const DEVICES: [&str; 5] = ["full", "null", "random", "urandom", "zero"];

/// The program, and the directory of what it sees.
pub(crate) struct Apart(TempDir);

impl Apart {
    /// One whose `/etc/resolv.conf` names this server.
    pub(crate) fn with_name_server(address: std::net::IpAddr) -> Self {
        let apart = Apart(TempDir::new().unwrap());
        let file = apart.path().join("resolv.conf");
        std::fs::write(&file, format!("nameserver {address}\n")).unwrap();
        apart.program(&format!("mount --bind {} /etc/resolv.conf", file.display()));
        apart
    }

    /// One whose system's logger listens on [`Apart::logger`].
    pub(crate) fn with_logger() -> Self {
        let apart = Apart(TempDir::new().unwrap());
        let devices = apart.path().join("dev");
        std::fs::create_dir(&devices).unwrap();
        let (devices, logger) = (devices.display(), apart.logger());
        let bind = |device: &str| {
            let file = format!("{devices}/{device}");
            format!(" && : >{file} && mount --bind /dev/{device} {file}")
        };
        let script = format!(
            "mount -t tmpfs mppd-test {devices}{} && ln -s {} {devices}/log && \
             mount --rbind {devices} /dev",
            DEVICES.map(bind).concat(),
            logger.display()
        );
        apart.program(&script);
        apart
    }

    fn program(&self, script: &str) {
        let text = format!(
            "#!/bin/sh\n\
             exec unshare --mount sh -c '{{ {script}; }} && exec \"$@\"' sh {} \"$@\"\n",
            env!("CARGO_BIN_EXE_mppd")
        );
        std::fs::write(self.executable(), text).unwrap();
        let mode = std::fs::Permissions::from_mode(0o755);
        std::fs::set_permissions(self.executable(), mode).unwrap();
    }

    /// What is run in place of `mppd`.
    pub(crate) fn executable(&self) -> PathBuf {
        self.path().join("mppd")
    }

    /// Where it sends the lines of its log.
    pub(crate) fn logger(&self) -> PathBuf {
        self.path().join("log")
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}
