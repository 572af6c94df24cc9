//! The public conformance suite of RFC 7208, every case of it: against zones in the same process, and
//! through the resolver against a name server of the same zones.
//!
//! The suite, `rfc7208-tests.yml`, is no part of this project; it comes with pyspf among others.
//! `./test spf-suite FILE` runs it.

use std::borrow::Cow;
use std::time::{Duration, Instant, UNIX_EPOCH};

use mppd_dns::testkit::{Fault, Server, Zones};
use mppd_dns::{Dns, Name, Record as DnsRecord, Resolver, ResolverOptions};
use mppd_engine::Mailbox;
use yaml_rust2::{Yaml, YamlLoader};

use super::check::{Check, Circumstances, Evaluation, Sender};
use super::known::KnownRecords;
use super::with_a_labels;

/// How many cases the suite has.
const CASES: usize = 203;

struct Case {
    name: String,
    helo: Vec<u8>,
    client: String,
    sender: Vec<u8>,
    results: Vec<String>,
    /// `DEFAULT` where there is to be none.
    explanation: Option<String>,
}

struct Scenario {
    cases: Vec<Case>,
    zones: Zones,
}

fn scenarios() -> Vec<Scenario> {
    let path = std::env::var_os("MPPD_SPF_SUITE").expect("MPPD_SPF_SUITE names the suite's file");
    let text = std::fs::read_to_string(path).unwrap();
    YamlLoader::load_from_str(&text).unwrap().iter().map(scenario).collect()
}

fn scenario(document: &Yaml) -> Scenario {
    let tests = document["tests"].as_hash().unwrap();
    Scenario {
        cases: tests.iter().map(|(name, test)| case(name, test)).collect(),
        zones: zones(&document["zonedata"]),
    }
}

fn case(name: &Yaml, test: &Yaml) -> Case {
    let results = match &test["result"] {
        Yaml::Array(results) => results.iter().map(text).collect(),
        result => vec![text(result)],
    };
    Case {
        name: text(name),
        helo: octets(&test["helo"]),
        client: text(&test["host"]),
        sender: octets(&test["mailfrom"]),
        results,
        explanation: (!test["explanation"].is_badvalue()).then(|| text(&test["explanation"])),
    }
}

fn text(value: &Yaml) -> String {
    match value {
        Yaml::Integer(number) => number.to_string(),
        Yaml::Real(number) | Yaml::String(number) => number.clone(),
        other => panic!("{other:?}"),
    }
}

/// The suite writes octets above 127 as characters of that number.
fn octets(value: &Yaml) -> Vec<u8> {
    text(value).chars().map(|letter| u8::try_from(u32::from(letter)).unwrap()).collect()
}

fn zones(data: &Yaml) -> Zones {
    let mut zones = Zones::default();
    for (name, entries) in data.as_hash().unwrap() {
        let name = text(name);
        let Ok(of) = Name::parse(name.as_bytes()) else { continue };
        let entries = entries.as_vec().unwrap();
        // What is a record of the type SPF stands for a TXT record, where there is none of these.
        let has_txt = entries.iter().any(|entry| !entry["TXT"].is_badvalue());
        let mut is_silent = false;
        for entry in entries {
            let Yaml::Hash(entry) = entry else {
                is_silent = true;
                continue;
            };
            for (kind, value) in entry {
                zones = with(zones, &name, &of, &text(kind), value, has_txt);
            }
        }
        // Silence is for the types that nothing is written of.
        if is_silent {
            zones = silent(zones, &name, entries);
        }
    }
    zones
}

fn with(zones: Zones, name: &str, of: &Name, kind: &str, value: &Yaml, has_txt: bool) -> Zones {
    match kind {
        "SPF" if has_txt => zones,
        "TXT" if *value == Yaml::String("NONE".to_owned()) => zones,
        "SPF" | "TXT" => {
            let strings = match value {
                Yaml::Array(strings) => strings.iter().flat_map(octets).collect(),
                string => octets(string),
            };
            zones.record_of(of.clone(), DnsRecord::Txt(strings.into()))
        }
        "A" => zones.a(name, &text(value)),
        "AAAA" => zones.aaaa(name, &text(value)),
        "MX" => {
            let exchange = text(&value[1]);
            let exchange = if exchange.is_empty() { "." } else { &exchange };
            zones.mx(name, text(&value[0]).parse().unwrap(), exchange)
        }
        "PTR" => zones.record_of(of.clone(), DnsRecord::Ptr(ptr(&text(value)))),
        "CNAME" => zones.alias(name, &text(value)),
        other => panic!("{other}"),
    }
}

fn ptr(text: &str) -> Name {
    Name::parse(text.as_bytes()).unwrap()
}

fn silent(zones: Zones, name: &str, entries: &[Yaml]) -> Zones {
    use mppd_dns::RecordKind::{A, Aaaa, Mx, Ptr, Txt};
    let written = |word: &str| {
        entries.iter().any(|entry| {
            !entry[word].is_badvalue() && entry[word] != Yaml::String("NONE".to_owned())
        })
    };
    let kinds = [("TXT", Txt), ("A", A), ("AAAA", Aaaa), ("MX", Mx), ("PTR", Ptr)];
    let silent = kinds.iter().filter(|(word, _)| !written(word));
    silent.fold(zones, |zones, (_, kind)| zones.fault_for(name, *kind, Fault::Silence))
}

async fn evaluate(dns: &Dns, case: &Case) -> Evaluation {
    let around = Circumstances {
        dns,
        records: &KnownRecords::default(),
        client: case.client.parse::<std::net::IpAddr>().unwrap().to_canonical(),
        helo: with_a_labels(&case.helo),
        receiver: "unknown",
        now: UNIX_EPOCH,
        deadline: Instant::now() + Duration::from_secs(20),
        void_lookups: 2,
    };
    let sender = if case.sender.is_empty() {
        Sender::of_helo(&case.helo)
    } else {
        Sender::of_mailbox(Mailbox::new(&case.sender))
    };
    Check::new(&around, &sender).run().await
}

/// Which cases come out otherwise than they should.
async fn misses(dns: &Dns, cases: &[Case]) -> Vec<String> {
    let mut misses = Vec::new();
    for case in cases {
        let evaluation = evaluate(dns, case).await;
        let verdict = evaluation.verdict.word();
        let explanation = evaluation.explanation.as_deref().map_or("DEFAULT".into(), Cow::Borrowed);
        let is_explained =
            case.explanation.as_ref().is_none_or(|expected| *expected == explanation);
        if !case.results.iter().any(|result| result == verdict) || !is_explained {
            let expected = (&case.results, &case.explanation);
            misses.push(format!("{}: {expected:?}, but {evaluation:?}", case.name));
        }
    }
    misses
}

fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(future)
}

#[test]
#[ignore = "the suite is no part of this project: ./test spf-suite FILE"]
fn every_case_comes_out_as_it_should() {
    let mut count = 0;
    let mut missed = Vec::new();
    for Scenario { cases, zones } in scenarios() {
        count += cases.len();
        missed.extend(run(misses(&Dns::new(zones), &cases)));
    }
    assert!(missed.is_empty(), "{} missed:\n{}", missed.len(), missed.join("\n"));
    assert_eq!(count, CASES);
}

#[test]
#[ignore = "the suite is no part of this project: ./test spf-suite FILE"]
fn every_case_comes_out_as_it_should_over_the_network() {
    let mut missed = Vec::new();
    for Scenario { cases, zones } in scenarios() {
        let server = Server::start(zones);
        let resolver = Resolver::new(ResolverOptions {
            servers: vec![server.address()],
            timeout: Duration::from_millis(600),
            max_in_flight: 100,
            cache_size: 1 << 20,
        });
        missed.extend(run(misses(&Dns::new(resolver), &cases)));
    }
    assert!(missed.is_empty(), "{} missed:\n{}", missed.len(), missed.join("\n"));
}
