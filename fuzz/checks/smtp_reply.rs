//! What holds for any octets that a mail server sends to a callout: nothing panics, what is no reply
//! is refused, what is one ends where it ends, and what is told of it fits into one short line.

/// Panics where one of the promises is broken.
pub(crate) fn check(octets: &[u8]) {
    mppd_engines::testkit::check_smtp_reply(octets);
}
