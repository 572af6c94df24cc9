//! The container file, built and run by podman as the guide says. What it begins with comes from
//! registries that a closed network does not reach, so images of the same names are made of the
//! programs of this machine; in that of Rust, `cargo` finds what it is asked for already built.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use tempfile::TempDir;

use super::booted::ask;
use super::tree::{Said, given};
use super::{FIRST, REFUSED};
use crate::harness::eventually;
use crate::harness::programs::program;
use crate::pages::{Act, Block};

const ACT: Act<fn(&Podman, &Block)> =
    Act { page: "docs/administrators.md", begins: "podman build", run: a_container_answers };

/// How many acts run a block.
pub(super) fn runs(block: &Block) -> usize {
    usize::from(ACT.is_of(block))
}

#[test]
#[ignore = "needs packages: ./test package"]
fn the_image_of_the_container_file_answers() {
    (ACT.run)(&Podman::start(), &ACT.block());
}

/// Programs of the stage that builds.
const BUILDING: [&str; 6] = ["sh", "cp", "mkdir", "sed", "strip", "chmod"];

const CARGO: &str = "#!/bin/sh
[ \"$*\" = 'build --locked --release --bin mppd' ] || exit 1
mkdir -p target/release && cp /given/mppd target/release/mppd
";

/// A podman with images, containers and settings of its own.
struct Podman {
    directory: TempDir,
}

impl Podman {
    fn start() -> Self {
        let directory = tempfile::Builder::new().prefix("mppd-podman-").tempdir().unwrap();
        let podman = Podman { directory };
        let path = podman.directory.path().display();
        let storage = format!(
            "[storage]\ndriver = \"overlay\"\ngraphroot = \"{path}/root\"\nrunroot = \"{path}/run\"\n"
        );
        fs::write(podman.file("storage.conf"), storage).unwrap();
        // Neither more rights nor other services than a container on this machine can have.
        let containers = "[containers]\ndefault_ulimits = [\"nofile=1024:1024\", \"nproc=1024:1024\"]\n\
             log_driver = \"k8s-file\"\n\
             [engine]\nruntime = \"runc\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\n";
        fs::write(podman.file("containers.conf"), containers).unwrap();
        podman.make_images();
        podman
    }

    fn file(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("CONTAINERS_STORAGE_CONF", self.file("storage.conf"));
        command.env("CONTAINERS_CONF", self.file("containers.conf"));
        command.env("TMPDIR", self.directory.path()).stdin(Stdio::null());
        command.current_dir(env!("CARGO_MANIFEST_DIR"));
        command
    }

    fn succeed(&self, program: &str, arguments: &[&str]) -> String {
        let said = Said::of(self.command(program).args(arguments));
        assert!(said.success, "{program} {arguments:?}: {}", said.text);
        said.text
    }

    fn make_images(&self) {
        let package = given(FIRST);
        let unpacked = self.file("package");
        let places = [package.to_str().unwrap(), unpacked.to_str().unwrap()];
        self.succeed("dpkg-deb", &["--extract", places[0], places[1]]);
        let mppd = unpacked.join("usr/bin/mppd");
        let text = fs::read_to_string(
            Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/container/Containerfile"),
        );
        let text = text.unwrap();
        let names = text.lines().filter_map(|line| line.strip_prefix("FROM "));
        let names: Vec<&str> = names.filter_map(|name| name.split_whitespace().next()).collect();
        let [builder, last] = names.as_slice() else { panic!("two stages: {names:?}") };

        let tree = self.file("builder");
        for name in BUILDING {
            put(&program(name, "binutils"), &format!("usr/bin/{name}"), &tree);
        }
        put(&mppd, "given/mppd", &tree);
        fs::create_dir_all(tree.join("usr/local/bin")).unwrap();
        fs::write(tree.join("usr/local/bin/cargo"), CARGO).unwrap();
        let everybody = fs::Permissions::from_mode(0o755);
        fs::set_permissions(tree.join("usr/local/bin/cargo"), everybody).unwrap();
        self.import(&tree, builder);

        // A C library and nothing else.
        let tree = self.file("last");
        for library in libraries(&mppd) {
            put(&library, library.to_str().unwrap().trim_start_matches('/'), &tree);
        }
        self.import(&tree, last);
    }

    fn import(&self, tree: &Path, name: &str) {
        // As everywhere, /bin and /lib are links.
        for place in ["bin", "lib", "lib64"] {
            fs::create_dir_all(tree.join("usr").join(place)).unwrap();
            std::os::unix::fs::symlink(format!("usr/{place}"), tree.join(place)).unwrap();
        }
        fs::create_dir_all(tree.join("tmp")).unwrap();
        let archive = self.file("image.tar");
        let words = [archive.to_str().unwrap(), tree.to_str().unwrap()];
        self.succeed("tar", &["-cf", words[0], "-C", words[1], "."]);
        let path = "ENV PATH=/usr/local/bin:/usr/bin:/bin";
        self.succeed("podman", &["import", "--quiet", "--change", path, words[0], name]);
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}", Said::of(self.command("podman").args(["logs", "mppd"])).text);
        }
        // What it has mounted would keep its directory.
        for arguments in [&["rm", "--all", "--force", "--time=5"][..], &["rmi", "--all", "--force"]]
        {
            let _gone = Said::of(self.command("podman").args(arguments));
        }
    }
}

/// Puts a program and its libraries into a tree.
fn put(program: &Path, place: &str, tree: &Path) {
    let copy = |from: &Path, to: PathBuf| {
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(from, to).unwrap();
    };
    copy(program, tree.join(place));
    for library in libraries(program) {
        copy(&library, tree.join(library.strip_prefix("/").unwrap()));
    }
}

/// Where the dynamic linker finds what a program needs, itself included; all below `/usr`.
fn libraries(program: &Path) -> BTreeSet<PathBuf> {
    let said = Said::of(Command::new("ldd").arg(program));
    let found = said.text.split_whitespace().filter(|word| word.starts_with('/'));
    let below_usr = |path: &str| {
        if path.starts_with("/usr") { path.into() } else { format!("/usr{path}").into() }
    };
    found.map(below_usr).collect()
}

fn a_container_answers(podman: &Podman, block: &Block) {
    let said = Said::of(podman.command("sh").arg("-e").arg("-c").arg(&block.text));
    assert!(said.success, "{}: {}", block.place(), said.text);
    // What `mppd status` says in it.
    assert!(said.text.contains("inet:0.0.0.0:10040"), "{}", said.text);
    assert_eq!(ask(), REFUSED);
    let health = eventually(|| {
        let said = Said::of(podman.command("podman").args(["healthcheck", "run", "mppd"]));
        said.success.then_some(())
    });
    assert!(health.is_some(), "the image says that it is not well");
    let user = podman.succeed("podman", &["inspect", "--format={{.Config.User}}", "mppd"]);
    assert_eq!(user.trim(), "65532:65532");
    podman.succeed("podman", &["stop", "mppd"]);
    let code = podman.succeed("podman", &["inspect", "--format={{.State.ExitCode}}", "mppd"]);
    assert_eq!(code.trim(), "0", "SIGTERM does not end it in order");
}
