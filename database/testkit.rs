//! What tests of other crates need of this one. Behind the feature `testkit`; what goes wrong here
//! panics, as a test should.

#![allow(clippy::missing_panics_doc, reason = "a test that cannot go on panics, and says why")]

use crate::option_file;

/// Panics where octets of an option file break one of the promises of their reader.
pub fn check_option_file(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let Err(faults) = option_file::parse(&text) else { return };
    assert!(!faults.is_empty(), "refused without a reason");
    for fault in faults {
        assert!(text.get(fault.place.clone()).is_some(), "{:?} of {text:?}", fault.place);
        assert!(!fault.message.is_empty());
    }
}
