//! What a resolver answers from its cache and its servers.

use std::time::{Duration, Instant};

use super::{Resolver, ResolverOptions};
use crate::testkit::{Fault, Server, Zones};
use crate::{Answer, Dns, Name, Question, Record, RecordKind, TemporaryFailure};

fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn options(server: &Server) -> ResolverOptions {
    ResolverOptions {
        servers: vec![server.address()],
        timeout: Duration::from_secs(10),
        max_in_flight: 100,
        cache_size: 1 << 20,
    }
}

fn dns(server: &Server) -> Dns {
    Dns::new(Resolver::new(options(server)))
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

fn txt(dns: &Dns, of: &str) -> Answer {
    run(dns.txt(&name(of), soon()))
}

fn text(text: impl AsRef<[u8]>) -> Answer {
    Answer::of(vec![Record::Txt(text.as_ref().into())])
}

fn is_temporary(answer: &Answer) -> bool {
    matches!(answer, Answer::Temporary(_))
}

#[test]
fn records_of_every_type_come_as_they_are() {
    let server = Server::start(
        Zones::default()
            .txt("example.com", b"\x00\xff text")
            .a("example.com", "192.0.2.1")
            .a("example.com", "192.0.2.2")
            .aaaa("example.com", "2001:db8::1")
            .mx("example.com", 10, "Mail.example.com")
            .mx("null.example", 0, ".")
            .ptr("192.0.2.1", "mail.example.com"),
    );
    let dns = dns(&server);
    assert_eq!(txt(&dns, "example.com"), text(b"\x00\xff text"));
    let address = |text: &str| Record::A(text.parse().unwrap());
    let both = Answer::of(vec![address("192.0.2.1"), address("192.0.2.2")]);
    assert_eq!(run(dns.a(&name("EXAMPLE.com."), soon())), both);
    let v6 = Answer::of(vec![Record::Aaaa("2001:db8::1".parse().unwrap())]);
    assert_eq!(run(dns.aaaa(&name("example.com"), soon())), v6);
    let exchange = Record::Mx { preference: 10, exchange: name("mail.example.com") };
    assert_eq!(run(dns.mx(&name("example.com"), soon())), Answer::of(vec![exchange]));
    let null = Record::Mx { preference: 0, exchange: Name::root() };
    assert_eq!(run(dns.mx(&name("null.example"), soon())), Answer::of(vec![null]));
    let pointer = Answer::of(vec![Record::Ptr(name("mail.example.com"))]);
    assert_eq!(run(dns.ptr("192.0.2.1".parse().unwrap(), soon())), pointer);
}

#[test]
fn no_such_name_and_no_such_records_are_told_apart() {
    let server = Server::start(Zones::default().a("www.example.com", "192.0.2.1"));
    let dns = dns(&server);
    assert_eq!(txt(&dns, "www.example.com"), Answer::NoRecords);
    assert_eq!(txt(&dns, "example.com"), Answer::NoRecords);
    assert_eq!(txt(&dns, "other.example.com"), Answer::NoSuchName);
}

#[test]
fn an_answer_too_long_for_udp_comes_over_tcp() {
    let long = "x".repeat(5_000);
    let server = Server::start(Zones::default().txt("example.com", &long));
    assert_eq!(txt(&dns(&server), "example.com"), text(&long));
    assert!(server.asked().len() >= 2, "{:?}", server.asked());
}

#[test]
fn aliases_are_followed_and_loops_of_them_are_a_failure() {
    let zones = Zones::default()
        .alias("a.example", "b.example")
        .alias("b.example", "c.example")
        .txt("c.example", "here")
        .alias("x.example", "y.example")
        .alias("y.example", "x.example")
        .alias("dangling.example", "nowhere.example");
    let server = Server::start(zones);
    let dns = dns(&server);
    assert_eq!(txt(&dns, "a.example"), text("here"));
    assert!(is_temporary(&txt(&dns, "x.example")));
    let dangling = txt(&dns, "dangling.example");
    assert!(matches!(dangling, Answer::NoSuchName | Answer::NoRecords), "{dangling:?}");
}

#[test]
fn what_a_server_says_of_its_troubles_is_temporary() {
    let zones = Zones::default()
        .fault("servfail.example", Fault::ServerFailure)
        .fault("refused.example", Fault::Refused);
    let server = Server::start(zones);
    let dns = dns(&server);
    let failure = TemporaryFailure::Refused("Server Failure".to_owned());
    assert_eq!(txt(&dns, "servfail.example"), Answer::Temporary(failure));
    assert!(is_temporary(&txt(&dns, "refused.example")));
}

#[test]
fn what_is_no_answer_is_temporary_and_ends_in_time() {
    let zones = Zones::default()
        .fault("question.example", Fault::OtherQuestion)
        .fault("silent.example", Fault::Silence)
        .fault("truncated.example", Fault::Truncated)
        .fault("garbage.example", Fault::Garbage)
        .fault("other.example", Fault::OtherQuestion)
        .fault("number.example", Fault::OtherNumber)
        .fault("loop.example", Fault::Loop)
        .txt("example.com", "sound");
    let server = Server::start(zones);
    let options = ResolverOptions { timeout: Duration::from_millis(300), ..options(&server) };
    let dns = Dns::new(Resolver::new(options));
    for of in ["silent", "truncated", "garbage", "other", "number", "loop"] {
        let answer = txt(&dns, &format!("{of}.example"));
        assert!(is_temporary(&answer), "{of}: {answer:?}");
    }
    // What is answered is an address, so it would fit.
    let answer = run(dns.a(&name("question.example"), soon()));
    assert!(is_temporary(&answer), "{answer:?}");
    assert_eq!(txt(&dns, "example.com"), text("sound"));
}

#[test]
fn the_answer_to_the_first_question_counts_although_it_was_asked_again() {
    let zones = Zones::default().fault("late.example", Fault::Late(2_500));
    let server = Server::start(zones.txt("late.example", "late"));
    let options = ResolverOptions { timeout: Duration::from_secs(4), ..options(&server) };
    let dns = Dns::new(Resolver::new(options));
    assert_eq!(txt(&dns, "late.example"), text("late"));
    assert!(server.asked().len() > 1, "it was not asked again");
}

#[test]
fn a_third_server_is_asked_where_two_are_silent() {
    let silent = [Server::black_hole(), Server::black_hole()];
    let server = Server::start(Zones::default().txt("example.com", "x"));
    let servers = silent.iter().chain([&server]).map(Server::address).collect();
    let timeout = Duration::from_secs(4);
    let dns = Dns::new(Resolver::new(ResolverOptions { servers, timeout, ..options(&server) }));
    assert_eq!(txt(&dns, "example.com"), text("x"));
}

#[test]
fn the_askers_deadline_ends_the_waiting() {
    let server = Server::start(Zones::default().fault("silent.example", Fault::Silence));
    let options = ResolverOptions { timeout: Duration::from_hours(1), ..options(&server) };
    let dns = Dns::new(Resolver::new(options));
    let deadline = Instant::now() + Duration::from_millis(50);
    let answer = run(dns.txt(&name("silent.example"), deadline));
    assert_eq!(answer, Answer::Temporary(TemporaryFailure::TimedOut));
}

#[test]
fn a_server_that_is_not_there_is_a_temporary_failure() {
    let server = Server::start(Zones::default());
    let options = ResolverOptions { timeout: Duration::from_millis(300), ..options(&server) };
    let dns = Dns::new(Resolver::new(options));
    drop(server);
    assert!(is_temporary(&txt(&dns, "example.com")));
}

#[test]
fn a_server_that_swallows_all_questions_is_a_temporary_failure() {
    let server = Server::black_hole();
    let options = ResolverOptions { timeout: Duration::from_millis(300), ..options(&server) };
    let dns = Dns::new(Resolver::new(options));
    assert_eq!(txt(&dns, "example.com"), Answer::Temporary(TemporaryFailure::TimedOut));
}

#[test]
fn what_is_asked_without_waiting_is_at_hand_later() {
    let server = Server::start(Zones::default().txt("example.com", "once"));
    let dns = dns(&server);
    let question = Question::new(RecordKind::Txt, name("example.com"));
    assert_eq!(dns.at_hand(&question), None);
    drop(dns.begin(question.clone(), soon()));
    assert_eq!(txt(&dns, "example.com"), text("once"));
    assert_eq!(dns.at_hand(&question), Some(text("once")));
    assert_eq!(server.asked(), [question]);
}

#[test]
fn what_was_answered_is_not_asked_again() {
    let server = Server::start(Zones::default().txt("example.com", "once"));
    let dns = dns(&server);
    for _ in 0..3 {
        assert_eq!(txt(&dns, "example.com"), text("once"));
        assert_eq!(txt(&dns, "nobody.example"), Answer::NoSuchName);
    }
    let asked = server.asked();
    let times = |of: &str| asked.iter().filter(|question| question.name == name(of)).count();
    assert_eq!((times("example.com"), times("nobody.example")), (1, 1), "{asked:?}");
}

#[test]
fn a_question_that_is_under_way_is_not_asked_twice() {
    let server = Server::start(Zones::default().txt("example.com", "once"));
    let dns = dns(&server);
    let question = Question::new(RecordKind::Txt, name("example.com"));
    run(async {
        let asking = |_| {
            tokio::spawn({
                let (dns, question) = (dns.clone(), question.clone());
                async move { dns.ask(question, soon()).await }
            })
        };
        for asked in (0..50).map(asking).collect::<Vec<_>>() {
            assert_eq!(asked.await.unwrap(), text("once"));
        }
    });
    assert_eq!(server.asked(), [question]);
}

#[test]
fn no_more_questions_are_under_way_than_allowed() {
    let zones = Zones::default().fault("silent.example", Fault::Silence).txt("example.com", "x");
    let server = Server::start(zones);
    let timeout = Duration::from_hours(1);
    let options = ResolverOptions { max_in_flight: 1, timeout, ..options(&server) };
    let dns = Dns::new(Resolver::new(options));
    let shortly = || Instant::now() + Duration::from_millis(50);
    assert!(is_temporary(&run(dns.txt(&name("silent.example"), shortly()))));
    assert!(is_temporary(&run(dns.txt(&name("example.com"), shortly()))));
    assert!(server.asked().iter().all(|question| question.name == name("silent.example")));
}

#[test]
fn the_thread_that_asked_first_may_end_without_harm() {
    let zones = (0..20).fold(Zones::default(), |zones, n| zones.txt(&format!("n{n}.example"), "x"));
    let server = Server::start(zones);
    let dns = dns(&server);
    for number in 0..20 {
        let dns = dns.clone();
        let asking = move || txt(&dns, &format!("n{number}.example"));
        assert_eq!(std::thread::spawn(asking).join().unwrap(), text("x"));
    }
}

#[test]
fn a_label_may_hold_any_octet_but_a_dot() {
    let odd = Name::parse(b"a\\b c\xff\"$@.example").unwrap();
    let zones = Zones::default().record_of(odd.clone(), Record::Txt(b"odd".as_slice().into()));
    let server = Server::start(zones);
    assert_eq!(run(dns(&server).txt(&odd, soon())), text("odd"));
}

#[test]
fn what_is_asked_and_what_comes_of_it_is_counted() {
    let zones = Zones::default().txt("example.com", b"text");
    let zones = zones.fault("broken.example", Fault::ServerFailure);
    let server = Server::start(zones);
    let dns = dns(&server);
    for of in ["example.com", "example.com", "none.example", "broken.example"] {
        let _answer = txt(&dns, of);
    }
    let status = dns.status().unwrap();
    assert_eq!((status.cached, status.answered, status.refused), (1, 2, 1));
    assert_eq!((status.timed_out, status.failed), (0, 0));
    assert!(status.waited > Duration::ZERO);
}
