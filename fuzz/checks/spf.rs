//! What holds for any octets that a domain publishes: nothing panics, the check ends, few questions
//! are asked, and what is said of it fits into one line of a header.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use mppd_dns::testkit::Zones;
use mppd_dns::{Answer, Dns, Lookup, Pending, Question};
use mppd_engine::Outcome;
use mppd_engine::testkit::{Configured, exchange};

/// Two identities, each with its record and ten terms; of these every one may be an `mx` of ten
/// names, or ask for the client's ten names.
const MOST_QUESTIONS: usize = 2 * (1 + 10 + 10 * 10 + 11 + 2);

/// Zones that count what they are asked.
struct Counted {
    zones: Zones,
    questions: Arc<AtomicUsize>,
}

impl Lookup for Counted {
    fn at_hand(&self, question: &Question) -> Option<Answer> {
        self.questions.fetch_add(1, Ordering::Relaxed);
        self.zones.at_hand(question)
    }

    fn look_up(&self, question: Question, deadline: Instant) -> Pending {
        self.zones.look_up(question, deadline)
    }
}

/// What the octets may lead to.
fn zones(record: &[u8], explanation: &[u8]) -> Zones {
    Zones::default()
        .txt("example.com", record)
        .txt("example.org", [b"v=spf1 ", record].concat())
        .txt("exp.example.com", explanation)
        .a("example.com", "192.0.2.2")
        .mx("example.com", 10, "mail.example.com")
        .a("mail.example.com", "192.0.2.1")
        .ptr("192.0.2.1", "mail.example.com")
}

/// Panics where one of the promises is broken.
pub(crate) fn check(octets: &[u8]) {
    // A text of the domain name system is shorter than this.
    let octets = &octets[..octets.len().min(8_000)];
    let half = octets.iter().position(|octet| *octet == b'\n').unwrap_or(octets.len());
    let (record, explanation) = (&octets[..half], &octets[(half + 1).min(octets.len())..]);
    for sender in ["strong-bad@example.com", "\u{f6}@example.org", ""] {
        let questions = Arc::new(AtomicUsize::new(0));
        let zones = zones(record, explanation);
        let dns = Dns::new(Counted { zones, questions: questions.clone() });
        check_outcome(&run(dns, sender));
        let asked = questions.load(Ordering::Relaxed);
        assert!(asked <= MOST_QUESTIONS, "{asked} questions");
    }
}

fn run(dns: Dns, sender: &str) -> Outcome {
    let kind = mppd_engines::ENGINES.iter().find(|kind| kind.name() == "spf");
    let configured = Configured::xml("<spf/>").with_service(Arc::new(dns));
    let engine = configured.build(*kind.expect("the engine")).expect("an engine");
    let exchange = exchange([
        ("protocol_state", "RCPT"),
        ("client_address", "192.0.2.1"),
        ("helo_name", "example.org"),
        ("sender", sender),
    ]);
    engine.run(&exchange).expect("a status")
}

fn check_outcome(outcome: &Outcome) {
    let value = |name: &str| {
        let value = outcome.value(name).expect("the value");
        String::from_utf8(value.to_vec()).expect("UTF-8")
    };
    for name in ["received_spf", "authentication_results", "explanation", "mechanism"] {
        assert!(!value(name).chars().any(char::is_control), "{name}: {}", value(name));
    }
    assert!(value("explanation").is_ascii());
    let begin = if outcome.status == "best_guess" { "none" } else { outcome.status };
    assert!(value("received_spf").starts_with(begin));
}
