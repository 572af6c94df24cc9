//! A day in the life, or rather an hour of it: the mail of a mixed site through a real Postfix and
//! the configuration that mppd comes with, in a minute. What was decided, and why, is printed and
//! kept as `target/tmp/hour.md`; `MPPD_SEED` plays another hour.

mod player;
mod report;
mod traffic;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;

use mppd_dns::testkit::{Server, Zones};

use self::player::{Ports, play};
use self::report::{Summary, page, reasons, summaries};
use self::traffic::{Message, Sender, hour};
use crate::harness::daemon::{Daemon, Settings};
use crate::harness::postfix::{Postfix, PostfixSettings};
use crate::harness::records;

/// Files that the configuration includes.
const FILES: &[&str] = &["esm/PPXX0001.xml"];

/// What the site's administrator changes in the configuration that mppd comes with: the text that
/// is there, and what takes its place. A minute takes a second here, so the greylist has to wait
/// five seconds in place of five minutes.
const EDITS: &[(&str, &str)] = &[
    ("<listen>inet:127.0.0.1:10040</listen>", ""),
    ("<listen>inet:127.0.0.1:10041</listen>", ""),
    ("<state_directory>var</state_directory>", ""),
    ("<format>terminal</format>", ""),
    ("<delay>5m</delay>", "<delay>5s</delay>"),
    ("trap@invalid.example", "former.employee@example.com"),
    ("blocked@invalid.example", "pest.example"),
    (
        "<!-- <sender>partner@example.com example.org</sender> -->",
        "<sender>partner.example</sender>",
    ),
    ("<!-- <list zone=\"bl.example.net\"/> -->", "<list zone=\"bl.example.net\"/>"),
    ("rbl greylist</policy_check_engines>", "rbl greylist sending</policy_check_engines>"),
    ("<!--\n    <threshold id=\"sending\">", "<threshold id=\"sending\">"),
    ("</threshold>\n    -->", "</threshold>"),
];

fn configuration(name_server: &Server) -> String {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut text = std::fs::read_to_string(root.join("conf/mppd.conf.xml")).unwrap();
    for (old, new) in EDITS {
        assert_eq!(text.matches(old).count(), 1, "{old}");
        text = text.replace(old, new);
    }
    let dns = format!("<dns><server>{}</server></dns>", name_server.address());
    text.replacen("<common>", &format!("<common>{dns}"), 1)
}

fn settings(name_server: &Server) -> Settings {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("conf");
    let read =
        |name: &&str| ((*name).to_owned(), std::fs::read_to_string(root.join(name)).unwrap());
    Settings {
        whole: Some(configuration(name_server)),
        files: FILES.iter().map(read).collect(),
        ..Settings::default()
    }
}

/// What the domain name system knows of those who send.
fn zones(messages: &[Message]) -> Zones {
    let mut text = String::from(
        "list.example TXT v=spf1 ip4:198.18.0.0/16 -all\n\
         bank.example TXT v=spf1 -all\n",
    );
    for message in messages.iter().filter(|message| message.who == Sender::ListedBots) {
        let [a, b, c, d] = message.hosts[0].address.octets();
        let name = format!("{d}.{c}.{b}.{a}.bl.example.net");
        writeln!(text, "{name} A 127.0.0.2").unwrap();
        writeln!(text, "{name} TXT a bot of last night").unwrap();
    }
    Zones::read(&text)
}

fn postfix(daemon: &Daemon) -> Postfix {
    let policy = format!("check_policy_service {}", daemon.endpoint());
    let settings = PostfixSettings::default()
        .set("relay_domains", "example.com, elsewhere.example")
        .set("mynetworks", "127.0.0.0/8")
        .set("smtpd_recipient_restrictions", &format!("reject_unauth_destination, {policy}"))
        .service(&[
            ("smtpd_recipient_restrictions", &policy),
            ("smtpd_data_restrictions", &policy),
        ]);
    Postfix::start(&settings)
}

fn seed() -> u64 {
    std::env::var("MPPD_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(1)
}

#[test]
fn an_hour_of_mail_is_decided_as_its_senders_deserve() {
    let seed = seed();
    let messages = hour(seed);
    let name_server = Server::start(zones(&messages));
    let daemon = Daemon::start(settings(&name_server));
    let postfix = postfix(&daemon);
    let ports = Ports { world: postfix.port(), submission: postfix.service_port(0) };
    let fates = play(&messages, ports);
    let rows = records::sqlite(&daemon.state_directory());
    let page = page(seed, &messages, &fates, &rows);
    std::fs::write(Path::new(env!("CARGO_TARGET_TMPDIR")).join("hour.md"), &page).unwrap();
    println!("{page}");
    deserved(&summaries(&fates), &page);
    // Wherever a farm comes from the next time, it is not new again.
    let farm = &reasons(&messages, &rows)[&Sender::Farm];
    let is_new = |(reason, _): &(&String, &usize)| reason.contains("greylist new");
    let new: usize = farm.iter().filter(is_new).map(|(_, count)| count).sum();
    assert_eq!(new, summaries(&fates)[&Sender::Farm].messages, "{page}");
}

/// What each sender deserves.
fn deserved(summaries: &BTreeMap<Sender, Summary>, page: &str) {
    for who in Sender::ALL {
        let summary = &summaries[&who];
        let is_right = match who {
            // Nobody who is wanted is refused, and those who are known need not wait.
            Sender::Correspondents | Sender::Farm => summary.accepted() == summary.messages,
            Sender::Newsletter | Sender::Partner | Sender::Staff => {
                summary.at_once == summary.messages
            }
            Sender::Blocked | Sender::ListedBots => summary.refused == summary.messages,
            // Whoever does not come back has not got in.
            Sender::Dictionary | Sender::Forgers | Sender::OtherBots => summary.accepted() == 0,
            // Some went out before the limit was reached.
            Sender::HackedAccount => summary.accepted() > 0 && summary.accepted() <= 110,
        };
        assert!(is_right, "{}: {summary:?}\n{page}", who.words());
    }
}
