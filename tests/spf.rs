//! The check of senders by the real server, over a real resolver, with a name server of made-up
//! zones that fails in each way.

use mppd_dns::testkit::{Fault, Server, Zones};

use crate::harness::daemon::{Daemon, Settings};
use crate::harness::policy_client::PolicyRequest;
use crate::harness::records::Store;

fn settings(server: &Server, dns: &str, spf: &str) -> Settings {
    let address = server.address();
    Settings {
        common: format!("<dns><server>{address}</server>{dns}</dns>"),
        checks: "spf".into(),
        engines: format!("<spf>{spf}</spf>"),
        ..Settings::default()
    }
}

fn zones() -> Zones {
    Zones::default()
        .txt("good.example", "v=spf1 ip4:192.0.2.17 -all")
        .txt("bad.example", "v=spf1 mx -all exp=why.bad.example")
        .mx("bad.example", 10, "mail.bad.example")
        .a("mail.bad.example", "198.51.100.25")
        .txt("why.bad.example", "%{i} is not ours")
        .txt("broken.example", "v=spf1 mox -all")
        .fault("servfail.example", Fault::ServerFailure)
        .fault("silent.example", Fault::Silence)
        .fault("truncated.example", Fault::Truncated)
        .fault("garbage.example", Fault::Garbage)
        .fault("other.example", Fault::OtherQuestion)
        .alias("loop.example", "pool.example")
        .alias("pool.example", "loop.example")
}

/// Every status with its text as the answer.
const TELL: &str = "<on_pass>WARN $status</on_pass> <on_none>WARN $status</on_none>
    <on_temperror>DEFER_IF_PERMIT $status</on_temperror> <on_permerror>WARN $text</on_permerror>";

fn asked(daemon: &Daemon, sender: &str) -> String {
    let request = PolicyRequest::new().set("sender", sender);
    daemon.connect().ask(&request.octets()).unwrap()
}

#[test]
fn what_a_domain_says_of_the_client_is_the_answer() {
    let server = Server::start(zones());
    let daemon = Daemon::start(settings(&server, "", TELL));
    assert_eq!(asked(&daemon, "a@good.example"), "WARN pass");
    assert_eq!(
        asked(&daemon, "a@bad.example"),
        "550 5.7.23 bad.example does not let 192.0.2.17 send its mail; bad.example explains: \
         192.0.2.17 is not ours"
    );
    assert_eq!(asked(&daemon, "a@nobody.example"), "WARN none");
    assert_eq!(
        asked(&daemon, "a@broken.example"),
        "WARN the record of broken.example has an error: \"mox\" is not known"
    );
}

#[test]
fn whatever_the_name_server_does_the_answer_comes_in_time() {
    let server = Server::start(zones());
    let dns = "<timeout>400ms</timeout>";
    let daemon = Daemon::start(settings(&server, dns, TELL));
    for domain in ["servfail", "silent", "truncated", "garbage", "other", "loop"] {
        let answer = asked(&daemon, &format!("a@{domain}.example"));
        assert_eq!(answer, "DEFER_IF_PERMIT temperror", "{domain}");
    }
    assert_eq!(asked(&daemon, "a@good.example"), "WARN pass");
}

#[test]
fn a_dead_name_server_is_a_temporary_error() {
    let server = Server::start(zones());
    let settings = settings(&server, "<timeout>400ms</timeout>", TELL);
    drop(server);
    let daemon = Daemon::start(settings);
    assert_eq!(asked(&daemon, "a@good.example"), "DEFER_IF_PERMIT temperror");
}

#[test]
fn the_time_limit_of_the_check_bounds_the_waiting() {
    let server = Server::start(zones());
    let spf = format!("<time_limit>100ms</time_limit>{TELL}");
    let daemon = Daemon::start(settings(&server, "<timeout>1h</timeout>", &spf));
    assert_eq!(asked(&daemon, "a@silent.example"), "DEFER_IF_PERMIT temperror");
}

#[test]
fn where_the_engines_timeout_comes_first_its_exception_decides() {
    let server = Server::start(zones());
    let spf = format!("<timeout>100ms</timeout><on_exception>DEFER later</on_exception>{TELL}");
    let daemon = Daemon::start(settings(&server, "<timeout>1h</timeout>", &spf));
    assert_eq!(asked(&daemon, "a@silent.example"), "DEFER later");
}

#[test]
fn the_deadline_of_the_request_ends_the_check_too() {
    let server = Server::start(zones());
    let mut settings = settings(&server, "<timeout>1h</timeout>", TELL);
    settings.policy_server = "<request_deadline>1s</request_deadline>".into();
    settings.group = "<on_error>DEFER late</on_error>".into();
    let daemon = Daemon::start(settings);
    let answer = asked(&daemon, "a@silent.example");
    assert!(["DEFER late", "DEFER_IF_PERMIT temperror"].contains(&&*answer), "{answer}");
}

#[test]
fn the_status_is_put_on_record_in_the_column_of_the_engine() {
    let server = Server::start(zones());
    let daemon = Daemon::start(Store::Sqlite.track(settings(&server, "", TELL)));
    asked(&daemon, "a@bad.example");
    let rows = Store::Sqlite.rows(&daemon);
    assert_eq!(rows[0].text("spf"), "fail");
    assert!(rows[0].text("decision_text").contains("192.0.2.17 is not ours"));
}

#[test]
fn requests_of_every_worker_share_what_was_answered() {
    let server = Server::start(zones());
    let mut settings = settings(&server, "", TELL);
    settings.policy_server = "<workers>4</workers>".into();
    let daemon = Daemon::start(settings);
    for _ in 0..12 {
        assert_eq!(asked(&daemon, "a@good.example"), "WARN pass");
    }
    let of = |question: &&mppd_dns::Question| question.name.to_string() == "good.example";
    assert_eq!(server.asked().iter().filter(of).count(), 1);
}

#[test]
fn a_header_is_prepended() {
    let server = Server::start(zones());
    let spf = "<receiver>mx.example.com</receiver>
               <on_pass>PREPEND Received-SPF: $received_spf</on_pass>";
    let daemon = Daemon::start(settings(&server, "", spf));
    assert_eq!(
        asked(&daemon, "a@good.example"),
        "PREPEND Received-SPF: pass (mx.example.com: good.example lets 192.0.2.17 send its mail) \
         client-ip=192.0.2.17; envelope-from=\"a@good.example\"; helo=mail.example.net; \
         identity=mailfrom; mechanism=\"ip4:192.0.2.17\"; receiver=mx.example.com"
    );
}

#[test]
fn faults_of_the_configuration_are_told_at_their_places() {
    let settings = Settings {
        common: "<dns><server>ns.example</server></dns>".into(),
        checks: "spf".into(),
        engines: "<spf><trusted>192.0.2.1 x</trusted><best_guess>v=spf1 mox</best_guess></spf>"
            .into(),
        ..Settings::default()
    };
    let (_, report) = Daemon::refused(settings);
    for message in [
        "\"ns.example\" is not the address of a server",
        "\"x\" is neither an address nor a network",
        "the SPF record has an error: \"mox\" is not known",
    ] {
        assert!(report.contains(message), "{message}\n{report}");
    }
}
