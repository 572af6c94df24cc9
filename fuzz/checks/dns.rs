//! What holds for any octets that a name server sends: nothing panics, an answer has only records of
//! the type asked for, and a list has listed something only if every reply says so.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Instant;

use mppd_dns::testkit::answer_to;
use mppd_dns::{Answer, Dns, Lookup, Name, Pending, Question, Record, RecordKind};
use mppd_engine::Outcome;
use mppd_engine::testkit::{Configured, exchange};

const KINDS: [RecordKind; 5] =
    [RecordKind::A, RecordKind::Txt, RecordKind::Aaaa, RecordKind::Mx, RecordKind::Ptr];

const ASKED: &[u8] = b"1.2.0.192.bl.example";

/// A list that answers one question with what came, and any other as if it had nothing more.
struct Canned {
    question: Question,
    answer: Answer,
}

impl Lookup for Canned {
    fn at_hand(&self, question: &Question) -> Option<Answer> {
        let is_listing = question.kind == RecordKind::A && question.name == self.question.name;
        Some(if *question == self.question {
            self.answer.clone()
        } else if is_listing {
            Answer::of(vec![Record::A(Ipv4Addr::new(127, 0, 0, 2))])
        } else {
            Answer::NoSuchName
        })
    }

    fn look_up(&self, question: Question, _: Instant) -> Pending {
        Box::pin(std::future::ready(self.at_hand(&question).unwrap_or(Answer::NoSuchName)))
    }
}

/// Panics where one of the promises is broken. The first octet says what is asked for.
pub(crate) fn check(octets: &[u8]) {
    let Some((first, octets)) = octets.split_first() else { return };
    let kind = KINDS[usize::from(*first) % KINDS.len()];
    let question = Question::new(kind, Name::parse(ASKED).expect("a name"));
    let answer = answer_to(&question, octets);
    if let Answer::Records(records) = &answer {
        assert!(!records.is_empty());
        assert!(records.iter().all(|record| record.kind() == kind), "{records:?}");
    }
    let expected = match (kind, &answer) {
        (RecordKind::A, answer) => status(answer),
        _ => "listed",
    };
    let outcome = run(Canned { question, answer: answer.clone() });
    assert_eq!(outcome.status, expected, "{answer:?}");
    if let Some(reason) = outcome.value("reason") {
        let reason = std::str::from_utf8(reason).expect("UTF-8");
        assert!(!reason.chars().any(char::is_control), "{reason:?}");
        assert!(reason.chars().count() <= 203, "{reason:?}");
    }
}

/// What the replies of a list mean, in the plainest way.
fn status(answer: &Answer) -> &'static str {
    let Ok(records) = answer.records() else { return "unknown" };
    let is_reply = |record: &Record| match record {
        Record::A(address) => match address.octets() {
            [127, 255, 255, _] | [127, 0, 0, 1 | 255] => false,
            [first, ..] => first == 127,
        },
        _ => false,
    };
    match records {
        [] => "none",
        records if records.iter().all(is_reply) => "listed",
        _ => "unknown",
    }
}

fn run(canned: Canned) -> Outcome {
    let kind = mppd_engines::ENGINES.iter().find(|kind| kind.name() == "rbl");
    let configured = Configured::xml(r#"<rbl><list zone="bl.example"/></rbl>"#);
    let configured = configured.with_service(Arc::new(Dns::new(canned)));
    let engine = configured.build(*kind.expect("the engine")).expect("an engine");
    engine.run(&exchange([("client_address", "192.0.2.1")])).expect("a status")
}
