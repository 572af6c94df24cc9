//! Octets of a dump of a database of postgrey, to entries.
#![no_main]

#[path = "../checks/postgrey.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| check::check(octets));
