//! The seeds of the fuzz targets and all captured streams, through the targets' own checks.

use std::path::Path;

use crate::harness::captures;

#[path = "../fuzz/checks/condition.rs"]
mod condition;
#[path = "../fuzz/checks/dns.rs"]
mod dns;
#[path = "../fuzz/checks/language.rs"]
mod language;
#[path = "../fuzz/checks/lists.rs"]
mod lists;
#[path = "../fuzz/checks/option_file.rs"]
mod option_file;
#[path = "../fuzz/checks/postgrey.rs"]
mod postgrey;
#[path = "../fuzz/checks/question.rs"]
mod question;
#[path = "../fuzz/checks/request.rs"]
mod request;
#[path = "../fuzz/checks/smtp_reply.rs"]
mod smtp_reply;
#[path = "../fuzz/checks/spf.rs"]
mod spf;
#[path = "../fuzz/checks/state_record.rs"]
mod state_record;
#[path = "../fuzz/checks/template.rs"]
mod template;
#[path = "../fuzz/checks/xml.rs"]
mod xml;

fn seeds(target: &str) -> Vec<Vec<u8>> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let files = std::fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
    let seeds: Vec<_> = files
        .filter(|path| path.extension().is_some())
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    assert!(!seeds.is_empty());
    seeds
}

#[test]
fn every_seed_of_a_stream_keeps_the_promises() {
    for octets in seeds("request") {
        request::check(&octets);
    }
}

#[test]
fn every_captured_stream_keeps_the_promises_wherever_it_is_cut() {
    for (_, stream) in captures::streams() {
        for end in 0..=stream.len() {
            request::check(&stream[..end]);
        }
    }
}

#[test]
fn every_seed_of_a_text_with_macros_keeps_the_promises() {
    for octets in seeds("template") {
        template::check(&octets);
    }
}

#[test]
fn every_seed_of_a_condition_keeps_the_promises() {
    for octets in seeds("condition") {
        condition::check(&octets);
    }
}

#[test]
fn every_seed_of_a_configuration_keeps_the_promises() {
    for octets in seeds("xml") {
        xml::check(&octets);
    }
}

#[test]
fn every_seed_of_an_spf_record_keeps_the_promises() {
    for octets in seeds("spf") {
        spf::check(&octets);
    }
}

#[test]
fn every_seed_of_a_list_file_keeps_the_promises() {
    for octets in seeds("lists") {
        lists::check(&octets);
    }
}

#[test]
fn every_seed_of_a_reply_of_a_mail_server_keeps_the_promises() {
    for octets in seeds("smtp_reply") {
        smtp_reply::check(&octets);
    }
}

#[test]
fn every_seed_of_a_name_servers_answer_keeps_the_promises() {
    for octets in seeds("dns") {
        dns::check(&octets);
    }
}

#[test]
fn every_seed_of_an_option_file_keeps_the_promises() {
    for octets in seeds("option_file") {
        option_file::check(&octets);
    }
}

#[test]
fn every_seed_of_a_dump_of_postgrey_keeps_the_promises() {
    for octets in seeds("postgrey") {
        postgrey::check(&octets);
    }
}

#[test]
fn every_seed_of_a_question_to_the_records_keeps_the_promises() {
    for octets in seeds("question") {
        question::check(&octets);
    }
}

#[test]
fn every_seed_of_a_record_of_an_engine_keeps_the_promises() {
    for octets in seeds("state_record") {
        state_record::check(&octets);
    }
}
