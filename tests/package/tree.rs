//! A fresh Debian below a directory of its own, in which packages are installed by its own dpkg.

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// A copy of the Debian that `./test package` has made; it is removed when this is dropped.
pub(super) struct Tree {
    directory: TempDir,
}

/// How a program in the tree ended, and what it said on both of its outputs.
pub(super) struct Said {
    pub(super) success: bool,
    pub(super) text: String,
}

/// What `./test package` names.
pub(super) fn given(name: &str) -> PathBuf {
    let value = std::env::var_os(name);
    value.unwrap_or_else(|| panic!("{name} is not set; run ./test package")).into()
}

/// What dpkg and its helpers write about themselves, and what stands in for systemd.
const OF_THE_SYSTEM: [&str; 6] =
    ["/var/lib/dpkg", "/var/log", "/var/cache", "/run", "/usr/local", "/var/lib/systemd"];

impl Said {
    /// Runs a program to its end.
    pub(super) fn of(command: &mut Command) -> Self {
        let output = command.output().unwrap();
        let text = [output.stdout.as_slice(), &output.stderr].concat();
        let text = String::from_utf8_lossy(&text).into_owned();
        Said { success: output.status.success(), text }
    }
}

impl Tree {
    pub(super) fn fresh() -> Self {
        Self::of("MPPD_PACKAGE_BASE")
    }

    /// A copy of the one that this variable names.
    pub(super) fn of(base: &str) -> Self {
        assert!(nix::unistd::geteuid().is_root(), "only root can install a package");
        let directory = tempfile::Builder::new().prefix("mppd-package-").tempdir().unwrap();
        let base = given(base).join(".");
        let copied = Command::new("cp").arg("-a").arg(base).arg(directory.path()).status();
        assert!(copied.unwrap().success());
        Tree { directory }
    }

    pub(super) fn path(&self, inside: &str) -> PathBuf {
        self.directory.path().join(inside.trim_start_matches('/'))
    }

    /// A program of the tree, not yet started.
    pub(super) fn command(&self, program: &str) -> Command {
        let mut command = Command::new("chroot");
        command.arg(self.directory.path()).arg(program).env_clear();
        command.env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
        command.env("LC_ALL", "C.UTF-8").env("DEBIAN_FRONTEND", "noninteractive");
        command.current_dir("/");
        command
    }

    pub(super) fn run(&self, program: &str, arguments: &[&str]) -> Said {
        Said::of(self.command(program).args(arguments))
    }

    /// What a program says that must succeed.
    pub(super) fn succeed(&self, program: &str, arguments: &[&str]) -> String {
        let said = self.run(program, arguments);
        assert!(said.success, "{program} {arguments:?}: {}", said.text);
        said.text
    }

    /// Installs the package of this name in the environment, or upgrades to it.
    pub(super) fn install(&self, package: &str) {
        std::fs::copy(given(package), self.path("/run/mppd.deb")).unwrap();
        self.succeed("dpkg", &["--install", "/run/mppd.deb"]);
    }

    /// Every file that is neither the system's own bookkeeping nor a directory of it.
    pub(super) fn files(&self) -> BTreeMap<String, u64> {
        let mut files = BTreeMap::new();
        self.collect(Path::new("/"), &mut files);
        files
    }

    fn collect(&self, directory: &Path, files: &mut BTreeMap<String, u64>) {
        for entry in std::fs::read_dir(self.path(directory.to_str().unwrap())).unwrap() {
            let entry = entry.unwrap();
            let inside = directory.join(entry.file_name());
            if OF_THE_SYSTEM.iter().any(|known| inside.starts_with(known)) {
                continue;
            }
            let metadata = std::fs::symlink_metadata(entry.path()).unwrap();
            let size = if metadata.is_file() { metadata.size() } else { 0 };
            files.insert(inside.to_str().unwrap().to_owned(), size);
            if metadata.is_dir() {
                self.collect(&inside, files);
            }
        }
    }
}
