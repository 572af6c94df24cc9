//! The text of a configuration file, through the loader.
#![no_main]

#[path = "../checks/xml.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| check::check(octets));
