//! Octets that a domain publishes, as an SPF record and as an explanation, to a status.
#![no_main]

#[path = "../checks/spf.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| check::check(octets));
