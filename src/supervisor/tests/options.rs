//! What every engine's element can say, from the XML to the decision.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use mppd_engine::exchange::Receipt;
use mppd_engine::{
    Attribute, BuildContext, Built, Element, Engine, EngineKind, Exchange, Failure, Finding,
    OptionDoc, Outcome, Request, RequestKey, StatusDoc, ValueDoc, kind,
};

use super::{NoOptions, NoTracker, decided, statuses};
use crate::config::{ConfigurationFile, LoadRequest};
use crate::plan::Plan;
use crate::supervisor::chain::EngineSet;

const STATUSES: &[StatusDoc] = &[
    StatusDoc::new("done", "The client has greeted.", "continue"),
    StatusDoc::new("refused", "The client's name is `refused`.", "REJECT $text, said $word"),
];

/// Says what the client's greeting tells it to.
#[derive(Clone)]
struct Echo;

impl Engine for Echo {
    const NAME: &'static str = "echo";
    const SUMMARY: &'static str = "Does as the client says.";
    const STATUSES: &'static [StatusDoc] = STATUSES;
    const VALUES: &'static [ValueDoc] = &[ValueDoc { name: "word", meaning: "The greeting." }];
    type Options = NoOptions;

    fn build(_: NoOptions, _: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        Ok(Echo)
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let request = exchange.request();
        let word = request.get(Attribute::HeloName).to_vec();
        if word == b"failure" {
            return Err(Failure::new("as it was told"));
        }
        let status =
            if request.get(Attribute::ClientName) == b"refused" { "refused" } else { "done" };
        Ok(Outcome::new(status).with_text("echoed").with_value("word", word))
    }
}

/// An engine whose `<one>` elements are its methods.
struct Several;

impl EngineKind for Several {
    fn name(&self) -> &'static str {
        "several"
    }

    fn summary(&self) -> &'static str {
        "Several in one."
    }

    fn options(&self) -> Vec<OptionDoc> {
        Vec::new()
    }

    fn statuses(&self) -> &'static [StatusDoc] {
        STATUSES
    }

    fn values(&self) -> &'static [ValueDoc] {
        Echo::VALUES
    }

    fn build(
        &self,
        element: &Element,
        _: &mut BuildContext<'_>,
    ) -> Result<Vec<Built>, Vec<Finding>> {
        let methods = element.children_named("one").map(|one| {
            let id = one.attribute("id").map(|id| id.value.clone()).unwrap_or_default();
            Built::method(id, Echo).with_element(one.clone())
        });
        Ok(methods.collect())
    }
}

/// The engines of a configuration with this check chain.
struct Configured {
    plan: Plan,
    set: EngineSet,
}

fn configured(chain: &str, engines: &str) -> Configured {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("mppd.conf.xml");
    let xml = format!(
        "<mppd><common><policy_check_engines>{chain}</policy_check_engines></common>\
         <groups><group id=\"default\"><on_error>DEFER on_error</on_error></group></groups>\
         <engines>{engines}</engines></mppd>"
    );
    std::fs::write(&file, xml).unwrap();
    let request = LoadRequest {
        file: ConfigurationFile::Path(file),
        environment: [].into(),
        set: Vec::new(),
    };
    let mut kinds: Vec<&'static dyn EngineKind> = mppd_engines::ENGINES.to_vec();
    kinds.extend([kind::<Echo>(), &Several]);
    let logger = crate::log::silent();
    let plan = Plan::load(&request, &kinds, &logger).unwrap();
    let set = EngineSet::raise(&plan.blueprint, 9, &logger, &Arc::default()).unwrap();
    Configured { plan, set }
}

impl Configured {
    /// What becomes of a request of a client that greets like this.
    async fn greet(&self, word: impl AsRef<[u8]>) -> Arc<Exchange> {
        self.ask(&[("helo_name", word.as_ref())]).await
    }

    async fn ask(&self, attributes: &[(&str, &[u8])]) -> Arc<Exchange> {
        let state = ("protocol_state", b"RCPT".as_slice());
        let attributes = [state].into_iter().chain(attributes.iter().copied());
        let exchange = Arc::new(Exchange::new(Receipt {
            request: Arc::new(Request::from_attributes(attributes).unwrap()),
            key: RequestKey([0; 16]),
            received: SystemTime::now(),
            deadline: Instant::now() + Duration::from_secs(10),
            group: self.plan.blueprint.groups[0].id.clone(),
            node: "test".into(),
            tracker: Arc::new(NoTracker),
            repeat_of: None,
        }));
        self.set.process(&exchange, None, |decision| decision).await;
        exchange
    }
}

fn value(exchange: &Exchange, engine: &str, name: &str) -> Option<String> {
    let result = exchange.result(engine)?;
    let value = result.outcome.value(name)?;
    Some(String::from_utf8(value.to_vec()).unwrap())
}

#[actix_rt::test]
async fn an_engine_whose_precondition_does_not_hold_is_skipped_and_that_is_on_record() {
    let engines = r#"<echo id="a" on_done="REJECT">
        <precondition>$helo $EQ friend</precondition></echo>
        <echo id="b" on_done="REJECT after $engines.a.status"/>"#;
    let configured = configured("a b", engines);
    let exchange = configured.greet("stranger").await;
    assert_eq!(statuses(&exchange), [("a".into(), "skipped"), ("b".into(), "done")]);
    assert_eq!(decided(&exchange), "REJECT after skipped");
    assert_eq!(decided(&*configured.greet("friend").await), "REJECT");
}

#[actix_rt::test]
async fn the_text_of_an_action_knows_the_request_and_what_the_engine_came_to() {
    let engines = r#"<echo on_done="REJECT 5.7.1 ${upper $word}: $status, $text, $ip"/>"#;
    let exchange =
        configured("echo", engines).ask(&[("helo_name", b"hi"), ("client_address", b"::1")]).await;
    assert_eq!(decided(&exchange), "REJECT 5.7.1 HI: done, echoed, ::1");
}

#[actix_rt::test]
async fn a_kind_may_say_more_than_a_word_unless_configured() {
    let configured = configured("echo", "<echo/>");
    let exchange = configured.ask(&[("helo_name", b"hi"), ("client_name", b"refused")]).await;
    assert_eq!(decided(&exchange), "REJECT echoed, said hi");
}

#[actix_rt::test]
async fn scores_add_up_for_the_engines_behind() {
    let engines = r#"<echo id="a" on_done="score 2.5"/><echo id="b" on_done="score $word"/>
        <echo id="c" on_done="score 9" dry_run="yes"/>
        <set id="sum" on_done="REJECT score $score"><precondition>$score $GE 5</precondition></set>"#;
    let configured = configured("a b c sum", engines);
    assert_eq!(decided(&*configured.greet("3").await), "REJECT score 5.5");
    assert_eq!(decided(&*configured.greet("-1").await), "DUNNO");
}

#[actix_rt::test]
async fn a_result_is_that_of_the_first_case_whose_condition_holds() {
    let engines = r#"<set id="peer">
        <result id="kind">
          <case><condition>$helo $EQ friend</condition><result>friend</result></case>
          <case condition="$helo $NE stranger" result="acquaintance"/>
          <default>stranger</default>
        </result>
        <result>the $kind is $status</result>
      </set>
      <set id="end" on_done="REJECT $engines.peer.result ($engines.peer.kind)"/>"#;
    let configured = configured("peer end", engines);
    for (greeting, kind) in
        [("friend", "friend"), ("stranger", "stranger"), ("colleague", "acquaintance")]
    {
        let exchange = configured.greet(greeting).await;
        assert_eq!(decided(&exchange), format!("REJECT the {kind} is done ({kind})"));
        assert_eq!(value(&exchange, "peer", "kind").as_deref(), Some(kind));
    }
}

#[actix_rt::test]
async fn results_made_of_results_have_a_bound() {
    let twice = |number: usize| {
        format!(r#"<result id="r{}">${{r{number}}}$r{number}</result>"#, number + 1)
    };
    let doubled: String = (0..22).map(twice).collect();
    let engines = format!(r#"<echo><result id="r0">$word</result>{doubled}</echo>"#);
    let exchange = configured("echo", &engines).greet("x").await;
    assert_eq!(value(&exchange, "echo", "r10").map(|value| value.len()), Some(1 << 10));
    assert_eq!(value(&exchange, "echo", "r22").map(|value| value.len()), Some(1 << 20));
}

#[actix_rt::test]
async fn a_dry_run_has_its_results() {
    let engines = r#"<echo dry_run="true" on_done="REJECT"><result>$word!</result></echo>"#;
    let exchange = configured("echo", engines).greet("hi").await;
    assert_eq!(decided(&exchange), "DUNNO");
    assert_eq!(value(&exchange, "echo", "result").as_deref(), Some("hi!"));
}

#[actix_rt::test]
async fn an_action_made_of_macros_is_read_when_it_is_needed() {
    let engines = r#"<echo id="a" on_done="$word"/><echo id="b" on_done="HOLD"/>"#;
    let configured = configured("a b", engines);
    for (word, decision) in [
        ("continue", "HOLD"),
        ("permit", "DUNNO"),
        ("score 5", "HOLD"),
        ("reject not you", "REJECT not you"),
        ("451", "451 Access denied"),
    ] {
        assert_eq!(decided(&*configured.greet(word).await), decision);
    }
}

#[actix_rt::test]
async fn what_postfix_would_misread_is_a_failure_that_names_the_option() {
    for (action, word, said) in [
        ("PREPEND $word", "no header", r#"it came to "PREPEND no header": PREPEND needs a header"#),
        ("BCC $word@example.com", "", r#"it came to "BCC @example.com": BCC needs an address"#),
        ("REDIRECT $word", "", r#"it came to "REDIRECT ": REDIRECT needs an address"#),
        ("FILTER $word", "smtp", r#"it came to "FILTER smtp": FILTER needs transport"#),
        ("$word", "", r#"it came to "": an action is missing"#),
        ("$word", "RJECT", r#"it came to "RJECT": RJECT is not an action"#),
        ("score $word", "high", r#"it came to "score high": "high" is not a number"#),
    ] {
        let configured = configured("echo", &format!(r#"<echo on_done="{action}"/>"#));
        let exchange = configured.greet(word).await;
        assert_eq!(decided(&exchange), "DUNNO", "{action}");
        let outcome = exchange.result("echo").unwrap().outcome.clone();
        assert_eq!(outcome.status, "exception");
        let said = format!("on_done: {said}");
        assert!(outcome.text.starts_with(&said), "{}", outcome.text);
    }
}

#[actix_rt::test]
async fn a_refusal_without_its_text_is_still_one() {
    for (action, decision) in [
        ("REJECT $word", "REJECT"),
        ("DEFER_IF_PERMIT $word", "DEFER_IF_PERMIT"),
        ("550 $word", "550 Access denied"),
    ] {
        let configured = configured("echo", &format!(r#"<echo on_done="{action}"/>"#));
        assert_eq!(decided(&*configured.greet("").await), decision);
    }
}

#[actix_rt::test]
async fn a_text_that_is_not_utf8_becomes_some() {
    let configured = configured("echo", r#"<echo on_done="REJECT $word"/>"#);
    assert_eq!(decided(&*configured.greet(b"a\xff").await), "REJECT a\u{fffd}");
}

#[actix_rt::test]
async fn the_action_for_exceptions_can_tell_what_went_wrong() {
    let configured =
        configured("echo", r#"<echo on_exception="DEFER $status: $text" on_done="BCC $word"/>"#);
    assert_eq!(decided(&*configured.greet("failure").await), "DEFER exception: as it was told");
    let unusable = "DEFER exception: on_done: it came to \"BCC x\": BCC needs an address, \
                    user@domain";
    assert_eq!(decided(&*configured.greet("x").await), unusable);
}

#[actix_rt::test]
async fn where_the_action_for_exceptions_fails_as_well_the_chains_end() {
    let configured = configured("echo", r#"<echo on_exception="FILTER $status"/>"#);
    let exchange = configured.greet("failure").await;
    assert_eq!(decided(&exchange), "DEFER on_error");
    let said = exchange.exception().unwrap().to_string();
    let expected = "echo: failed: as it was told; on_exception: it came to \"FILTER exception\": ";
    assert!(said.starts_with(expected), "{said}");
}

#[actix_rt::test]
async fn what_the_element_of_a_method_says_holds_over_that_of_its_engine() {
    let engines = r#"<several id="s" on_done="score 1">
        <precondition>$helo $NE nobody</precondition>
        <result id="who">somebody</result>
        <one id="a"/>
        <one id="b" on_done="REJECT $who"><result id="who">$word</result></one>
      </several>"#;
    let configured = configured("s.a s.b", engines);
    let exchange = configured.greet("hi").await;
    assert_eq!(decided(&exchange), "REJECT hi");
    assert_eq!(exchange.score().to_string(), "1");
    assert_eq!(value(&exchange, "s.a", "who").as_deref(), Some("somebody"));
    let exchange = configured.greet("nobody").await;
    assert_eq!(statuses(&exchange), [("s.a".into(), "skipped"), ("s.b".into(), "skipped")]);
}
