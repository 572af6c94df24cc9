//! Commands of the pages that show something until somebody ends them, typed at a terminal.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;

use super::commands::{give, server};
use super::{Act, Block};
use crate::harness::daemon::Settings;
use crate::harness::policy_client::{Endpoint, PolicyClient, PolicyRequest};
use crate::harness::ports::free_port;
use crate::harness::terminal::{CTRL_C, Terminal};

const ACTS: [Act<fn(&Block)>; 2] = [
    Act { page: "docs/records.md", begins: "mppd track tail\n", run: decisions_are_followed },
    Act {
        page: "docs/administrators.md",
        begins: "mppd --config /etc/mppd/mppd.conf.xml  ",
        run: a_server_runs_until_it_is_ended,
    },
];

/// How many acts run a block.
pub(super) fn runs(block: &Block) -> usize {
    ACTS.iter().filter(|act| act.is_of(block)).count()
}

#[test]
fn what_the_pages_have_somebody_type_does_what_it_should() {
    for act in ACTS {
        (act.run)(&act.block());
    }
}

fn type_command(command: &str, configuration: &Path) -> Terminal {
    let mut shell = Terminal::command("sh");
    // A shell that waits for it would end of Ctrl-C as well.
    give(&mut shell, &format!("exec {command}"), configuration);
    Terminal::start(shell)
}

fn decisions_are_followed(block: &Block) {
    let daemon = server();
    let mut client = daemon.connect();
    let mut decide = |address: &str| {
        let request = PolicyRequest::new().set("client_address", address);
        client.ask(&request.set("sender", "alice@mail.example.com").octets()).unwrap()
    };
    let commands = block.commands();
    let [all, refused] = commands.as_slice() else { panic!("other commands: {commands:?}") };
    assert!(refused.contains("--decision REJECT --domain example.com"), "{refused}");
    for (command, address, decision) in
        [(all, "192.0.2.9", "DUNNO"), (refused, "192.0.2.1", "REJECT")]
    {
        let mut terminal = type_command(command, &daemon.configuration());
        assert!(decide(address).starts_with(decision));
        terminal.wait_for(address);
        terminal.wait_for(decision);
        let is_filtered = !terminal.screen().contains("192.0.2.9");
        assert_eq!(is_filtered, command == refused, "{}", terminal.screen());
        terminal.type_in(CTRL_C);
        assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());
    }
}

fn a_server_runs_until_it_is_ended(block: &Block) {
    let directory = tempfile::tempdir().unwrap();
    let endpoint = Endpoint::Inet(SocketAddr::from((Ipv4Addr::LOCALHOST, free_port())));
    let settings = Settings {
        listen: vec![("", endpoint.clone())],
        log: "<format>terminal</format>",
        ..Settings::default()
    };
    let configuration = directory.path().join("mppd.conf.xml");
    std::fs::write(&configuration, settings.xml(&directory.path().join("state"))).unwrap();
    let mut terminal = type_command(&block.text, &configuration);
    terminal.wait_for(&format!("mppd answers at {endpoint}"));
    let mut client = PolicyClient::connect(&endpoint).unwrap();
    assert_eq!(client.ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
    terminal.type_in(CTRL_C);
    assert_eq!(terminal.end(), Some(0), "{}", terminal.screen());
    assert!(PolicyClient::connect(&endpoint).is_err(), "somebody still listens");
}
