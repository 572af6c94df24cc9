//! Octets that a state store holds, to records of the engines.
#![no_main]

#[path = "../checks/state_record.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| check::check(octets));
