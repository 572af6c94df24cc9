//! What holds for any octets that a state store holds where an engine looks for its record, written by
//! whoever else uses the same server: nothing panics, what is no record is passed over, and what is
//! one is written back as the same record.

/// Panics where one of the promises is broken.
pub(crate) fn check(octets: &[u8]) {
    mppd_engines::testkit::check_state_record(octets);
}
