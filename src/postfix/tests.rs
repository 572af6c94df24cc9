//! What Postfix is told: how long to wait, what to do without mppd, and where the sockets are.

use mppd_engine::EngineKind;
use mppd_engine::slog::{Discard, Logger, o};

use super::*;
use crate::config::{ConfigurationFile, LoadRequest};

fn plan(common: &str, group: &str, checks: &str, engines: &str) -> Plan {
    let xml: &'static str = Box::leak(
        format!(
            "<mppd><common><policy_server>{common}</policy_server>\
             <policy_check_engines>{checks}</policy_check_engines></common>\
             <groups><group id=\"default\">{group}</group></groups>\
             <engines>{engines}</engines></mppd>"
        )
        .into_boxed_str(),
    );
    let file = ConfigurationFile::Embedded { main: ("mppd.conf.xml", xml), included: &[] };
    let request = LoadRequest { file, environment: [].into(), set: Vec::new() };
    let kinds: &[&'static dyn EngineKind] = mppd_engines::ENGINES;
    Plan::load(&request, kinds, &Logger::root(Discard, o!())).unwrap()
}

fn listening(listen: &str) -> Advice {
    advice(&plan(&format!("<listen>{listen}</listen>"), "", "", ""), &MainCf::untouched())
}

fn asked(advice: &Advice) -> &str {
    let value = &advice.settings[0].value;
    value.split_once("check_policy_service ").unwrap().1
}

#[test]
fn postfix_waits_longer_than_mppd_takes_and_then_does_what_mppd_would() {
    let server = "<request_deadline>1500ms</request_deadline>";
    let plan = plan(server, "<on_error>DEFER_IF_PERMIT try later</on_error>", "", "");
    let expected =
        "{ inet:127.0.0.1:10040, timeout=7s, { default_action = DEFER_IF_PERMIT try later } }";
    assert_eq!(asked(&advice(&plan, &MainCf::untouched())), expected);
}

#[test]
fn a_connection_that_mppd_closes_when_idle_is_given_up_sooner_by_postfix() {
    let plan = plan("<idle_timeout>60s</idle_timeout>", "", "", "");
    assert!(asked(&advice(&plan, &MainCf::untouched())).contains("max_idle=59s"));
}

#[test]
fn a_socket_below_the_queue_directory_is_named_from_there() {
    let advice = listening("unix:/var/spool/postfix/mppd/policy");
    assert!(asked(&advice).starts_with("{ unix:mppd/policy, "));
    assert!(advice.remarks.is_empty());
}

#[test]
fn a_socket_elsewhere_is_named_with_a_warning() {
    let advice = listening("unix:/run/mppd/policy");
    assert!(asked(&advice).starts_with("{ unix:/run/mppd/policy, "));
    assert!(advice.remarks[0].contains("chroot"), "{:?}", advice.remarks);
}

#[test]
fn a_server_that_listens_everywhere_is_asked_on_loopback() {
    assert!(asked(&listening("inet:0.0.0.0:10040")).starts_with("{ inet:127.0.0.1:10040, "));
    assert!(asked(&listening("inet:[::]:10040")).starts_with("{ inet:[::1]:10040, "));
}

#[test]
fn engines_that_need_a_later_stage_have_postfix_ask_there() {
    let limit = "<limit max=\"9\" per=\"1h\"/>";
    let threshold = |id: &str, count: &str| {
        format!("<threshold id=\"{id}\" key=\"$ip\"><count>{count}</count>{limit}</threshold>")
    };
    let engines = threshold("octets", "octets") + &threshold("many", "recipients");
    let plan = plan("", "", "octets many wbl", &(engines + "<wbl/>"));
    let advice = advice(&plan, &MainCf::untouched());
    let names: Vec<&str> = advice.settings.iter().map(|setting| setting.name).collect();
    let lists = ["smtpd_data_restrictions", "smtpd_end_of_data_restrictions"];
    assert_eq!(names, [RECIPIENT, lists[0], lists[1]]);
    assert!(advice.settings[1].why.starts_with("many must be asked"), "{advice:?}");
}

#[test]
fn requests_that_are_counted_at_rcpt_need_no_other_list() {
    let engine = "<threshold key=\"$ip\"><limit max=\"9\" per=\"1h\"/></threshold>";
    let plan = plan("", "", "threshold", engine);
    assert_eq!(advice(&plan, &MainCf::untouched()).settings.len(), 1);
}

#[test]
fn an_action_that_main_cf_would_read_otherwise_is_not_written_there() {
    let plan = plan("", "<on_error>REJECT it costs $$5</on_error>", "", "");
    let advice = advice(&plan, &MainCf::untouched());
    assert!(asked(&advice).contains("default_action=DUNNO"));
    assert!(!advice.remarks.is_empty());
}
