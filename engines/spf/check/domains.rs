//! The domains and explanations that texts with macros stand for in a check (RFC 7208, sections 6.2
//! and 7).

use std::borrow::Cow;
use std::net::IpAddr;
use std::time::UNIX_EPOCH;

use mppd_dns::{Name, Record as DnsRecord, RecordKind};

use super::{Check, Stop};
use crate::spf::macros::{Letter, MacroString, Use, Values};

/// Longest name that is asked for; longer ones lose labels on the left (section 7.3).
const LONGEST_NAME: usize = 253;

/// So many octets at the end of a text with macros tell what is left of it as a name.
const ENOUGH: usize = 2 * (LONGEST_NAME + 1);

/// Most octets of an explanation that are given on. A reply of SMTP has 512 (RFC 5321, section
/// 4.5.3.1.5).
const LONGEST_EXPLANATION: usize = 400;

/// Where a term points after its macros are expanded.
pub(super) enum Target {
    Name(Name),
    /// No name that could be asked for.
    Malformed,
    /// A local part that is not ASCII stands in it, so that it can't match (RFC 8616, section 4).
    Unmatchable,
}

impl Check<'_> {
    /// The domain of a term, or the one whose record this is; `None` where it can match nothing.
    pub(super) async fn target_or(
        &mut self,
        text: Option<&MacroString>,
        domain: &Name,
    ) -> Result<Option<Name>, Stop> {
        let Some(text) = text else { return Ok(Some(domain.clone())) };
        Ok(match self.target(text, domain).await? {
            Target::Name(target) => Some(target),
            Target::Malformed | Target::Unmatchable => None,
        })
    }

    pub(super) async fn target(
        &mut self,
        text: &MacroString,
        domain: &Name,
    ) -> Result<Target, Stop> {
        if let Some(name) = text.constant() {
            return Ok(Target::Name(name.clone()));
        }
        let names_sender = text.uses(Letter::Sender) || text.uses(Letter::LocalPart);
        if names_sender && !self.sender.local.is_ascii() {
            return Ok(Target::Unmatchable);
        }
        self.prepare(text).await?;
        let expanded = text.expand_end(&InRecord { check: self, domain }, ENOUGH);
        Ok(Name::parse(shortened(&expanded)).map_or(Target::Malformed, Target::Name))
    }

    /// Asks for what the values of macros depend on.
    async fn prepare(&mut self, text: &MacroString) -> Result<(), Stop> {
        if text.uses(Letter::ValidatedName) {
            self.validated_names().await?;
        }
        Ok(())
    }

    /// Section 6.2: whatever is wrong with it, it is as if there were none.
    pub(super) async fn explanation(
        &mut self,
        text: &MacroString,
        domain: &Name,
    ) -> Option<String> {
        let Ok(Target::Name(target)) = self.target(text, domain).await else { return None };
        let answer = self.ask(RecordKind::Txt, &target).await;
        let Ok([DnsRecord::Txt(text)]) = answer.records() else { return None };
        let text = std::str::from_utf8(text).ok()?;
        let text = MacroString::parse(text, Use::Explanation).ok()?;
        self.prepare(&text).await.ok()?;
        let most = LONGEST_EXPLANATION;
        let mut expanded = text.expand(&InRecord { check: self, domain }, most + 1);
        if expanded.len() > most {
            expanded.truncate(most);
            expanded.extend_from_slice(b"...");
        }
        let is_printable = expanded.iter().all(|octet| matches!(octet, b' '..=b'~'));
        String::from_utf8(expanded).ok().filter(|text| is_printable && !text.is_empty())
    }
}

/// The values of macros in the record of a domain.
struct InRecord<'c, 'a> {
    check: &'c Check<'a>,
    domain: &'c Name,
}

impl Values for InRecord<'_, '_> {
    fn value(&self, letter: Letter) -> Cow<'_, [u8]> {
        let Check { around, sender, validated, .. } = self.check;
        match letter {
            Letter::Sender => Cow::Owned([sender.local, b"@", &sender.domain].concat()),
            Letter::LocalPart => Cow::Borrowed(sender.local),
            Letter::SenderDomain => Cow::Borrowed(&sender.domain),
            Letter::Domain => Cow::Borrowed(self.domain.as_bytes()),
            Letter::Address => Cow::Owned(labels_of(around.client)),
            Letter::ValidatedName => {
                preferred(validated.as_deref().unwrap_or_default(), self.domain)
            }
            Letter::ReverseZone => Cow::Borrowed(match around.client {
                IpAddr::V4(_) => b"in-addr".as_slice(),
                IpAddr::V6(_) => b"ip6",
            }),
            Letter::Helo => Cow::Borrowed(&around.helo),
            Letter::ReadableAddress => Cow::Owned(around.client.to_string().into_bytes()),
            Letter::Receiver => Cow::Borrowed(around.receiver.as_bytes()),
            Letter::Time => {
                let since = around.now.duration_since(UNIX_EPOCH).unwrap_or_default();
                Cow::Owned(since.as_secs().to_string().into_bytes())
            }
        }
    }
}

/// The validated name that `%{p}` stands for: the domain itself, one below it, or any.
fn preferred<'n>(names: &'n [Name], domain: &Name) -> Cow<'n, [u8]> {
    let same = names.iter().find(|name| *name == domain);
    let within = || names.iter().find(|name| name.is_within(domain));
    let name = same.or_else(within).or_else(|| names.first());
    Cow::Borrowed(name.map_or(b"unknown", Name::as_bytes))
}

/// An address in labels: an IPv6 one digit by digit.
fn labels_of(address: IpAddr) -> Vec<u8> {
    let IpAddr::V6(address) = address else { return address.to_string().into_bytes() };
    let digits: Vec<String> = address
        .octets()
        .iter()
        .flat_map(|octet| [octet >> 4, octet & 0xf])
        .map(|digit| format!("{digit:X}"))
        .collect();
    digits.join(".").into_bytes()
}

/// A name without as many labels on the left as it is too long for.
fn shortened(name: &[u8]) -> &[u8] {
    let mut rest = name.strip_suffix(b".").unwrap_or(name);
    while rest.len() > LONGEST_NAME {
        match rest.iter().position(|octet| *octet == b'.') {
            Some(dot) => rest = &rest[dot + 1..],
            None => return rest,
        }
    }
    rest
}
