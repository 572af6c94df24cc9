//! What holds for any octets of an option file (`my.cnf`): nothing panics, and what is wrong is told
//! with a place inside the file.

/// Panics where one of the promises is broken.
pub(crate) fn check(octets: &[u8]) {
    mppd_database::testkit::check_option_file(octets);
}
