//! What is counted of a message: recipients, octets, and each message once.

use super::*;

#[test]
fn recipients_are_those_that_postfix_accepted() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username" count="recipients"><limit max="10" per="1h"/></threshold>"#,
    );
    assert_eq!(bench.rcpt("alice"), "none");
    assert_eq!(bench.data("6"), "under");
    assert_eq!(bench.data("5"), "over");
    assert_eq!(bench.data("4"), "under");
    assert_eq!(bench.data("1"), "over");
}

#[test]
fn octets_are_those_of_the_whole_message() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username" count="octets"><limit max="1KiB" per="1h"/></threshold>"#,
    );
    assert_eq!(bench.data("1"), "none");
    assert_eq!(bench.message("END-OF-MESSAGE", "1.2.3", "1", "1000"), "under");
    assert_eq!(bench.message("END-OF-MESSAGE", "1.2.4", "1", "25"), "over");
    assert_eq!(bench.message("END-OF-MESSAGE", "1.2.5", "1", "24"), "under");
}

#[test]
fn an_amount_may_be_any_text_that_is_a_number() {
    let mut bench = Bench::new(
        r#"<threshold key="all" amount="$request.size"><limit max="10" per="1h"/></threshold>"#,
    );
    let mut ask = |size: &str| {
        let instance = bench.fresh_instance();
        let exchange =
            bench.exchange(&[("protocol_state", "RCPT"), ("instance", &instance), ("size", size)]);
        bench.engine.run(&exchange).map(|outcome| outcome.status)
    };
    assert_eq!(ask("7").unwrap(), "under");
    assert_eq!(ask("4").unwrap(), "over");
    assert_eq!(ask("0").unwrap(), "none");
    assert_eq!(ask("").unwrap(), "none");
    let failure = ask("-1").unwrap_err().whole();
    assert_eq!(failure, "the amount is \"-1\", which is no whole number");
}

#[test]
fn a_message_counts_once_however_often_it_is_asked_about() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username" count="recipients"><limit max="10" per="1h"/></threshold>"#,
    );
    for _ in 0..3 {
        assert_eq!(bench.message("DATA", "1.2.3", "6", "0"), "under");
    }
    assert_eq!(bench.listed("alice").limits[0].count, 6);
    assert_eq!(bench.data("4"), "under");
    assert_eq!(bench.message("DATA", "1.2.3", "6", "0"), "under");
}

#[test]
fn a_message_that_was_refused_stays_so() {
    let mut bench = Bench::new(
        r#"<threshold key="$sasl_username" count="recipients"><limit max="6" per="1m"/></threshold>"#,
    );
    assert_eq!(bench.data("6"), "under");
    assert_eq!(bench.message("DATA", "1.2.3", "1", "0"), "over");
    bench.wait(61);
    assert_eq!(bench.message("DATA", "1.2.3", "1", "0"), "over");
    assert_eq!(bench.data("1"), "under");
}

#[test]
fn each_recipient_of_a_message_is_a_request_of_its_own() {
    let bench =
        Bench::new(r#"<threshold key="$sasl_username"><limit max="2" per="1h"/></threshold>"#);
    let rcpt = |recipient: &str| {
        let attributes = [
            ("protocol_state", "RCPT"),
            ("instance", "1.2.3"),
            ("sasl_username", "alice"),
            ("recipient", recipient),
        ];
        bench.ask(&attributes).status
    };
    let asked = ["a@example.org", "a@example.org", "b@example.org", "c@example.org"].map(rcpt);
    assert_eq!(asked, ["under", "under", "under", "over"]);
}

#[test]
fn recipients_of_a_message_are_one_message() {
    let bench = Bench::new(
        r#"<threshold key="$sasl_username" count="messages" stage="policy-rcpt">
             <limit max="1" per="1h"/>
           </threshold>"#,
    );
    let rcpt = |(instance, recipient): (&str, &str)| {
        let attributes = [
            ("protocol_state", "RCPT"),
            ("instance", instance),
            ("sasl_username", "alice"),
            ("recipient", recipient),
        ];
        bench.ask(&attributes).status
    };
    let asked =
        [("1.1.1", "a@example.org"), ("1.1.1", "b@example.org"), ("1.1.2", "a@example.org")];
    assert_eq!(asked.map(rcpt), ["under", "under", "over"]);
}

#[test]
fn requests_outside_of_a_message_all_count() {
    let bench = Bench::new(
        r#"<threshold key="$ip" stage="policy-connect"><limit max="2" per="1m"/></threshold>"#,
    );
    let connect =
        || bench.ask(&[("protocol_state", "CONNECT"), ("client_address", "192.0.2.1")]).status;
    assert_eq!([connect(), connect(), connect()], ["under", "under", "over"]);
}
