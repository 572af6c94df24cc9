//! What is found wrong with the options, or warned of.

use super::*;

fn faults(xml: &str) -> Vec<(String, String)> {
    let configured = Configured::xml(xml).with_service(Arc::new(StateStore::in_memory()));
    let faults = configured.faults(kind::<Threshold>());
    faults.into_iter().map(|(message, place)| (message, place.to_owned())).collect()
}

fn warnings(xml: &str) -> Vec<String> {
    let configured = Configured::xml(xml).with_service(Arc::new(StateStore::in_memory()));
    let engine = configured.build(kind::<Threshold>()).unwrap();
    engine.warnings().iter().map(|warning| warning.message.clone()).collect()
}

#[test]
fn what_can_not_be_counted_at_a_stage_is_refused() {
    let with = |options: &str| {
        faults(&format!(r#"<threshold key="k" {options}><limit max="1" per="1h"/></threshold>"#))
    };
    let fault = |message: &str, place: &str| vec![(message.to_owned(), place.to_owned())];
    assert_eq!(
        with(r#"count="recipients" stage="policy-rcpt""#),
        fault("recipients can't be counted at policy-rcpt", "policy-rcpt")
    );
    assert_eq!(
        with(r#"count="octets" stage="policy-data""#),
        fault("octets can't be counted at policy-data", "policy-data")
    );
    assert_eq!(
        with(r#"count="messages" stage="policy-connect""#),
        fault("messages can't be counted at policy-connect", "policy-connect")
    );
    assert_eq!(
        with(r#"count="requests" amount="1""#),
        fault("an amount stands in place of a count", "1")
    );
    assert_eq!(with(r#"near="101""#), fault("from 1 to 100 percent make sense here", "101"));
}

#[test]
fn limits_that_can_not_be_are_refused() {
    let with = |limits: &str| faults(&format!(r#"<threshold key="k">{limits}</threshold>"#));
    let fault = |message: &str, place: &str| vec![(message.to_owned(), place.to_owned())];
    assert_eq!(with("")[0].0, "\"limit\" is missing in <threshold>");
    assert_eq!(
        with(r#"<limit max="1" per="day" burst="5"/>"#),
        fault("a period of the calendar has no burst", "5")
    );
    assert_eq!(
        with(r#"<limit max="1" per="1h"/><limit max="2" per="60m"/>"#),
        fault("there is a limit per 1h already", "60m")
    );
    let no_period = "\"hour\" is not a time, such as 1m or 1h, or `day`, `week` or `month`";
    assert_eq!(with(r#"<limit max="1" per="hour"/>"#), fault(no_period, "hour"));
    assert_eq!(with(r#"<limit max="1" per="0s"/>"#), fault("0 makes no sense here", "0s"));
    assert_eq!(with(r#"<limit max="0" per="1h"/>"#), fault("0 makes no sense here", "0"));
    let no_amount = "\"ten\" is not a number, such as 100, or a size, such as 50MiB";
    assert_eq!(with(r#"<limit max="ten" per="1h"/>"#), fault(no_amount, "ten"));
}

#[test]
fn a_time_zone_that_is_not_known_is_refused_and_the_nearest_named() {
    let xml = r#"<threshold key="k" zone="Europe/Berln"><limit max="1" per="day"/></threshold>"#;
    let configured = Configured::xml(xml).with_service(Arc::new(StateStore::in_memory()));
    let findings = configured.build(kind::<Threshold>()).unwrap_err();
    assert_eq!(findings[0].message, "unknown time zone \"Europe/Berln\"");
    assert_eq!(findings[0].help.as_deref(), Some("did you mean \"Europe/Berlin\"?"));
}

#[test]
fn an_empty_key_and_endless_refusals_are_refused() {
    let xml = r#"<threshold key=" "><limit max="1" per="1h"/>
                   <blacklist for="1h" after="1001"/></threshold>"#;
    let messages: Vec<String> = faults(xml).into_iter().map(|(message, _)| message).collect();
    assert_eq!(messages, ["1000 refusals at most can be waited for", "the key is empty"]);
}

#[test]
fn a_limit_that_is_never_reached_is_warned_of() {
    let with = |limits: &str| warnings(&format!(r#"<threshold key="k">{limits}</threshold>"#));
    let idle = "this limit is never reached, because another one comes first";
    assert_eq!(with(r#"<limit max="100" per="1h"/><limit max="100" per="1m"/>"#), [idle]);
    assert_eq!(with(r#"<limit max="100" per="1h"/><limit max="9" per="1m" burst="200"/>"#), [idle]);
    assert_eq!(with(r#"<limit max="100" per="1h"/><limit max="99" per="1m"/>"#), [""; 0]);
}

#[test]
fn a_zone_without_a_calendar_is_warned_of() {
    let xml = r#"<threshold key="k" zone="UTC"><limit max="1" per="1h"/></threshold>"#;
    let message = "no limit is for a period of the calendar, so that the zone is of no use";
    assert_eq!(warnings(xml), [message]);
}
