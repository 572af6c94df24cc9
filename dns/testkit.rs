//! Zones that a test writes, asked in the same process, and a server of them that a resolver or a
//! daemon can be pointed at. What goes wrong here panics, as a test should.
//!
//! ```
//! use std::time::Instant;
//!
//! use mppd_dns::testkit::Zones;
//! use mppd_dns::{Dns, Name};
//!
//! let zones = Zones::default()
//!     .txt("example.com", "v=spf1 mx -all")
//!     .mx("example.com", 10, "mail.example.com")
//!     .a("mail.example.com", "192.0.2.1");
//! let dns = Dns::new(zones);
//! # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
//! # runtime.block_on(async {
//! let answer = dns.mx(&Name::parse(b"example.com").unwrap(), Instant::now()).await;
//! assert_eq!(answer.records().unwrap().len(), 1);
//! # });
//! ```

#![allow(
    clippy::missing_panics_doc,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that cannot go on panics, and says why"
)]

mod canned;
mod server;
mod zones;

pub use canned::answer_to;
pub use server::Server;
pub use zones::{Fault, Zones};
