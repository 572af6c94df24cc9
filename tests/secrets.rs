//! Secrets: however they are given, and whatever fails, nobody gets to see one.

use crate::harness::command::Call;
use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::policy_client::PolicyRequest;
use crate::harness::ports::free_port;

/// The beginning of every secret of these tests.
const SECRET: &str = "geheim-";

/// Connections with secrets to servers that nobody runs.
fn settings() -> Settings {
    let port = free_port();
    let mysql = |name: &str, password: &str| {
        format!(
            "<{name}><host>127.0.0.1</host><port>{port}</port><database>mppd</database>
             <user>mppd</user>{password}</{name}>"
        )
    };
    Settings {
        tracking: true,
        group: mysql(
            "PPXX0001_track_policy_connection",
            &format!("<password>{SECRET}inline</password>"),
        ),
        common: format!(
            "<log><level>debug</level></log>
             <state_store><redis><url>redis://127.0.0.1:{port}</url>
             <password>{SECRET}redis</password></redis></state_store>"
        ),
        checks: "m.q dir greylist".to_owned(),
        engines: format!(
            "<mysql id=\"m\">{}<query id=\"q\"><statement>SELECT 1 FROM t WHERE a = $sender
             </statement></query></mysql>
             <ldap id=\"dir\"><url>ldap://127.0.0.1:{port}</url>
             <bind_dn>cn=mppd</bind_dn><password>{SECRET}ldap</password>
             <base>dc=example</base><filter>(mail=$sender)</filter></ldap>
             <greylist/>",
            mysql("connection", "<password file=\"secret\"/>")
        ),
        files: vec![("secret".to_owned(), format!("{SECRET}file\n"))],
        ..Settings::default()
    }
}

fn assert_hidden(what: &str, text: &str) {
    assert!(!text.contains(SECRET), "{what} shows a secret: {text}");
}

#[test]
fn no_secret_is_shown_whatever_fails() {
    let mut daemon = Daemon::start(settings());
    let configuration = daemon.configuration();
    let mut client = daemon.connect();
    for _ in 0..3 {
        let reply = client.ask(&PolicyRequest::new().octets()).unwrap();
        assert_hidden("the reply", &reply);
    }
    daemon.logged("that the database is away", |line| mentions(line, "away"));
    let xml = std::fs::read_to_string(&configuration).unwrap();
    // What is at fault stands on the line of each secret.
    let broken = xml.replace("</password>", "</password><oops/>").replace('\n', " ");
    for text in
        [xml.clone(), broken, xml.replace("password>", "pasword>"), xml.replacen('<', "", 1)]
    {
        daemon.write_configuration(&text);
        for arguments in [&["check"][..], &["track", "search"], &["status"], &["reload"]] {
            let said = Call::new(arguments).with(&configuration).run();
            assert_hidden(&format!("{arguments:?}"), &(said.out + &said.err));
        }
        let reload = Call::new(["reload", "--state-directory"]).argument(daemon.state_directory());
        let said = reload.run();
        assert_hidden("reload", &(said.out + &said.err));
        let status = Call::new(["status", "--state-directory"]).argument(daemon.state_directory());
        assert_hidden("status", &status.argument("--json").run().out);
    }
    let command_line = std::fs::read(format!("/proc/{}/cmdline", daemon.pid())).unwrap();
    assert_hidden("ps", &String::from_utf8_lossy(&command_line));
    daemon.write_configuration(&xml);
    assert!(daemon.terminate().success());
    assert_hidden("the log", &daemon.log().join("\n"));
}

#[test]
fn a_secret_of_the_environment_is_shown_nowhere() {
    let port = free_port();
    let secret = format!("{SECRET}environment");
    let redis = format!("<url>redis://127.0.0.1:{port}</url><password variable=\"REDIS_SECRET\"/>");
    let mut daemon = Daemon::start(Settings {
        common: format!(
            "<log><level>debug</level></log><state_store><redis>{redis}</redis></state_store>"
        ),
        checks: "greylist".to_owned(),
        engines: "<greylist/>".to_owned(),
        environment: vec![("REDIS_SECRET", secret.clone())],
        ..Settings::default()
    });
    let mut client = daemon.connect();
    client.ask(&PolicyRequest::new().octets()).unwrap();
    for command in ["check", "status"] {
        let call = Call::new([command]).with(&daemon.configuration());
        let said = call.environment("REDIS_SECRET", &secret).run();
        assert_hidden(command, &(said.out + &said.err));
    }
    let unset = Call::new(["check"]).with(&daemon.configuration()).run();
    assert_eq!(unset.code, Some(78));
    let expected = "the variable REDIS_SECRET of the environment is not set";
    assert!(unset.err.contains(expected), "{}", unset.err);
    assert!(daemon.terminate().success());
    assert_hidden("the log", &daemon.log().join("\n"));
}

#[test]
fn a_secret_in_an_url_of_redis_is_refused_and_not_repeated() {
    let url = format!("redis://mppd:{SECRET}url@127.0.0.1:6379");
    let (_, said) = Daemon::refused(Settings {
        common: format!("<state_store><redis><url>{url}</url></redis></state_store>"),
        checks: "greylist".to_owned(),
        engines: "<greylist/>".to_owned(),
        ..Settings::default()
    });
    assert!(said.contains("user and password have elements of their own"), "{said}");
    assert_hidden("the refusal", &said);
}
