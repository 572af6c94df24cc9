//! What holds for any octets that a peer sends: nothing panics, cutting them makes no difference,
//! a request is what was sent, and a reply is one that Postfix reads as it is meant.

use mppd::policy::codec::{Decoder, Limits};
use mppd::policy::reply;
use mppd_engine::{Action, Attribute, Request};

const LIMITS: Limits = Limits { line: 2 << 10, request: 8 << 10 };

/// Panics where one of the promises is broken.
pub(crate) fn check(octets: &[u8]) {
    let (requests, fault) = decode(octets, octets.len().max(1));
    let piece = octets.first().map_or(1, |first| usize::from(*first) + 1);
    let (again, fault_again) = decode(octets, piece);
    assert_eq!(again, requests, "cut after {piece} octets");
    assert_eq!(fault_again.is_some(), fault.is_some(), "{fault:?} or {fault_again:?}");
    let mut rest = octets;
    for request in &requests {
        let (sent, behind) = rest.split_at(request.octets().len());
        assert_eq!(request.octets(), sent);
        rest = behind;
        check_request(request);
    }
}

/// The requests in a stream that comes in pieces of this length, and what ended it.
fn decode(octets: &[u8], piece: usize) -> (Vec<Request>, Option<String>) {
    let mut decoder = Decoder::new(LIMITS);
    let mut requests = Vec::new();
    for piece in octets.chunks(piece) {
        decoder.buffer().extend_from_slice(piece);
        loop {
            match decoder.decode() {
                Ok(Some(request)) => requests.push(request),
                Ok(None) => break,
                Err(fault) => return (requests, Some(fault.to_string())),
            }
        }
        assert!(decoder.pending().len() <= LIMITS.request);
    }
    let fault = decoder.finish().err().map(|fault| fault.to_string());
    (requests, fault)
}

fn check_request(request: &Request) {
    let again = Request::from_attributes(request.attributes());
    assert_eq!(again.as_ref(), Ok(request));
    let mailbox = request.recipient();
    let domain = mailbox.domain().map_or(0, |domain| domain.len() + 1);
    assert_eq!(mailbox.local().len() + domain, mailbox.whole().len());
    let _ = (request.client_address(), request.stage(), request.instance());
    let action = Action::parse(&request.text(Attribute::PolicyContext));
    if let Ok(action) = action {
        check_reply(&action, request);
    }
}

fn check_reply(action: &Action, request: &Request) {
    let reply = reply::encode(action, request);
    let reply = String::from_utf8(reply).expect("Postfix refuses a reply that is not UTF-8");
    let line = reply.strip_suffix("\n\n").expect("the reply ends with an empty line");
    assert!(!line.contains(char::is_control), "{line:?}");
    let said = line.strip_prefix("action=").expect("the reply begins with the action");
    let read = Action::parse(said).expect("Postfix reads an action");
    assert_eq!(read.word(), action.word());
}
