//! What is found wrong with the options.

use super::*;

#[test]
fn every_fault_of_the_options_is_told_at_its_place() {
    let xml = r#"<rbl threshold="-1"> <skip>10.0.0.1/8 x</skip>
        <list zone="bl example"/> <list zone="a.example" reply="127.0.0.300"/>
        <list zone="b.example" registrable="true"/> <list zone="c.example" secret="a b"/>
        <list zone="d.example" error_reply="10.0.0.1"/>
        <list zone="d.example" of="helo_name"/> <list zone="D.example." of="helo_name"/>
        <allow zone="d.example" reply="127.255.255.1"/></rbl>"#;
    let faults = faults(xml);
    let messages: Vec<&str> = faults.iter().map(|(message, _)| message.as_str()).collect();
    assert_eq!(
        messages,
        [
            "\"bl example\" is not the name of a zone",
            "\"127.0.0.300\" is not a pattern of replies",
            "an address has no registrable domain",
            "the secret is not a label of a domain name",
            "\"10.0.0.1\" is never the reply of a list",
            "the list D.example. is asked about helo_name twice",
            "\"127.255.255.1\" is never a listing",
            "\"10.0.0.1/8\" has bits set behind its prefix",
            "\"x\" is neither an address nor a network",
            "a threshold is greater than 0",
        ]
    );
    assert_eq!(faults[1].1, "127.0.0.300");
    assert_eq!(faults[9].1, "-1");
}

#[test]
fn an_engine_without_lists_finds_nothing() {
    assert_eq!(run("<rbl/>", Zones::default(), CLIENT).status, "none");
}

#[test]
fn weights_and_subjects_that_are_none_are_refused() {
    let messages = faults(
        r#"<rbl><list zone="a.example" weight="0"/><list zone="b.example" weight="heavy"/>
            <list zone="c.example" of="client_adress"/></rbl>"#,
    );
    let messages: Vec<&str> = messages.iter().map(|(message, _)| message.as_str()).collect();
    assert!(messages.contains(&"0 makes no sense here"), "{messages:?}");
    assert!(messages.contains(&"\"client_adress\" is not known here"), "{messages:?}");
    let is_weight = |message: &&&str| message.starts_with("\"heavy\" is not a number");
    assert!(messages.iter().find(is_weight).is_some(), "{messages:?}");
}

#[test]
fn a_threshold_that_nothing_reaches_is_warned_of() {
    let xml = r#"<rbl threshold="3"><list zone="a.example"/><list zone="b.example"/></rbl>"#;
    let configured = Configured::xml(xml).with_service(Arc::new(Dns::new(Zones::default())));
    let engine = configured.build(kind::<Rbl>()).unwrap();
    let warned = configured.show(engine.warnings().iter().cloned());
    assert_eq!(warned, [("all weights together are 2, less than the threshold".to_owned(), "3")]);
}
