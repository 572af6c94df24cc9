//! A condition, through the language.
#![no_main]

#[path = "../checks/language.rs"]
mod language;

#[path = "../checks/condition.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| check::check(octets));
