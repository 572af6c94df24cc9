//! The engine as it is configured, over a store in memory.

use std::time::SystemTime;

use mppd_engine::kind;
use mppd_engine::testkit::{Configured, Ready, exchange_at, value};
use proptest::prelude::*;

use super::*;

const HOUR: u64 = 3_600;

fn engine(inner: &str) -> Ready {
    let xml = format!("<spam_traps><trap>trap@example.org example.net</trap>{inner}</spam_traps>");
    build(&xml)
}

fn build(xml: &str) -> Ready {
    let store = Arc::new(StateStore::in_memory());
    Configured::xml(xml).with_service(store).build(kind::<SpamTraps>()).unwrap()
}

#[derive(Clone, Copy)]
struct Mail<'a> {
    state: &'a str,
    address: &'a str,
    name: &'a str,
    sender: &'a str,
    recipient: &'a str,
    login: &'a str,
}

const MAIL: Mail<'static> = Mail {
    state: "RCPT",
    address: "192.0.2.7",
    name: "unknown",
    sender: "spammer@example.com",
    recipient: "bob@example.org",
    login: "",
};

const TO_TRAP: Mail<'static> = Mail { recipient: "trap@example.org", ..MAIL };

fn ask(engine: &Ready, mail: Mail<'_>, second: u64) -> Outcome {
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + second);
    let exchange = exchange_at(
        time,
        [
            ("protocol_state", mail.state),
            ("client_address", mail.address),
            ("client_name", mail.name),
            ("sender", mail.sender),
            ("recipient", mail.recipient),
            ("sasl_username", mail.login),
        ],
    );
    engine.run(&exchange).unwrap()
}

fn status(engine: &Ready, mail: Mail<'_>, second: u64) -> &'static str {
    ask(engine, mail, second).status
}

#[test]
fn who_writes_to_a_trap_is_marked_for_a_time() {
    let engine = engine("");
    assert_eq!(status(&engine, MAIL, 0), "none");
    let trapped = ask(&engine, Mail { recipient: "Trap@Example.ORG", ..MAIL }, 10);
    assert_eq!(trapped.status, "trap");
    assert_eq!(trapped.text, "trap@example.org is a trap, 192.0.2.7/32 is marked");
    let marked = ask(&engine, MAIL, 10 + 24 * HOUR - 1);
    assert_eq!(marked.status, "marked");
    assert_eq!(value(&marked, "trap"), "trap@example.org");
    assert_eq!(value(&marked, "since"), "2026-09-21T14:13:30Z");
    assert_eq!(value(&marked, "until"), "2026-09-22T14:13:30Z");
    assert_eq!(status(&engine, MAIL, 10 + 24 * HOUR), "none");
}

#[test]
fn each_further_hit_makes_the_time_begin_anew() {
    let engine = engine("<mark_for>1h</mark_for>");
    let first = ask(&engine, TO_TRAP, 0);
    let again = ask(&engine, Mail { recipient: "any@sub.example.net", ..MAIL }, HOUR - 1);
    assert_eq!(value(&again, "since"), value(&first, "since"));
    let marked = ask(&engine, MAIL, 2 * HOUR - 2);
    assert_eq!((marked.status, &*value(&marked, "trap")), ("marked", "any@sub.example.net"));
    assert_eq!(status(&engine, MAIL, 2 * HOUR - 1), "none");
    let later = ask(&engine, TO_TRAP, 2 * HOUR);
    assert_ne!(value(&later, "since"), value(&first, "since"));
}

#[test]
fn a_marked_client_is_marked_at_every_stage() {
    let engine = engine("");
    assert_eq!(status(&engine, TO_TRAP, 0), "trap");
    for state in ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "END-OF-MESSAGE"] {
        let mail = Mail { state, sender: "", recipient: "", ..MAIL };
        assert_eq!(status(&engine, mail, 1), "marked", "{state}");
    }
}

#[test]
fn neighbours_are_marked_as_far_as_configured() {
    let address = engine("");
    assert_eq!(status(&address, TO_TRAP, 0), "trap");
    assert_eq!(status(&address, Mail { address: "192.0.2.8", ..MAIL }, 1), "none");
    assert_eq!(status(&address, Mail { address: "2001:db8::1", ..TO_TRAP }, 0), "trap");
    assert_eq!(status(&address, Mail { address: "2001:db8::f:2", ..MAIL }, 1), "marked");
    let network = engine("<ipv4_prefix>24</ipv4_prefix>");
    assert_eq!(status(&network, TO_TRAP, 0), "trap");
    assert_eq!(status(&network, Mail { address: "192.0.2.8", ..MAIL }, 1), "marked");
    assert_eq!(status(&network, Mail { address: "192.0.3.8", ..MAIL }, 1), "none");
}

#[test]
fn a_bounce_to_a_trap_marks_nobody() {
    let engine = engine("");
    let bounce = ask(&engine, Mail { sender: "", ..TO_TRAP }, 0);
    assert_eq!(bounce.status, "trap");
    assert_eq!(bounce.text, "trap@example.org is a trap; nobody is marked");
    assert_eq!(value(&bounce, "client"), "");
    assert_eq!(status(&engine, MAIL, 1), "none");
}

#[test]
fn some_clients_are_never_marked() {
    let engine = engine(
        "<never>
           <client_address>192.0.2.0/29</client_address>
           <client_name>mail.example</client_name>
         </never>",
    );
    assert_eq!(status(&engine, TO_TRAP, 0), "trap");
    assert_eq!(status(&engine, MAIL, 1), "none");
    let named = Mail { address: "192.0.2.99", name: "Out1.mail.example", ..MAIL };
    assert_eq!(status(&engine, Mail { recipient: "trap@example.org", ..named }, 2), "trap");
    assert_eq!(status(&engine, named, 3), "none");
    assert_eq!(status(&engine, Mail { address: "192.0.2.99", ..TO_TRAP }, 4), "trap");
    assert_eq!(status(&engine, Mail { address: "192.0.2.99", ..MAIL }, 5), "marked");
}

#[test]
fn users_who_have_logged_in_are_neither_marked_nor_refused() {
    let engine = engine("");
    let user = Mail { login: "alice", ..MAIL };
    assert_eq!(status(&engine, Mail { recipient: "trap@example.org", ..user }, 0), "trap");
    assert_eq!(status(&engine, MAIL, 1), "none");
    assert_eq!(status(&engine, TO_TRAP, 2), "trap");
    assert_eq!(status(&engine, user, 3), "none");
}

#[test]
fn a_client_without_an_address_can_write_to_a_trap_only() {
    let engine = engine("");
    let unknown = Mail { address: "unknown", ..MAIL };
    assert_eq!(status(&engine, Mail { recipient: "trap@example.org", ..unknown }, 0), "trap");
    assert_eq!(status(&engine, unknown, 1), "none");
}

#[test]
fn what_a_client_wrote_is_escaped_in_the_text() {
    let engine = engine("");
    let outcome = ask(&engine, Mail { recipient: "a\u{1b}b@example.net", ..MAIL }, 0);
    assert!(outcome.text.starts_with("a\\u{1b}b@example.net is a trap"), "{}", outcome.text);
}

#[test]
fn an_engine_without_a_trap_is_warned_of() {
    let warnings: Vec<String> =
        build("<spam_traps/>").warnings().iter().map(ToString::to_string).collect();
    assert_eq!(warnings, ["there is no trap, so nobody is ever marked"]);
}

#[test]
fn every_fault_of_the_options_is_told_where_it_stands() {
    let configured = Configured::xml(
        "<spam_traps ipv6_prefix='0'><trap>&lt;&gt;</trap>
           <never><client_address>192.0.2.1/24</client_address><client_name>x..y</client_name></never>
         </spam_traps>",
    );
    let configured = configured.with_service(Arc::new(StateStore::in_memory()));
    let faults = configured.faults(kind::<SpamTraps>());
    let places: Vec<&str> = faults.iter().map(|(_, place)| *place).collect();
    assert_eq!(places, ["0", "&lt;&gt;", "192.0.2.1/24", "x..y"], "{faults:?}");
}

proptest! {
    #[test]
    fn a_record_is_read_as_it_was_written(
        since in 0..1_i64 << 40, until in 0..1_i64 << 40, trap: Vec<u8>
    ) {
        let time = |at| Timestamp::from_millisecond(at).unwrap();
        let hit = Hit { since: time(since), until: time(until), trap };
        prop_assert_eq!(Hit::from_octets(&hit.to_octets()), Some(hit));
    }

    /// Whoever wrote to a trap within the last hour is marked, and nobody else.
    #[test]
    fn clients_are_marked_as_their_history_says(
        steps in prop::collection::vec((0..3_u8, any::<bool>(), 0..5_000_u64), 1..40)
    ) {
        let engine = engine("<mark_for>1h</mark_for>");
        let (mut hits, mut now) = ([None; 3], 0);
        for (client, is_trap, pause) in steps {
            now += pause;
            let address = format!("192.0.2.{client}");
            let mail = Mail { address: &address, ..if is_trap { TO_TRAP } else { MAIL } };
            let last: &mut Option<u64> = &mut hits[usize::from(client)];
            let is_marked = last.is_some_and(|last| now - last < HOUR);
            let expected = if is_trap { "trap" } else if is_marked { "marked" } else { "none" };
            prop_assert_eq!(status(&engine, mail, now), expected);
            if is_trap {
                *last = Some(now);
            }
        }
    }
}
