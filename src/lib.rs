//! mppd, a policy server for Postfix.

pub mod cli;
pub mod config;
pub mod policy;
pub mod tracking;
