//! What of a request is looked up, in the normal form of the entries. What Postfix does not know (a
//! client without address, an unverified name, a sender before MAIL) is nothing.

use std::borrow::Cow;

use mppd_engine::{Attribute, Request, Stage, Stages};

use crate::fingerprints::Fingerprint;
use crate::{mailboxes, names};

/// Where Postfix knows the sender, so that an empty one is the null sender.
const WITH_SENDER: Stages =
    Stages::of(&[Stage::Mail, Stage::Rcpt, Stage::Data, Stage::EndOfMessage]);

/// The envelope sender; empty for the null sender.
#[must_use]
pub fn sender(request: &Request) -> Option<Cow<'_, [u8]>> {
    request
        .find(Attribute::Sender)
        .filter(|sender| !sender.is_empty() || WITH_SENDER.contains(request.stage()))
        .map(|_| mailboxes::normalise(request.sender()))
}

/// The envelope recipient.
#[must_use]
pub fn recipient(request: &Request) -> Option<Cow<'_, [u8]>> {
    known(request, Attribute::Recipient).map(|_| mailboxes::normalise(request.recipient()))
}

/// The verified name of the client.
#[must_use]
pub fn client_name(request: &Request) -> Option<Cow<'_, [u8]>> {
    known_name(request, Attribute::ClientName)
}

/// The name that the client's address points to, verified or not.
#[must_use]
pub fn reverse_client_name(request: &Request) -> Option<Cow<'_, [u8]>> {
    known_name(request, Attribute::ReverseClientName)
}

/// What the client calls itself.
#[must_use]
pub fn helo_name(request: &Request) -> Option<Cow<'_, [u8]>> {
    known(request, Attribute::HeloName).map(names::normalise)
}

/// As whom the client has logged in.
#[must_use]
pub fn sasl_username(request: &Request) -> Option<&[u8]> {
    known(request, Attribute::SaslUsername)
}

/// The fingerprint of the client's certificate, or of its key.
#[must_use]
pub fn fingerprint(request: &Request, attribute: Attribute) -> Option<Fingerprint> {
    Fingerprint::read(known(request, attribute)?)
}

fn known_name(request: &Request, attribute: Attribute) -> Option<Cow<'_, [u8]>> {
    known(request, attribute).filter(|name| *name != b"unknown").map(names::normalise)
}

fn known(request: &Request, attribute: Attribute) -> Option<&[u8]> {
    Some(request.get(attribute)).filter(|value| !value.is_empty())
}
