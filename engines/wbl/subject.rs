//! What of a request can be on a list.

use std::borrow::Cow;
use std::net::IpAddr;

use mppd_engine::{Attribute, Request};
use mppd_lists::fingerprints::Fingerprint;
use mppd_lists::subject;

/// What an entry is compared with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Matter {
    ClientAddress,
    ClientName,
    ReverseClientName,
    HeloName,
    SaslUsername,
    CcertFingerprint,
    CcertPubkeyFingerprint,
    Pair,
    Sender,
    Recipient,
}

impl Matter {
    /// All of them, in the order in which they are looked up; a pair before its sides.
    pub(super) const ALL: [Matter; 10] = [
        Matter::ClientAddress,
        Matter::ClientName,
        Matter::ReverseClientName,
        Matter::HeloName,
        Matter::SaslUsername,
        Matter::CcertFingerprint,
        Matter::CcertPubkeyFingerprint,
        Matter::Pair,
        Matter::Sender,
        Matter::Recipient,
    ];

    /// Its element, which has the name of the attribute.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Matter::ClientAddress => Attribute::ClientAddress.name(),
            Matter::ClientName => Attribute::ClientName.name(),
            Matter::ReverseClientName => Attribute::ReverseClientName.name(),
            Matter::HeloName => Attribute::HeloName.name(),
            Matter::SaslUsername => Attribute::SaslUsername.name(),
            Matter::CcertFingerprint => Attribute::CcertFingerprint.name(),
            Matter::CcertPubkeyFingerprint => Attribute::CcertPubkeyFingerprint.name(),
            Matter::Pair => "pair",
            Matter::Sender => Attribute::Sender.name(),
            Matter::Recipient => Attribute::Recipient.name(),
        }
    }

    pub(super) fn is_side_of_a_pair(self) -> bool {
        matches!(self, Matter::Sender | Matter::Recipient)
    }
}

/// A request's values in the normal form of the entries.
#[derive(Debug)]
pub(super) struct Subject<'a> {
    pub(super) client_address: Option<IpAddr>,
    pub(super) client_name: Option<Cow<'a, [u8]>>,
    pub(super) reverse_client_name: Option<Cow<'a, [u8]>>,
    pub(super) helo_name: Option<Cow<'a, [u8]>>,
    pub(super) sasl_username: Option<&'a [u8]>,
    pub(super) ccert_fingerprint: Option<Fingerprint>,
    pub(super) ccert_pubkey_fingerprint: Option<Fingerprint>,
    pub(super) sender: Option<Cow<'a, [u8]>>,
    pub(super) recipient: Option<Cow<'a, [u8]>>,
}

impl<'a> Subject<'a> {
    pub(super) fn of(request: &'a Request) -> Self {
        let fingerprint = |attribute| subject::fingerprint(request, attribute);
        Subject {
            client_address: request.client_address(),
            client_name: subject::client_name(request),
            reverse_client_name: subject::reverse_client_name(request),
            helo_name: subject::helo_name(request),
            sasl_username: subject::sasl_username(request),
            ccert_fingerprint: fingerprint(Attribute::CcertFingerprint),
            ccert_pubkey_fingerprint: fingerprint(Attribute::CcertPubkeyFingerprint),
            sender: subject::sender(request),
            recipient: subject::recipient(request),
        }
    }
}
