//! Texts that people write to search the records, to a question.
#![no_main]

#[path = "../checks/question.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| check::check(octets));
