//! What tests of these engines need, here and elsewhere: files in the format of MaxMind, and mail
//! servers that answer as a test wants. Behind the feature `testkit`; what goes wrong here panics,
//! as a test should.

#![allow(
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on panics, and says why"
)]

mod mmdb;
mod smtp;

pub use mmdb::{Mmdb, Value};
pub use smtp::{SmtpScript, SmtpServer};

/// Panics where octets that a mail server sends break one of the promises of their reader.
pub fn check_smtp_reply(octets: &[u8]) {
    crate::recipient::reply::check(octets);
}
