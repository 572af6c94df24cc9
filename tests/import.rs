//! `mppd import postgrey`: what a real postgrey remembered is known to the engine `greylist`.

use std::path::Path;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::command::{Call, Said};
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::pause;
use crate::harness::policy_client::{Endpoint, PolicyClient, PolicyRequest};
use crate::harness::postgrey::Postgrey;

const DELAYED: &str = "DEFER_IF_PERMIT 4.2.0 Greylisted, try again in 1 seconds";

fn settings() -> Settings {
    // Nobody is to be let in for another reason than what was imported.
    Settings {
        checks: "greylist".into(),
        engines: "<greylist><delay>1s</delay><auto_whitelist>2</auto_whitelist></greylist>".into(),
        ..Settings::default()
    }
}

fn mail(sender: &str, recipient: &str) -> PolicyRequest {
    PolicyRequest::new().set("sender", sender).set("recipient", recipient)
}

fn ask(client: &mut PolicyClient, request: &PolicyRequest) -> String {
    client.ask(&request.octets()).unwrap()
}

fn of(postgrey: &Postgrey) -> PolicyClient {
    let address = postgrey.endpoint().strip_prefix("inet:").unwrap().parse().unwrap();
    PolicyClient::connect(&Endpoint::Inet(address)).unwrap()
}

/// A postgrey that knows three triplets of which two have passed, and a client twice over.
pub(crate) fn filled() -> Postgrey {
    let postgrey = Postgrey::start();
    let mut client = of(&postgrey);
    let mails = || {
        [
            mail("alice@example.org", "bob@example.com"),
            mail("list-return-7-bob=example.com@lists.example", "bob@example.com")
                .set("client_address", "2001:db8::7"),
        ]
    };
    for mail in mails() {
        assert!(ask(&mut client, &mail).starts_with("DEFER_IF_PERMIT "));
    }
    pause(Duration::from_millis(2_100));
    for mail in mails() {
        assert!(ask(&mut client, &mail).starts_with("PREPEND X-Greylist: "));
    }
    assert!(ask(&mut client, &mail("", "bob@example.com")).starts_with("DEFER_IF_PERMIT "));
    postgrey
}

fn import(from: &Path, configuration: &Path) -> Said {
    Call::new(["import", "postgrey"]).argument(from).with(configuration).run()
}

fn assert_is_known(client: &mut PolicyClient) {
    assert_eq!(ask(client, &mail("alice@example.org", "bob@example.com")), "DUNNO");
    let message = mail("list-return-8-bob=example.com@lists.example", "bob@example.com");
    assert_eq!(ask(client, &message.set("client_address", "2001:db8::9")), "DUNNO");
    assert_eq!(ask(client, &mail("carol@example.org", "bob@example.com")), DELAYED);
}

#[test]
fn what_postgrey_remembered_is_known_to_a_server_that_starts_afterwards() {
    let postgrey = filled();
    let mut daemon = Daemon::start(settings());
    daemon.terminate();
    let said = import(postgrey.directory(), &daemon.configuration());
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert_eq!(said.out, "triplets: 3\n  3 imported\nclients: 2\n  2 imported\n", "{}", said.err);
    let daemon = daemon.again();
    assert_is_known(&mut daemon.connect());
}

#[test]
fn what_postgrey_remembered_is_known_to_a_server_that_runs() {
    let postgrey = filled();
    let daemon = Daemon::start(settings());
    let mut client = daemon.connect();
    assert_eq!(ask(&mut client, &mail("alice@example.org", "bob@example.com")), DELAYED);
    let said = import(postgrey.directory(), &daemon.configuration());
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    // The client's name is known now, so its first attempt was noted under its domain; what came
    // from postgrey is under its network, and the first record counts until it has passed.
    let again = import(postgrey.directory(), &daemon.configuration());
    assert!(again.out.contains("3 skipped, as much was known of them"), "{}", again.out);
    let message = mail("list-return-9-bob=example.com@lists.example", "bob@example.com");
    let message = message.set("client_address", "2001:db8::9");
    assert_eq!(ask(&mut client, &message), "DUNNO");
}

/// A directory with a configuration of these engines and a state directory.
pub(crate) fn configuration(engines: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    let state = directory.path().join("state");
    std::fs::create_dir(&state).unwrap();
    let xml = format!(
        "<mppd><common><state_directory>{}</state_directory></common>
           <engines>{engines}</engines></mppd>",
        state.display()
    );
    std::fs::write(directory.path().join("mppd.conf.xml"), xml).unwrap();
    directory
}

fn import_text(engines: &str, arguments: &[&str], text: &str) -> Said {
    let directory = configuration(engines);
    let call = Call::new(["import", "postgrey", "-"].iter().chain(arguments));
    call.with(&directory.path().join("mppd.conf.xml")).input(text.as_bytes()).run()
}

fn dump(lines: &str) -> String {
    format!("VERSION=3\nformat=print\ntype=btree\nHEADER=END\n{lines}DATA=END\n")
}

#[test]
fn a_dump_is_read_from_standard_input_and_tells_what_was_left_out() {
    let text = dump(
        " 192.0.2.0/a@example.org/b@example.com\n 1000000000,1000000400\n\
         \x20da39a3ee5e6b4b0d3255bfef95601890afd80709\n 1000000000,1000000400\n\
         \x20nonsense\n 1,2\n\
         \x20192.0.2.7\n 3,1000000400\n",
    );
    let said = import_text("<greylist/>", &[], &text);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert_eq!(
        said.out,
        "triplets: 1
  1 skipped, as they have expired
clients: 1
  1 skipped, as they have expired
not readable: 2
  standard input, line 7: a digest, as postgrey keeps them with --privacy: nobody can tell of whom
  standard input, line 9: the key \"nonsense\" is neither NETWORK/SENDER/RECIPIENT nor an address
"
    );
}

#[test]
fn the_engine_that_is_meant_is_asked_for_where_there_are_several() {
    let several = "<greylist id=\"inside\"/><greylist id=\"outside\"/>";
    let refused = |engines, arguments: &[&str]| {
        let said = import_text(engines, arguments, &dump(""));
        assert_eq!(said.code, Some(1), "{}", said.out);
        said.err
    };
    let error = refused(several, &[]);
    assert!(
        error.contains("several <greylist>; say with --engine which: inside, outside"),
        "{error}"
    );
    let error = refused(several, &["--engine", "outsite"]);
    assert!(error.contains("did you mean \"outside\"?"), "{error}");
    let error = refused("<wbl/>", &[]);
    assert!(error.contains("the configuration has no <greylist>"), "{error}");
    let said = import_text(several, &["--engine", "outside"], &dump(""));
    assert_eq!(said.out, "triplets: 0\nclients: 0\n", "{}", said.err);
}

#[test]
fn what_is_no_database_of_postgrey_is_told() {
    let directory = configuration("<greylist/>");
    let file = directory.path().join("mppd.conf.xml");
    let said = import(directory.path(), &file);
    assert!(said.err.contains("there is no postgrey.db in "), "{}", said.err);
    let said = import(&directory.path().join("none"), &file);
    assert!(said.err.contains("can't read "), "{}", said.err);
    let said = import_text("<greylist/>", &[], "junk");
    assert!(said.err.contains("standard input is not what db_dump prints"), "{}", said.err);
}

#[test]
fn without_the_program_that_reads_databases_its_package_is_named() {
    let directory = configuration("<greylist/>");
    std::fs::write(directory.path().join("postgrey.db"), "").unwrap();
    let call = Call::new(["import", "postgrey"]).argument(directory.path());
    let call = call.with(&directory.path().join("mppd.conf.xml"));
    let said = call.environment("PATH", "/nonexistent").run();
    assert_eq!(said.code, Some(1));
    assert!(said.err.contains("install the package db-util"), "{}", said.err);
}
