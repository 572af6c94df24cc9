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

use std::fmt::Debug;

use mppd_state::Record;

pub use mmdb::{Mmdb, Value};
pub use smtp::{SmtpScript, SmtpServer};

/// Panics where octets that a mail server sends break one of the promises of their reader.
pub fn check_smtp_reply(octets: &[u8]) {
    crate::recipient::reply::check(octets);
}

/// Panics where octets of a state store break one of the promises of the records' readers.
pub fn check_state_record(octets: &[u8]) {
    check_record::<crate::greylist::regular::Regular>(octets);
    check_record::<crate::greylist::triplet::Triplet>(octets);
    check_record::<crate::recipient::guessing::Guesses>(octets);
    check_record::<crate::recipient::kept::Kept>(octets);
    check_record::<crate::spam_traps::Hit>(octets);
    check_record::<crate::threshold::account::Account>(octets);
}

fn check_record<R: Record + PartialEq + Debug>(octets: &[u8]) {
    let Some(record) = R::from_octets(octets) else { return };
    assert_eq!(R::from_octets(&record.to_octets()).as_ref(), Some(&record));
}
