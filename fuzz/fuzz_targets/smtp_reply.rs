//! Octets that a mail server sends, to a reply.
#![no_main]

#[path = "../checks/smtp_reply.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|octets: &[u8]| check::check(octets));
