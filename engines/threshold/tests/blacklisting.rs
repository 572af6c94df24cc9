//! Keys that are over too often.

use super::*;

const BLACKLISTING: &str = r#"<threshold key="$sasl_username">
  <limit max="1" per="1m"/> <blacklist for="1h" after="3" within="10m"/>
</threshold>"#;

#[test]
fn a_key_that_is_over_too_often_is_blacklisted_for_a_time() {
    let mut bench = Bench::new(BLACKLISTING);
    let statuses = [(); 4].map(|()| bench.rcpt("alice"));
    assert_eq!(statuses, ["under", "over", "over", "blacklisted"]);
    bench.wait(1_800);
    let outcome = bench.rcpt_outcome("alice");
    let expected = Outcome::new("blacklisted")
        .with_text("blacklisted for 1800 more seconds")
        .with_value("key", "alice")
        .with_value("seconds", "1800");
    assert_eq!(outcome, expected);
    assert!(bench.listed("alice").blacklisted_until.is_some());
    bench.wait(1_800);
    assert_eq!(bench.rcpt("alice"), "under");
}

#[test]
fn refusals_that_are_long_ago_do_not_blacklist() {
    let mut bench = Bench::new(BLACKLISTING);
    assert_eq!([(); 3].map(|()| bench.rcpt("alice")), ["under", "over", "over"]);
    bench.wait(600);
    assert_eq!([(); 3].map(|()| bench.rcpt("alice")), ["under", "over", "over"]);
}

#[test]
fn the_same_refusal_asked_for_again_does_not_blacklist() {
    let mut bench = Bench::new(BLACKLISTING);
    assert_eq!(bench.rcpt("alice"), "under");
    let again = |bench: &Bench| {
        let attributes = [
            ("protocol_state", "RCPT"),
            ("instance", "7.7.7"),
            ("sasl_username", "alice"),
            ("recipient", "bob@example.org"),
        ];
        bench.ask(&attributes).status
    };
    for _ in 0..9 {
        assert_eq!(again(&bench), "over");
    }
}
