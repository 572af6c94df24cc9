//! The commands of the pages, run one after the other in a shell: a server answers, its configuration
//! is the one in `/etc/mppd`, and its records have what the pages look for.
//!
//! A block that needs more says what, and is run where it has that: `needs=root` changes the machine
//! (`package::guides`), `needs=checkout` builds or tests the project (`checkout`), `needs=terminal`
//! waits for somebody (`terminal`).

use std::path::Path;
use std::process::Command;

use super::{Block, blocks};
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::PolicyRequest;

const INSTALLED: &str = "/etc/mppd/mppd.conf.xml";

/// A message that the pages look for.
const INSTANCE: &str = "6b1c.5f2a.0";

/// Whether a block is run here.
pub(super) fn runs(block: &Block) -> bool {
    block.is(&["sh"])
}

pub(super) fn server() -> Daemon {
    let daemon = Daemon::start(Settings {
        tracking: true,
        checks: "wbl outbound".to_owned(),
        engines: "<wbl><black><client_address>192.0.2.1</client_address></black></wbl>\
                  <threshold id=\"outbound\" key=\"$sasl_username\">\
                  <limit max=\"9\" per=\"1h\"/></threshold>"
            .to_owned(),
        groups: "<group id=\"staff\"><members><sasl_user>carol</sasl_user></members></group>"
            .to_owned(),
        ..Settings::default()
    });
    let request = PolicyRequest::new().set("instance", INSTANCE).set("sasl_username", "alice");
    daemon.connect().ask(&request.octets()).unwrap();
    daemon
}

/// Has a shell run this as a page says it, with this configuration in the place of the installed one.
pub(super) fn give(shell: &mut Command, script: &str, configuration: &Path) {
    let script = script.replace(INSTALLED, configuration.to_str().unwrap());
    let program = Path::new(env!("CARGO_BIN_EXE_mppd")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    shell.arg("-e").arg("-c").arg(&script);
    for (name, _) in std::env::vars_os().filter(|(n, _)| n.to_string_lossy().starts_with("MPPD_")) {
        shell.env_remove(name);
    }
    shell.env("PATH", path).env("MPPD_CONFIG", configuration);
}

/// What goes wrong in a block, if anything does.
fn fault(block: &Block, daemon: &Daemon, directory: &Path) -> Option<String> {
    let mut shell = Command::new("sh");
    give(&mut shell, &block.text, &daemon.configuration());
    shell.current_dir(directory);
    let output = shell.stdin(std::process::Stdio::null()).output().unwrap();
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    let said = String::from_utf8_lossy(&said).into_owned();
    (!output.status.success()).then(|| format!("{}: {}\n{said}", block.place(), block.text))
}

#[test]
fn every_command_of_the_pages_does_what_it_should() {
    let daemon = server();
    let directory = tempfile::tempdir().unwrap();
    let blocks: Vec<Block> = blocks("sh").into_iter().filter(runs).collect();
    let wrong: Vec<String> =
        blocks.iter().filter_map(|block| fault(block, &daemon, directory.path())).collect();
    assert!(
        wrong.is_empty(),
        "{}",
        wrong.join(
            "
"
        )
    );
    assert!(blocks.len() > 8, "only {} blocks were found", blocks.len());
}
