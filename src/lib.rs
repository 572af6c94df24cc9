//! mppd, a policy server for Postfix.

pub mod config;
pub mod policy;
pub mod reference;
