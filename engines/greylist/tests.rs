//! The engine as it is configured, over a store in memory.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use mppd_engine::kind;
use mppd_engine::testkit::{Configured, Ready, block_on, exchange_at, value};
use mppd_engine::{Exchange, Outcome};
use mppd_state::StateStore;
use proptest::prelude::*;

use super::*;

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + second)
}

/// One store, and engines over it.
struct Site(Arc<StateStore>);

impl Site {
    fn new() -> Self {
        Site(Arc::new(StateStore::in_memory()))
    }

    fn engine(&self, xml: &str) -> Ready {
        Configured::xml(xml).with_service(self.0.clone()).build(kind::<Greylist>()).unwrap()
    }
}

fn greylist(xml: &str) -> Ready {
    Site::new().engine(xml)
}

#[derive(Clone, Copy)]
struct Mail<'a> {
    address: &'a str,
    name: &'a str,
    sender: &'a str,
    recipient: &'a str,
    login: &'a str,
}

const MAIL: Mail<'static> = Mail {
    address: "192.0.2.7",
    name: "unknown",
    sender: "alice@example.com",
    recipient: "bob@example.org",
    login: "",
};

impl Mail<'_> {
    fn at(&self, second: u64) -> Arc<Exchange> {
        exchange_at(
            at(second),
            [
                ("protocol_state", "RCPT"),
                ("client_address", self.address),
                ("client_name", self.name),
                ("sender", self.sender),
                ("recipient", self.recipient),
                ("sasl_username", self.login),
            ],
        )
    }
}

fn ask(engine: &Ready, mail: Mail<'_>, second: u64) -> Outcome {
    engine.run(&mail.at(second)).unwrap()
}

fn status(engine: &Ready, mail: Mail<'_>, second: u64) -> &'static str {
    ask(engine, mail, second).status
}

#[test]
fn a_triplet_is_new_then_early_then_passed_then_known() {
    let engine = greylist("<greylist/>");
    let first = ask(&engine, MAIL, 0);
    assert_eq!(first.status, "new");
    assert_eq!(first.text, "first attempt of 192.0.2.0/24, 300 seconds to wait");
    assert_eq!(value(&first, "seconds"), "300");
    assert_eq!(value(&first, "client"), "192.0.2.0/24");
    assert_eq!(value(&first, "counted_sender"), "alice@example.com");
    let early = ask(&engine, MAIL, 299);
    assert_eq!((early.status, &*value(&early, "seconds")), ("early", "1"));
    assert_eq!(value(&early, "waited"), "299");
    let passed = ask(&engine, MAIL, 310);
    assert_eq!((passed.status, &*value(&passed, "waited")), ("passed", "310"));
    assert_eq!(status(&engine, MAIL, 311), "known");
    assert_eq!(status(&engine, MAIL, 30 * 86_400), "known");
}

#[test]
fn whoever_comes_back_too_late_begins_anew() {
    let engine = greylist("<greylist><delay>60s</delay><window>1h</window></greylist>");
    assert_eq!(status(&engine, MAIL, 0), "new");
    assert_eq!(status(&engine, MAIL, 3_600), "new");
    assert_eq!(status(&engine, MAIL, 3_659), "early");
    assert_eq!(status(&engine, MAIL, 3_660), "passed");
}

#[test]
fn a_triplet_that_is_not_seen_for_its_lifetime_is_forgotten() {
    let engine = greylist("<greylist delay='60s' lifetime='10d'/>");
    assert_eq!(status(&engine, MAIL, 0), "new");
    assert_eq!(status(&engine, MAIL, 60), "passed");
    assert_eq!(status(&engine, MAIL, 60 + 9 * 86_400), "known");
    assert_eq!(status(&engine, MAIL, 60 + 19 * 86_400), "new");
}

#[test]
fn client_sender_and_recipient_all_count() {
    let engine = greylist("<greylist auto_whitelist='0'/>");
    assert_eq!(status(&engine, MAIL, 0), "new");
    for other in [
        Mail { address: "198.51.100.7", ..MAIL },
        Mail { sender: "mallory@example.com", ..MAIL },
        Mail { sender: "", ..MAIL },
        Mail { recipient: "carol@example.org", ..MAIL },
    ] {
        assert_eq!(status(&engine, other, 300), "new");
    }
    assert_eq!(status(&engine, MAIL, 300), "passed");
}

#[test]
fn another_address_of_the_network_is_the_same_client() {
    let engine = greylist("<greylist/>");
    assert_eq!(status(&engine, MAIL, 0), "new");
    assert_eq!(status(&engine, Mail { address: "192.0.2.200", ..MAIL }, 300), "passed");
    let ipv6 = Mail { address: "2001:db8::1", ..MAIL };
    assert_eq!(status(&engine, ipv6, 300), "new");
    assert_eq!(status(&engine, Mail { address: "2001:db8::ffff:2", ..MAIL }, 600), "passed");
    assert_eq!(status(&engine, Mail { address: "2001:db8:0:1::1", ..MAIL }, 600), "new");
}

#[test]
fn a_farm_under_one_domain_is_one_client() {
    let engine = greylist("<greylist/>");
    let one = Mail { address: "192.0.2.7", name: "out1.farm.example", ..MAIL };
    let other = Mail { address: "203.0.113.9", name: "out9.farm.example", ..MAIL };
    assert_eq!(value(&ask(&engine, one, 0), "client"), "farm.example");
    assert_eq!(status(&engine, other, 300), "passed");
}

#[test]
fn a_name_that_was_not_known_at_first_makes_nobody_wait_again() {
    let engine = greylist("<greylist/>");
    assert_eq!(status(&engine, MAIL, 0), "new");
    let named = Mail { name: "mail.example.com", ..MAIL };
    assert_eq!(status(&engine, named, 300), "passed");
    assert_eq!(status(&engine, named, 301), "known");
}

#[test]
fn a_client_of_which_enough_has_passed_need_not_wait() {
    let engine = greylist("<greylist auto_whitelist='2' auto_whitelist_interval='1h'/>");
    let to = |recipient| Mail { recipient, ..MAIL };
    for recipient in ["a@example.org", "b@example.org", "c@example.org"] {
        assert_eq!(status(&engine, to(recipient), 0), "new");
    }
    // All at once they are one success.
    for recipient in ["a@example.org", "b@example.org"] {
        assert_eq!(status(&engine, to(recipient), 300), "passed");
    }
    assert_eq!(status(&engine, to("d@example.org"), 301), "new");
    assert_eq!(status(&engine, to("c@example.org"), 300 + 3_600), "passed");
    let excused = ask(&engine, to("e@example.org"), 300 + 3_601);
    assert_eq!((excused.status, &*value(&excused, "reason")), ("whitelisted", "client"));
    assert_eq!(excused.text, "192.0.2.0/24 has passed often enough");
}

#[test]
fn a_client_that_need_not_wait_is_forgotten_when_it_stays_away() {
    let xml = "<greylist auto_whitelist='1' auto_whitelist_lifetime='1d'/>";
    let engine = greylist(xml);
    assert_eq!(status(&engine, MAIL, 0), "new");
    assert_eq!(status(&engine, MAIL, 300), "passed");
    let other = Mail { sender: "carol@example.com", ..MAIL };
    assert_eq!(status(&engine, other, 80_000), "whitelisted");
    assert_eq!(status(&engine, other, 160_000), "whitelisted");
    assert_eq!(status(&engine, other, 160_000 + 86_400), "new");
}

#[test]
fn clients_without_an_address_always_wait() {
    let engine = greylist("<greylist auto_whitelist='1'/>");
    let unknown = Mail { address: "unknown", ..MAIL };
    assert_eq!(value(&ask(&engine, unknown, 0), "client"), "unknown");
    assert_eq!(status(&engine, unknown, 300), "passed");
    assert_eq!(status(&engine, Mail { sender: "x@example.com", ..unknown }, 400), "new");
}

#[test]
fn nobody_waits_for_recipients_that_opted_out() {
    let engine = greylist("<greylist><opt_out>postmaster@ example.net</opt_out></greylist>");
    let outcome = ask(&engine, Mail { recipient: "Postmaster@example.org", ..MAIL }, 0);
    assert_eq!((outcome.status, &*value(&outcome, "reason")), ("whitelisted", "recipient"));
    assert_eq!(outcome.text, "nobody waits to write to postmaster@");
    assert_eq!(status(&engine, Mail { recipient: "x@a.example.net", ..MAIL }, 0), "whitelisted");
    assert_eq!(status(&engine, MAIL, 0), "new");
}

#[test]
fn who_has_logged_in_need_not_wait_unless_told() {
    let login = Mail { login: "alice", ..MAIL };
    let outcome = ask(&greylist("<greylist/>"), login, 0);
    assert_eq!((outcome.status, &*value(&outcome, "reason")), ("whitelisted", "login"));
    assert_eq!(status(&greylist("<greylist skip_authenticated='false'/>"), login, 0), "new");
}

#[test]
fn engines_of_other_names_have_records_of_their_own() {
    let site = Site::new();
    let (one, other) = (site.engine("<greylist id='one'/>"), site.engine("<greylist id='other'/>"));
    assert_eq!(status(&one, MAIL, 0), "new");
    assert_eq!(status(&other, MAIL, 300), "new");
    assert_eq!(status(&site.engine("<greylist id='one'/>"), MAIL, 300), "passed");
}

#[test]
fn the_records_have_names_that_can_be_read() {
    let site = Site::new();
    let engine = site.engine("<greylist auto_whitelist='1'/>");
    let odd = Mail { sender: "a b%\u{1}@example.com", ..MAIL };
    assert_eq!(status(&engine, odd, 0), "new");
    assert_eq!(status(&engine, Mail { sender: "", ..MAIL }, 0), "new");
    assert_eq!(status(&engine, odd, 300), "passed");
    let space = site.0.space("greylist");
    let now = Timestamp::try_from(at(300)).unwrap();
    let keys = block_on(space.list(None, 10, now)).unwrap().into_iter();
    let keys: Vec<String> = keys.map(|stored| String::from_utf8(stored.key).unwrap()).collect();
    assert_eq!(
        keys,
        [
            "192.0.2.0/24",
            "192.0.2.0/24 <> bob@example.org",
            "192.0.2.0/24 a%20b%25%01@example.com bob@example.org",
        ]
    );
}

#[test]
fn a_window_that_is_too_short_is_refused_where_it_stands() {
    let configured = Configured::xml("<greylist><delay>2h</delay><window>60m</window></greylist>");
    let configured = configured.with_service(Site::new().0);
    let message = "a first attempt is forgotten after 1h, before the delay of 2h is over";
    assert_eq!(configured.faults(kind::<Greylist>()), [(message.to_owned(), "60m")]);
    let configured = Configured::xml("<greylist delay='3d'/>").with_service(Site::new().0);
    assert_eq!(configured.faults(kind::<Greylist>()).len(), 1);
}

#[test]
fn every_fault_of_the_options_is_told_at_once() {
    let xml = "<greylist ipv4_prefix='33' delay='0s'><opt_out>&lt;&gt;</opt_out></greylist>";
    let configured = Configured::xml(xml).with_service(Site::new().0);
    let faults = configured.faults(kind::<Greylist>());
    let places: Vec<&str> = faults.iter().map(|(_, place)| *place).collect();
    assert_eq!(places, ["33", "0s", "&lt;&gt;"], "{faults:?}");
    assert!(faults[0].0.contains("\"33\" is not a number of bits from 1 to 32"), "{faults:?}");
}

proptest! {
    /// No two triplets share a record because of what is written in them.
    #[test]
    fn keys_can_be_taken_apart(
        sender in prop::collection::vec(any::<u8>(), 0..12),
        recipient in prop::collection::vec(any::<u8>(), 0..12),
    ) {
        let key = triplet_key("192.0.2.0/24", &sender, &recipient);
        let parts: Vec<&[u8]> = key.split(|octet| *octet == b' ').collect();
        prop_assert_eq!(parts.len(), 3);
        let decoded = |part: &[u8]| {
            let (mut octets, mut rest) = (Vec::new(), part);
            while let Some((first, behind)) = rest.split_first() {
                rest = behind;
                if *first == b'%' {
                    let digits = std::str::from_utf8(&rest[..2]).unwrap();
                    octets.push(u8::from_str_radix(digits, 16).unwrap());
                    rest = &rest[2..];
                } else {
                    octets.push(*first);
                }
            }
            octets
        };
        prop_assert_eq!((decoded(parts[1]), decoded(parts[2])), (sender, recipient));
    }
}
