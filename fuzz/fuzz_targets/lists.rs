//! Octets of a list file, in every format and for lists of every kind.
#![no_main]

#[path = "../checks/lists.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| check::check(octets));
