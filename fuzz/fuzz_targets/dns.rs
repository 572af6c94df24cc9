//! Octets that a name server sends, to an answer and to the status of a list.
#![no_main]

#[path = "../checks/dns.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| check::check(octets));
