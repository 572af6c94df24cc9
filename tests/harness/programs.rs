//! Servers of other projects that the tests run: found where Debian puts them, and killed when they
//! are dropped, also by a panic.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// Where a program is.
///
/// # Panics
/// If it is not installed; says which package has it.
pub(crate) fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    let found = directories.map(|directory| directory.join(name)).find(|path| path.exists());
    found.unwrap_or_else(|| panic!("{name} is not installed; on Debian: apt-get install {package}"))
}

/// The name of whoever runs the tests, as their servers want to be told.
pub(crate) fn user_name() -> String {
    nix::unistd::User::from_uid(nix::unistd::Uid::effective()).unwrap().unwrap().name
}

/// The name of the group of whoever runs the tests.
pub(crate) fn group_name() -> String {
    nix::unistd::Group::from_gid(nix::unistd::Gid::effective()).unwrap().unwrap().name
}

/// A server that runs until this is dropped.
pub(crate) struct Server(Child);

impl Server {
    /// Starts it; it is silent, and stays the child of this process.
    pub(crate) fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Server(command.spawn().unwrap())
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        self.0.try_wait().unwrap().is_none()
    }

    /// Kills it.
    pub(crate) fn kill(&mut self) {
        drop(self.0.kill());
        self.0.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}
