//! The wire: octets to requests ([`codec`]) or past them ([`skip`]), actions to octets ([`reply`]). Nothing here knows of
//! chains, engines or records.
//!
//! The protocol is Postfix's SMTP access policy delegation (`SMTPD_POLICY_README`).

pub mod codec;
pub mod reply;
pub mod skip;
