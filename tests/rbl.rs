//! Block and allow lists as real name servers serve them, asked by the real server.

use mppd_dns::testkit::{Fault, Server, Zones};

use crate::harness::daemon::{Daemon, Settings, mentions};
use crate::harness::policy_client::PolicyRequest;
use crate::harness::rbldnsd::Rbldnsd;
use crate::harness::records::Store;

const SOA: &str = "$SOA 3000 ns.example hostmaster.example 1 3600 900 86400 300\n";

/// Lists of every kind that rbldnsd has.
fn lists() -> Rbldnsd {
    let v4 = format!(
        "{SOA}:127.0.0.2:$ sends spam, see https://bl.example/$
127.0.0.2
192.0.2.0/28
!192.0.2.5
198.51.100.7 :127.0.0.10:$ is a dynamic address
203.0.113.9 :127.255.255.254:too many questions
"
    );
    let v6 = format!("{SOA}:127.0.0.4:$ sends spam\n2001:db8:bad::/48\n!2001:db8:bad::1\n");
    let names = format!("{SOA}:127.0.1.2:$ is a bad name\ntest\n.bad.example\n*.worse.example\n");
    let world = format!("{SOA}:127.0.0.2:everybody\n0.0.0.0/1\n128.0.0.0/1\n");
    let good = format!("{SOA}:127.0.5.2:\n127.0.0.2\n192.0.2.3\n");
    let plain = "192.0.2.0/24\n";
    Rbldnsd::start(&[
        ("bl.example", "ip4set", &v4),
        ("six.example", "ip6trie", &v6),
        ("names.example", "dnset", &names),
        ("world.example", "ip4set", &world),
        ("good.example", "ip4tset", &good),
        ("plain.example", "ip4set", plain),
    ])
}

fn settings(address: std::net::SocketAddr, rbl: &str) -> Settings {
    Settings {
        common: format!("<dns><server>{address}</server><timeout>2s</timeout></dns>"),
        checks: "rbl".into(),
        engines: format!("<rbl {rbl}</rbl>"),
        ..Settings::default()
    }
}

/// Every status but `listed` as the answer.
const TELL: &str = "<on_none>WARN $text</on_none> <on_allowed>WARN $text</on_allowed>
    <on_unknown>DEFER_IF_PERMIT $text</on_unknown>";

fn asked(daemon: &Daemon, attributes: &[(&str, &str)]) -> String {
    let request = PolicyRequest::new();
    let request =
        attributes.iter().fold(request, |request, (name, value)| request.set(name, value));
    daemon.connect().ask(&request.octets()).unwrap()
}

fn client(daemon: &Daemon, address: &str) -> String {
    asked(daemon, &[("client_address", address)])
}

#[test]
fn lists_of_addresses_and_names_say_what_rbldnsd_has() {
    let lists = lists();
    let rbl = format!(
        ">{TELL} <list zone='bl.example'/> <list zone='six.example'/>
         <list zone='names.example' of='helo_name'/>"
    );
    let daemon = Daemon::start(settings(lists.address(), &rbl));
    assert_eq!(
        client(&daemon, "192.0.2.1"),
        "REJECT 5.7.1 192.0.2.1 is listed by bl.example: 192.0.2.1 sends spam, see \
         https://bl.example/192.0.2.1"
    );
    assert_eq!(client(&daemon, "192.0.2.5"), "WARN not listed");
    assert_eq!(
        client(&daemon, "2001:db8:bad::2"),
        "REJECT 5.7.1 2001:db8:bad::2 is listed by six.example: 2001:db8:bad::2 sends spam"
    );
    assert_eq!(client(&daemon, "2001:db8:bad::1"), "WARN not listed");
    let helo = |name| asked(&daemon, &[("client_address", "192.0.2.99"), ("helo_name", name)]);
    assert_eq!(
        helo("mail.bad.example"),
        "REJECT 5.7.1 mail.bad.example is listed by names.example: bad.example is a bad name"
    );
    assert_eq!(helo("worse.example"), "WARN not listed");
    assert!(helo("A.worse.example.").starts_with("REJECT 5.7.1 a.worse.example is listed"));
}

#[test]
fn replies_and_error_codes_of_rbldnsd_are_told_apart() {
    let lists = lists();
    let rbl = format!(">{TELL} <list zone='bl.example' reply='127.0.0.2'/>");
    let daemon = Daemon::start(settings(lists.address(), &rbl));
    assert!(client(&daemon, "192.0.2.1").starts_with("REJECT "));
    assert_eq!(client(&daemon, "198.51.100.7"), "WARN not listed");
    assert_eq!(
        client(&daemon, "203.0.113.9"),
        "DEFER_IF_PERMIT bl.example: the answer 127.255.255.254 is no listing but an error"
    );
}

#[test]
fn an_allow_list_of_rbldnsd_overrules() {
    let lists = lists();
    let rbl = format!(">{TELL} <list zone='bl.example'/> <allow zone='good.example'/>");
    let daemon = Daemon::start(settings(lists.address(), &rbl));
    assert!(client(&daemon, "192.0.2.2").starts_with("REJECT "));
    assert_eq!(client(&daemon, "192.0.2.3"), "WARN 192.0.2.3 is on the allow list good.example");
}

#[test]
fn a_list_that_has_the_whole_world_is_suspended_and_logged_once() {
    let lists = lists();
    let rbl = format!(">{TELL} <list zone='world.example'/>");
    let daemon = Daemon::start(settings(lists.address(), &rbl));
    for address in ["192.0.2.1", "192.0.2.2", "192.0.2.3"] {
        assert_eq!(
            client(&daemon, address),
            "WARN not listed; world.example is suspended: it lists what nobody has"
        );
    }
    let text = "the list world.example is not asked for 5m: it lists what nobody has";
    daemon.logged("that the list is suspended", |line| mentions(line, text));
    let lines = daemon.log();
    assert_eq!(lines.iter().filter(|line| line.contains("is not asked for")).count(), 1);
}

#[test]
fn a_list_without_any_say_about_itself_works_too() {
    let lists = lists();
    let rbl = format!(">{TELL} <list zone='plain.example'/>");
    let daemon = Daemon::start(settings(lists.address(), &rbl));
    assert_eq!(client(&daemon, "192.0.2.1"), "REJECT 5.7.1 192.0.2.1 is listed by plain.example");
    assert_eq!(client(&daemon, "198.51.100.1"), "WARN not listed");
}

#[test]
fn the_list_and_its_reason_are_put_on_record() {
    let lists = lists();
    for store in Store::each() {
        let rbl = ">  <list zone='bl.example'/>";
        let daemon = Daemon::start(store.track(settings(lists.address(), rbl)));
        client(&daemon, "192.0.2.1");
        client(&daemon, "192.0.2.5");
        let rows = store.rows(&daemon);
        assert_eq!(rows[0].text("rbl"), "listed", "{store}");
        assert_eq!(rows[0].text("rbl_site"), "bl.example", "{store}");
        let reason = "192.0.2.1 sends spam, see https://bl.example/192.0.2.1";
        assert_eq!(rows[0].text("rbl_reason"), reason, "{store}");
        assert_eq!(rows[1].text("rbl"), "none", "{store}");
        assert!(!rows[1].has("rbl_site"), "{store}");
    }
}

#[test]
fn a_key_is_neither_logged_nor_put_on_record() {
    let name = "17.2.0.192.k3y.zen.example";
    let zones = Zones::default().a(name, "127.0.0.2").txt(name, "see k3y.zen.example");
    let server = Server::start(zones.fault("18.2.0.192.k3y.zen.example", Fault::Refused));
    let rbl = "suspend_after='1'> <list zone='zen.example'><secret file='secrets/zen'/></list>
               <on_unknown>DEFER_IF_PERMIT $text</on_unknown>";
    let mut settings = settings(server.address(), rbl);
    settings.files = vec![("secrets/zen".into(), "k3y\n".into())];
    let daemon = Daemon::start(Store::Sqlite.track(settings));
    assert_eq!(
        client(&daemon, "192.0.2.17"),
        "REJECT 5.7.1 192.0.2.17 is listed by zen.example: see ******.zen.example"
    );
    assert!(client(&daemon, "192.0.2.18").starts_with("DEFER_IF_PERMIT zen.example: "));
    daemon.logged("that the list is suspended", |line| mentions(line, "is not asked for"));
    assert!(!daemon.log().concat().contains("k3y"));
    for row in Store::Sqlite.rows(&daemon) {
        assert!(!format!("{row:?}").contains("k3y"));
    }
}

#[test]
fn workers_share_what_they_know_of_a_list() {
    let zones = (1..=12).fold(Zones::default(), |zones, n| {
        zones.fault(&format!("{n}.2.0.192.bl.example"), Fault::ServerFailure)
    });
    let server = Server::start(zones);
    let rbl = format!("suspend_after='4'>{TELL} <list zone='bl.example'/>");
    let mut settings = settings(server.address(), &rbl);
    settings.policy_server = "<workers>4</workers>".into();
    let daemon = Daemon::start(settings);
    let answers: Vec<String> = (1..=12).map(|n| client(&daemon, &format!("192.0.2.{n}"))).collect();
    let failed = answers.iter().filter(|answer| answer.starts_with("DEFER_IF_PERMIT"));
    assert_eq!(failed.count(), 4, "{answers:?}");
    assert!(answers[11].contains("bl.example is suspended"), "{answers:?}");
}

#[test]
fn lists_that_can_not_change_the_verdict_are_not_waited_for() {
    let zones = Zones::default().a("17.2.0.192.quick.example", "127.0.0.2");
    let server = Server::start(zones.fault("17.2.0.192.slow.example", Fault::Silence));
    let rbl = "time_limit='1h' timeout='20s'> <on_exception>DEFER late</on_exception>
               <list zone='slow.example'/> <list zone='quick.example' reason='x'/>";
    let mut settings = settings(server.address(), rbl);
    settings.common = settings.common.replace("2s", "1h");
    let daemon = Daemon::start(settings);
    assert_eq!(
        client(&daemon, "192.0.2.17"),
        "REJECT 5.7.1 192.0.2.17 is listed by quick.example: x"
    );
}
