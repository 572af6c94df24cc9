//! What holds for any octets that claim to be a dump of a database of postgrey: nothing panics, each
//! line that is told of is one of the dump, and what is no entry is refused with a reason that can
//! be shown.

use mppd::cli::import::dump;
use mppd_engines::greylist::import::Entry;

/// Panics where one of the promises is broken.
pub(crate) fn check(octets: &[u8]) {
    let Ok(dump) = dump::parse("dump".to_owned(), octets) else { return };
    let lines = octets.split(|octet| *octet == b'\n').count();
    for (line, message) in &dump.faults {
        assert!((1..=lines).contains(line) && !message.is_empty(), "line {line} of {lines}");
    }
    for pair in &dump.pairs {
        assert!((1..=lines).contains(&pair.line), "line {} of {lines}", pair.line);
        if let Err(unreadable) = Entry::parse(&pair.key, &pair.value) {
            let told = unreadable.to_string();
            assert!(!told.is_empty() && !told.contains(char::is_control), "{told:?}");
        }
    }
}
