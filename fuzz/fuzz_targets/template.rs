//! A text with macros, through the language.
#![no_main]

#[path = "../checks/language.rs"]
mod language;

#[path = "../checks/template.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| check::check(octets));
