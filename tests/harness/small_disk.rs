//! A file system in memory with little room, which a test can fill.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system that ends with this.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one with so much room (`64m`) on a directory.
    pub(crate) fn mount(at: &Path, size: &str) -> Self {
        let mount = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &format!("size={size},mode=0750"), "mppd-test"])
            .arg(at)
            .status()
            .unwrap();
        assert!(mount.success(), "no small file system can be mounted; the tests need root");
        SmallDisk(at.to_owned())
    }

    fn filler(&self) -> PathBuf {
        self.0.join("filler")
    }

    /// Takes all room that is left, to the last octet.
    pub(crate) fn fill(&self) {
        let mut file = File::options().create(true).append(true).open(self.filler()).unwrap();
        for size in [1 << 20, 1 << 10, 1] {
            let piece = vec![b'x'; size];
            while file.write_all(&piece).is_ok() {}
        }
    }

    /// Gives the room back.
    pub(crate) fn empty(&self) {
        drop(std::fs::remove_file(self.filler()));
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // Lazily, since somebody may still hold files open.
        drop(Command::new("umount").arg("--lazy").arg(&self.0).status());
    }
}
