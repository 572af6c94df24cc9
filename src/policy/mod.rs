//! The wire: octets to requests ([`codec`]), actions to octets ([`reply`]). Nothing here knows of
//! chains, engines or records.
//!
//! The protocol is Postfix's SMTP access policy delegation (`SMTPD_POLICY_README`).

pub mod codec;
pub mod reply;
