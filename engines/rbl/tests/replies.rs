//! Which replies are listings, and what each weighs.

use super::*;

#[test]
fn codes_of_errors_are_never_listings() {
    for reply in [
        "127.255.255.254",
        "127.255.255.255",
        "127.255.255.252",
        "127.0.0.1",
        "127.0.0.255",
        "192.0.2.80",
        "0.0.0.0",
    ] {
        let outcome = run(ONE, listed(Zones::default(), "bl.example", reply), CLIENT);
        assert_eq!(outcome.status, "unknown", "{reply}");
        let text = format!("bl.example: the answer {reply} is no listing but an error");
        assert_eq!(outcome.text, text);
    }
}

#[test]
fn one_error_among_the_replies_makes_all_of_them_one() {
    let zones = listed(Zones::default(), "bl.example", "127.0.0.2");
    let outcome = run(ONE, listed(zones, "bl.example", "127.255.255.254"), CLIENT);
    assert_eq!(outcome.status, "unknown");
}

#[test]
fn the_codes_of_errors_of_a_list_can_be_configured() {
    let xml = r#"<rbl><list zone="bl.example" error_reply="127.0.0.9"/></rbl>"#;
    let status = |reply| run(xml, listed(Zones::default(), "bl.example", reply), CLIENT).status;
    assert_eq!(status("127.0.0.9"), "unknown");
    assert_eq!(status("127.0.0.255"), "listed");
    assert_eq!(status("127.255.255.254"), "unknown");
}

#[test]
fn a_usual_error_that_is_configured_as_a_reply_is_one() {
    let xml = r#"<rbl><list zone="bl.example" reply="127.0.0.2"/>
        <allow zone="bl.example" reply="127.0.0.[3..4] 127.0.0.1"/></rbl>"#;
    let outcome = run(xml, listed(Zones::default(), "bl.example", "127.0.0.1"), CLIENT);
    assert_eq!((outcome.status, &*value(&outcome, "reply")), ("allowed", "127.0.0.1"));
    // What is a listing only among others is an error all the same.
    let xml = r#"<rbl><list zone="bl.example" reply="127.0.0.0/24"/></rbl>"#;
    assert_eq!(
        run(xml, listed(Zones::default(), "bl.example", "127.0.0.1"), CLIENT).status,
        "unknown"
    );
}

#[test]
fn a_reply_that_is_an_error_as_well_is_refused() {
    let faults = faults(
        r#"<rbl><list zone="bl.example" reply="127.0.0.2 127.0.0.9" error_reply="127.0.0.9"/></rbl>"#,
    );
    let message = "the same stands in \"reply\", and would never be a listing";
    assert_eq!(faults, [(message.to_owned(), "127.0.0.9".to_owned())]);
}

#[test]
fn only_replies_that_are_wanted_are_listings() {
    let xml = r#"<rbl><list zone="bl.example" reply="127.0.0.2 127.0.0.[4..7]"/></rbl>"#;
    let status = |reply| run(xml, listed(Zones::default(), "bl.example", reply), CLIENT).status;
    assert_eq!(status("127.0.0.2"), "listed");
    assert_eq!(status("127.0.0.5"), "listed");
    assert_eq!(status("127.0.0.10"), "none");
}

#[test]
fn replies_have_weights_of_their_own_and_cost_one_question() {
    let xml = r#"<rbl threshold="3">
        <list zone="bl.example" weight="3" test="false">
          <reply weight="2">127.0.0.2</reply>
          <reply weight="0.5" reason="a dynamic address">127.0.0.[10..11]</reply>
          <reply>127.0.0.3</reply>
        </list></rbl>"#;
    let outcome = |replies: &[&str]| {
        let zones = replies.iter().fold(Zones::default(), |z, r| listed(z, "bl.example", r));
        let bench = bench(xml, zones);
        let outcome = bench.run(CLIENT);
        assert_eq!(
            bench.heard.questions().iter().filter(|question| question.starts_with("A ")).count(),
            1
        );
        (outcome.status, value(&outcome, "weight"))
    };
    assert_eq!(outcome(&["127.0.0.2"]), ("none", "2".to_owned()));
    assert_eq!(outcome(&["127.0.0.2", "127.0.0.10", "127.0.0.11"]), ("none", "2.5".to_owned()));
    assert_eq!(outcome(&["127.0.0.3"]), ("listed", "3".to_owned()));
    assert_eq!(outcome(&["127.0.0.2", "127.0.0.3"]), ("listed", "5".to_owned()));
}

#[test]
fn a_reason_that_is_configured_is_not_asked_for() {
    let xml = r#"<rbl><list zone="bl.example" reason="write to postmaster@example.net"/></rbl>"#;
    let zones = listed(Zones::default(), "bl.example", "127.0.0.2");
    let bench = bench(xml, zones.txt("1.2.0.192.bl.example", "ours"));
    let outcome = bench.run(CLIENT);
    assert_eq!(value(&outcome, "reason"), "write to postmaster@example.net");
    assert!(!bench.heard.questions().iter().any(|question| question.starts_with("Txt")));
}
