//! The Debian package: installed into a fresh Debian, started, asked by a private Postfix, upgraded
//! under load, removed and purged. `./test package` makes what these tests need: two packages, a
//! Debian, and a network of their own, in which the port of the package is free.

mod booted;
mod container;
pub(crate) mod guides;
mod manager;
mod tree;

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use self::manager::Manager;
use self::tree::Tree;
use crate::harness::pause;
use crate::harness::policy_client::{Endpoint, PolicyClient, PolicyRequest};
use crate::harness::postfix::{Postfix, PostfixSettings};
use crate::harness::smtp::SmtpClient;

const FIRST: &str = "MPPD_PACKAGE_FIRST";
const SECOND: &str = "MPPD_PACKAGE_SECOND";

/// Where an installed mppd answers, unless it is configured.
fn endpoint() -> Endpoint {
    Endpoint::Inet(SocketAddr::from(([127, 0, 0, 1], 10040)))
}

fn installed() -> (Arc<Tree>, Manager) {
    let tree = Arc::new(Tree::fresh());
    let manager = Manager::start(&tree);
    tree.install(FIRST);
    (tree, manager)
}

/// A request that the configuration of the package refuses.
fn refused() -> Vec<u8> {
    let request = PolicyRequest::new().set("client_address", "203.0.113.9");
    request.set("sender", "blocked@invalid.example").octets()
}

const REFUSED: &str = "REJECT This sender or recipient is on the black list of this site";

#[test]
#[ignore = "needs packages: ./test package"]
fn an_installed_package_answers_at_once_and_without_questions() {
    let (tree, _manager) = installed();
    let mut client = PolicyClient::connect(&endpoint()).unwrap();
    assert_eq!(client.ask(&refused()).unwrap(), REFUSED);
    assert!(tree.succeed("mppd", &["status"]).contains("127.0.0.1:10040"));
    let found = tree.succeed("mppd", &["track", "search", "--sender", "blocked@invalid.example"]);
    assert!(found.contains("REJECT"), "{found}");
}

#[test]
#[ignore = "needs packages: ./test package"]
fn an_installed_package_decides_on_the_mail_of_postfix() {
    let (_tree, _manager) = installed();
    let lists = ["smtpd_recipient_restrictions"];
    let postfix = Postfix::start(&PostfixSettings::asking(&endpoint(), &lists));
    let mut smtp = SmtpClient::connect(postfix.port());
    smtp.come_from("ADDR=203.0.113.9 NAME=mail.example.net");
    assert_eq!(smtp.mail("blocked@invalid.example").code, 250);
    let answer = smtp.command("RCPT TO:<bob@example.com>");
    assert_eq!(answer.code, 554, "{}", answer.text());
    assert!(answer.text().contains("black list of this site"), "{}", answer.text());
}

#[test]
#[ignore = "needs packages: ./test package"]
fn the_configuration_belongs_to_root_and_its_group_may_read_it() {
    let (tree, _manager) = installed();
    let identity =
        |kind: &str| -> u32 { tree.succeed("id", &[kind, "mppd"]).trim().parse().unwrap() };
    let (user, group) = (identity("-u"), identity("-g"));
    for (path, owner, mode) in [
        ("/etc/mppd", 0, 0o750),
        ("/etc/mppd/mppd.conf.xml", 0, 0o640),
        ("/etc/mppd/esm/connection.xml", 0, 0o640),
        ("/var/lib/mppd", user, 0o750),
    ] {
        let metadata = std::fs::metadata(tree.path(path)).unwrap();
        let found = (metadata.uid(), metadata.gid(), metadata.mode() & 0o777);
        assert_eq!(found, (owner, group, mode), "{path}");
    }
}

/// Asks until told to end, as Postfix does: once more where a connection has ended. How often it
/// asked.
fn ask_until(ended: &AtomicBool, keep: bool) -> u32 {
    let (mut client, mut count) = (None, 0);
    while !ended.load(Ordering::Relaxed) {
        let mut attempts = (0..2).filter_map(|_| {
            let connected =
                client.get_or_insert_with(|| PolicyClient::connect(&endpoint()).unwrap());
            let answer = connected.ask(&refused()).ok();
            client = client.take().filter(|_| answer.is_some() && keep);
            answer
        });
        assert_eq!(attempts.next().as_deref(), Some(REFUSED), "two connections had no answer");
        count += 1;
    }
    count
}

#[test]
#[ignore = "needs packages: ./test package"]
fn an_upgrade_under_load_fails_no_request_and_keeps_what_the_administrator_wrote() {
    let (tree, _manager) = installed();
    let file = tree.path("/etc/mppd/mppd.conf.xml");
    let written = std::fs::read_to_string(&file).unwrap();
    let written = written.replace("<delay>5m</delay>", "<delay>7m</delay>");
    std::fs::write(&file, &written).unwrap();
    let started = |tree: &Tree| {
        let status = tree.succeed("mppd", &["status", "--json"]);
        let status: serde_json::Value = serde_json::from_str(&status).unwrap();
        status["pid"].clone()
    };
    let before = started(&tree);
    let ended = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        let ended = &ended;
        let clients = [true, true, false].map(|keep| scope.spawn(move || ask_until(ended, keep)));
        pause(Duration::from_millis(300));
        tree.install(SECOND);
        pause(Duration::from_millis(300));
        ended.store(true, Ordering::Relaxed);
        clients.into_iter().map(|client| client.join().unwrap()).sum::<u32>()
    });
    assert!(count > 50, "only {count} were asked");
    assert_ne!(started(&tree), before, "the old program still answers");
    assert_eq!(std::fs::read_to_string(&file).unwrap(), written);
}

#[test]
#[ignore = "needs packages: ./test package"]
fn a_removal_keeps_records_and_configuration_and_a_purge_leaves_nothing() {
    let tree = Arc::new(Tree::fresh());
    let (files, passwd) = (tree.files(), tree.succeed("getent", &["passwd"]));
    let _manager = Manager::start(&tree);
    tree.install(FIRST);
    PolicyClient::connect(&endpoint()).unwrap().ask(&refused()).unwrap();

    tree.succeed("dpkg", &["--remove", "mppd"]);
    assert!(PolicyClient::connect(&endpoint()).is_err(), "somebody still listens");
    assert!(tree.path("/etc/mppd/mppd.conf.xml").exists());
    let records = std::fs::read_dir(tree.path("/var/lib/mppd")).unwrap().count();
    assert!(records > 0, "the records are gone");

    tree.succeed("dpkg", &["--purge", "mppd"]);
    let left: Vec<String> =
        tree.files().into_keys().filter(|file| !files.contains_key(file)).collect();
    // Backups that the programs for users make of their files.
    let left: Vec<&String> = left.iter().filter(|file| !file.ends_with('-')).collect();
    assert!(left.is_empty(), "{left:?}");
    assert_eq!(tree.succeed("getent", &["passwd"]), passwd);
}

#[test]
#[ignore = "needs packages: ./test package"]
fn a_package_that_comes_back_finds_its_records() {
    let (tree, _manager) = installed();
    PolicyClient::connect(&endpoint()).unwrap().ask(&refused()).unwrap();
    tree.succeed("dpkg", &["--remove", "mppd"]);
    tree.install(SECOND);
    PolicyClient::connect(&endpoint()).unwrap().ask(&refused()).unwrap();
    let found = tree.succeed("mppd", &["track", "search", "--json"]);
    assert_eq!(found.lines().count(), 2, "{found}");
}

#[test]
#[ignore = "needs packages: ./test package"]
fn what_the_administrator_added_stays_and_with_it_who_may_read_it() {
    let (tree, _manager) = installed();
    std::fs::create_dir(tree.path("/etc/mppd/lists")).unwrap();
    std::fs::write(tree.path("/etc/mppd/lists/white"), "192.0.2.1\n").unwrap();
    tree.succeed("dpkg", &["--purge", "mppd"]);
    assert!(tree.path("/etc/mppd/lists/white").exists());
    assert!(tree.run("id", &["mppd"]).success);
}
