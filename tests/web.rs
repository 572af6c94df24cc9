//! A Web service behind an `http` engine.

use std::net::TcpListener;

use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::policy_client::PolicyRequest;
use crate::harness::web::WebService;

/// A service that calls whoever asks for `/…/evil…` bad.
fn service() -> WebService {
    WebService::start(|line| {
        let verdict = if line.contains("evil") { "bad" } else { "good" };
        (200, format!("{{\"result\":{{\"verdict\":\"{verdict}\",\"score\":3}}}}"))
    })
}

fn settings(origin: &str) -> Settings {
    Settings {
        checks: "reputation verdict".into(),
        engines: format!(
            "<http id=\"reputation\">
               <uri>{origin}/v1/$helo?ip=$ip</uri>
               <value id=\"verdict\" pointer=\"/result/verdict\"/>
             </http>
             <set id=\"verdict\">
               <precondition>$engines.reputation.verdict $EQ bad</precondition>
               <on_done>REJECT $engines.reputation.code $engines.reputation.verdict</on_done>
             </set>"
        ),
        ..Settings::default()
    }
}

#[test]
fn what_the_service_says_decides() {
    let WebService { origin, lines } = service();
    let daemon = Daemon::start(settings(&origin));
    let ask = |helo: &str| {
        // Each connection may be another worker's.
        daemon.connect().ask(&PolicyRequest::new().set("helo_name", helo).octets()).unwrap()
    };
    for _ in 0..8 {
        assert_eq!(ask("evil/x?y"), "REJECT 200 bad");
        assert_eq!(lines.recv().unwrap(), "GET /v1/evil%2Fx%3Fy?ip=192.0.2.17 HTTP/1.1");
        assert_eq!(ask("mail.example.net"), "DUNNO");
        assert_eq!(lines.recv().unwrap(), "GET /v1/mail.example.net?ip=192.0.2.17 HTTP/1.1");
    }
}

#[test]
fn without_the_service_mail_passes_and_the_log_tells() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let origin = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let daemon = Daemon::start(settings(&origin));
    assert_eq!(daemon.connect().ask(&PolicyRequest::new().octets()).unwrap(), "DUNNO");
    let line = daemon.logged("that the service failed", |line| mentions(line, "can't ask http://"));
    assert_eq!(line["engine"], "reputation");
}
