//! mppd, a policy server for Postfix.

pub mod config;
