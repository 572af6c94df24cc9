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

pub use mmdb::{Mmdb, Value};
