//! Octets of an option file, to what it says of a connection.
#![no_main]

#[path = "../checks/option_file.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| check::check(octets));
