//! What a transition puts on record: the state of an exchange at one time, and the row made of it.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;
use std::time::SystemTime;

use mppd_engine::{Attribute, EngineResult, Exchange, Mailbox, Request, RequestKey, Transition};

use super::row::{Cell, PROCESSED, RECEIVED, Row, canonical_number, push_reverse_domain, storable};
use super::table::{COLUMNS, Column, Kind, Source};
use super::time::microseconds;

/// The state of an exchange, kept until it is known whether a row must be made of it.
#[derive(Debug)]
pub(super) struct Snapshot {
    key: RequestKey,
    request: Arc<Request>,
    received: i64,
    group: Arc<str>,
    repeat_of: Option<RequestKey>,
    node: Arc<str>,
    results: Vec<Arc<EngineResult>>,
    outcome: Option<Outcome>,
}

#[derive(Debug)]
struct Outcome {
    processed: i64,
    decision: Option<(String, Option<String>)>,
    error: Option<String>,
}

impl Snapshot {
    pub(super) fn take(transition: Transition, exchange: &Exchange, node: &Arc<str>) -> Self {
        Snapshot {
            key: exchange.key(),
            request: Arc::clone(exchange.request()),
            received: microseconds(exchange.received()),
            group: Arc::clone(exchange.group()),
            repeat_of: exchange.repeat_of(),
            node: Arc::clone(node),
            results: exchange.results(),
            outcome: (transition != Transition::Received).then(|| Outcome::of(exchange)),
        }
    }

    pub(super) fn key(&self) -> RequestKey {
        self.key
    }

    /// How many octets it takes up, about.
    pub(super) fn size(&self) -> usize {
        self.request.octets().len() + size_of::<Self>()
    }

    /// The row.
    pub(super) fn row(&self) -> Row {
        let mut row = Row::with_capacity(self.request.octets().len() + 256);
        for column in COLUMNS {
            self.fill(&mut row, column);
        }
        row
    }

    fn fill(&self, row: &mut Row, column: &Column) {
        let outcome = self.outcome.as_ref();
        match column.source {
            Source::Key => row.push(Cell::Octets(&self.key.0)),
            Source::State if outcome.is_some() => row.push(Cell::Text(PROCESSED)),
            Source::State => row.push(Cell::Text(RECEIVED)),
            Source::Received => row.push(Cell::Time(self.received)),
            Source::Attribute(attribute) => {
                push_attribute(row, self.request.find(attribute), column.kind);
            }
            Source::Local(attribute) => {
                push_text(row, self.mailbox(attribute).map(|mailbox| mailbox.local()), column.kind);
            }
            Source::ReverseDomain(attribute) => {
                push_domain(row, self.mailbox(attribute).and_then(|m| m.domain()), column.kind);
            }
            Source::Processed => row.push(outcome.map_or(Cell::Null, |o| Cell::Time(o.processed))),
            Source::Status(engine) => {
                push_text(
                    row,
                    self.result(engine).map(|r| r.outcome.status.as_bytes()),
                    column.kind,
                );
            }
            Source::Value(engine, name) => push_text(row, self.value(engine, name), column.kind),
            Source::Error => {
                push_text(
                    row,
                    outcome.and_then(|o| o.error.as_deref()).map(str::as_bytes),
                    column.kind,
                );
            }
            Source::Decision => {
                let decision = outcome.and_then(|o| o.decision.as_ref());
                push_text(row, decision.map(|(word, _)| word.as_bytes()), column.kind);
            }
            Source::DecisionText => {
                let decision = outcome.and_then(|o| o.decision.as_ref());
                let text = decision.and_then(|(_, text)| text.as_deref());
                push_text(row, text.map(str::as_bytes), column.kind);
            }
            Source::Group => push_text(row, Some(self.group.as_bytes()), column.kind),
            Source::Checks if self.results.is_empty() => row.push(Cell::Null),
            Source::Checks => row.push_written(|text| self.write_checks(text)),
            Source::RepeatOf => {
                let key = self.repeat_of.as_ref();
                row.push(key.map_or(Cell::Null, |key| Cell::Octets(&key.0)));
            }
            Source::Node => push_text(row, Some(self.node.as_bytes()), column.kind),
            Source::Raw => {
                // Comparing costs less than a rule for each way in which columns fall short, and
                // it cannot be wrong.
                let octets = self.request.octets();
                let is_told = row.rebuild() == octets;
                row.push(if is_told { Cell::Null } else { Cell::Octets(octets) });
            }
        }
    }

    fn mailbox(&self, attribute: Attribute) -> Option<Mailbox<'_>> {
        self.request.find(attribute).map(Mailbox::new)
    }

    fn result(&self, engine: &str) -> Option<&EngineResult> {
        self.results.iter().rev().map(|result| &**result).find(|result| &*result.engine == engine)
    }

    fn value(&self, engine: &str, name: &str) -> Option<&[u8]> {
        self.result(engine)?.outcome.value(name)
    }

    fn write_checks(&self, text: &mut String) {
        text.push('{');
        for (index, result) in self.results.iter().enumerate() {
            if index > 0 {
                text.push(',');
            }
            let before = &self.results[..index];
            let runs = before.iter().filter(|earlier| earlier.engine == result.engine).count();
            write_check(text, result, runs + 1);
        }
        text.push('}');
    }
}

impl Outcome {
    fn of(exchange: &Exchange) -> Self {
        let owned = |(word, text): (Cow<'_, str>, Option<Cow<'_, str>>)| {
            (word.into_owned(), text.map(Cow::into_owned))
        };
        let decision = exchange.answer().map(owned);
        Outcome {
            processed: microseconds(SystemTime::now()),
            decision,
            error: exchange.exception().map(ToString::to_string),
        }
    }
}

fn push_attribute(row: &mut Row, value: Option<&[u8]>, kind: Kind) {
    if kind == Kind::Count {
        return row.push(value.and_then(canonical_number).map_or(Cell::Null, Cell::Integer));
    }
    push_text(row, value, kind);
}

fn push_text(row: &mut Row, value: Option<&[u8]>, kind: Kind) {
    match value {
        Some(value) => row.push(Cell::Text(&storable(value, kind))),
        None => row.push(Cell::Null),
    }
}

fn push_domain(row: &mut Row, domain: Option<&[u8]>, kind: Kind) {
    let Some(domain) = domain else { return row.push(Cell::Null) };
    let domain = storable(domain, kind);
    row.push_written(|text| push_reverse_domain(text, &domain));
}

fn write_check(text: &mut String, result: &EngineResult, run: usize) {
    let id = if run == 1 { result.engine.to_string() } else { format!("{}#{run}", result.engine) };
    let microseconds = result.elapsed.as_micros();
    let (whole, part) = (microseconds / 1_000, microseconds % 1_000);
    let status = json(result.outcome.status);
    // Writing to a String cannot fail.
    let _infallible = write!(text, "{}:{{\"status\":{status},\"ms\":{whole}.{part:03}", json(&id));
    if !result.outcome.text.is_empty() {
        text.push_str(",\"text\":");
        text.push_str(&json(&storable(result.outcome.text.as_bytes(), Kind::Text)));
    }
    text.push('}');
}

fn json(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

#[cfg(test)]
pub(super) mod tests {
    use std::time::{Duration, Instant};

    use mppd_engine::exchange::Receipt;
    use mppd_engine::tracking::Recorded;
    use mppd_engine::{Action, Decision, Exception, Outcome as Came, Tracker};
    use proptest::prelude::*;

    use super::*;
    use crate::tracking::key::new_key;

    struct Nowhere;

    impl Tracker for Nowhere {
        fn record(&self, _: Transition, _: &Exchange) -> Recorded {
            Box::pin(std::future::ready(Ok(())))
        }
    }

    pub(in crate::tracking) fn exchange(request: Request) -> Exchange {
        Exchange::new(Receipt {
            request: Arc::new(request),
            key: new_key(),
            received: SystemTime::now(),
            deadline: Instant::now() + Duration::from_secs(30),
            group: "default".into(),
            node: "test".into(),
            tracker: Arc::new(Nowhere),
            repeat_of: None,
        })
    }

    pub(in crate::tracking) fn row(transition: Transition, exchange: &Exchange) -> Row {
        Snapshot::take(transition, exchange, &"node".into()).row()
    }

    fn asked(attributes: &[(&str, &[u8])]) -> (Request, Row) {
        let request = Request::from_attributes(attributes.iter().copied()).unwrap();
        let row = row(Transition::Received, &exchange(request.clone()));
        (request, row)
    }

    fn ran(engine: &str, outcome: Came) -> EngineResult {
        EngineResult { engine: engine.into(), outcome, elapsed: Duration::from_micros(1_234) }
    }

    #[test]
    fn an_absent_attribute_is_null_and_an_empty_one_is_empty() {
        let (_, row) = asked(&[("helo_name", b""), ("sender", b"")]);
        assert_eq!(row.get("helo_name"), Cell::Text(""));
        assert_eq!(row.get("queue_id"), Cell::Null);
        assert_eq!(row.get("sender_local"), Cell::Text(""));
        assert_eq!(row.get("sender_reverse_domain"), Cell::Null);
        assert_eq!(row.get("recipient_local"), Cell::Null);
        assert_eq!(row.get("raw_request"), Cell::Null);
    }

    #[test]
    fn what_columns_tell_is_not_kept_twice() {
        let (request, row) = asked(&[
            ("sender", b"a@mail.example.com"),
            ("recipient", b"b@[192.0.2.1]"),
            ("recipient_count", b"0"),
            ("size", b"12345"),
        ]);
        assert_eq!(row.get("sender_reverse_domain"), Cell::Text("com.example.mail"));
        assert_eq!(row.get("recipient_reverse_domain"), Cell::Text("[192.0.2.1]"));
        assert_eq!(row.get("size"), Cell::Integer(12_345));
        assert_eq!(row.get("raw_request"), Cell::Null);
        assert_eq!(row.to_request().unwrap(), request);
    }

    #[test]
    fn what_no_column_holds_verbatim_is_kept_raw() {
        let long = [b'x'; 300];
        let odd: &[&[(&str, &[u8])]] = &[
            &[("sender", b"a@Example.com")],
            &[("helo_name", b"\xff")],
            &[("client_name", &long)],
            &[("size", b"007")],
            &[("size", b"")],
            &[("no_such_name", b"x")],
            &[("sender", b"a"), ("sender", b"a")],
            &[("recipient", b"a"), ("sender", b"a")],
            &[("sender", b"a@x.[y")],
        ];
        for attributes in odd {
            let (request, row) = asked(attributes);
            assert_eq!(row.get("raw_request"), Cell::Octets(request.octets()), "{attributes:?}");
            assert_eq!(row.to_request().unwrap(), request);
        }
    }

    #[test]
    fn a_decision_and_the_statuses_fill_their_columns() {
        let exchange = exchange(Request::from_attributes([("sender", "a@b")]).unwrap());
        exchange.add_result(ran("ch_wbl", Came::new("none")));
        let listed = Came::new("listed").with_text("on a \"list\"");
        let listed = listed.with_value("site", "bl.example.org").with_value("reason", b"x\0y\xff");
        exchange.add_result(ran("rbl", listed));
        exchange.add_result(ran("ch_wbl", Came::new("white")));
        let action = Action::parse("REJECT listed").unwrap();
        exchange.decide(Decision { action, engine: Some("rbl".into()) });
        let row = row(Transition::Processed, &exchange);
        assert!(row.is_processed());
        assert_eq!(row.get("ch_wbl"), Cell::Text("white"));
        assert_eq!(row.get("wbl"), Cell::Null);
        assert_eq!(row.get("rbl_site"), Cell::Text("bl.example.org"));
        assert_eq!(row.get("rbl_reason"), Cell::Text("x\u{fffd}y\u{fffd}"));
        assert_eq!(row.get("decision"), Cell::Text("REJECT"));
        assert_eq!(row.get("decision_text"), Cell::Text("listed"));
        assert_eq!(row.get("error_text"), Cell::Null);
        let checks = "{\"ch_wbl\":{\"status\":\"none\",\"ms\":1.234},\"rbl\":{\"status\":\
                      \"listed\",\"ms\":1.234,\"text\":\"on a \\\"list\\\"\"},\"ch_wbl#2\":\
                      {\"status\":\"white\",\"ms\":1.234}}";
        assert_eq!(row.get("checks"), Cell::Text(checks));
    }

    #[test]
    fn an_exception_is_processed_with_its_text() {
        let exchange = exchange(Request::from_attributes([("sender", "a@b")]).unwrap());
        let message = "no answer\0".to_owned();
        let exception = Exception { engine: Some("rbl".into()), kind: "timeout", message };
        exchange.fail(exception, Decision::dunno());
        let row = row(Transition::Exception, &exchange);
        assert!(row.is_processed());
        assert_eq!(row.get("error_text"), Cell::Text("rbl: timeout: no answer\u{fffd}"));
        assert_eq!(row.get("decision"), Cell::Text("DUNNO"));
    }

    #[test]
    fn a_dry_run_tells_what_was_answered_and_what_would_have_been() {
        let exchange = exchange(Request::from_attributes([("sender", "a@b")]).unwrap());
        let exchange = exchange.in_dry_run(true);
        let action = Action::parse("REJECT listed").unwrap();
        exchange.decide(Decision { action, engine: None });
        let row = row(Transition::Processed, &exchange);
        assert_eq!(row.get("decision"), Cell::Text("DUNNO"));
        assert_eq!(row.get("decision_text"), Cell::Text("dry run: REJECT listed"));
    }

    #[test]
    fn a_received_row_has_no_outcome() {
        let exchange = exchange(Request::from_attributes([("sender", "a@b")]).unwrap());
        exchange.decide(Decision::dunno());
        let row = row(Transition::Received, &exchange);
        assert_eq!(row.get("state"), Cell::Text(RECEIVED));
        assert_eq!(row.get("decision"), Cell::Null);
        assert_eq!(row.get("processed_timestamp"), Cell::Null);
    }

    prop_compose! {
        fn a_value()(value in prop_oneof![
            "[ -~]{0,40}",
            "[a-z.@\\[]{0,20}",
            "[a-zA-Z0-9]{1,8}@[a-z0-9.-]{1,30}",
            "[0-9]{1,20}",
            "\\PC{0,300}",
        ].prop_map(String::into_bytes).boxed().prop_union(
            proptest::collection::vec(any::<u8>(), 0..40).boxed()
        )) -> Vec<u8> {
            value.into_iter().filter(|octet| !matches!(octet, 0 | b'\n')).collect()
        }
    }

    prop_compose! {
        pub(in crate::tracking) fn any_request()(
            shuffled in any::<bool>(),
            values in proptest::collection::vec(
                (0..Attribute::ALL.len() + 1, a_value()), 0..40),
        ) -> Request {
            let mut values = values;
            if !shuffled {
                values.sort_by_key(|(place, _)| *place);
                values.dedup_by_key(|(place, _)| *place);
            }
            let named = values.into_iter().map(|(place, value)| {
                match Attribute::ALL.get(place) {
                    Some(Attribute::Request) => ("request", b"smtpd_access_policy".to_vec()),
                    Some(attribute) => (attribute.name(), value),
                    None => ("x_unknown", value),
                }
            });
            Request::from_attributes(named).unwrap()
        }
    }

    proptest! {
        #[test]
        fn every_request_is_read_back_octet_for_octet(request in any_request()) {
            let row = row(Transition::Received, &exchange(request.clone()));
            prop_assert_eq!(&row.to_request().unwrap(), &request);
            let told = row.rebuild() == request.octets();
            prop_assert_eq!(told, row.get("raw_request") == Cell::Null);
        }
    }
}
