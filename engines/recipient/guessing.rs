//! Clients that guess addresses: who asks for many that do not exist, and for fewer that do, is
//! marked for a time.

use std::net::IpAddr;
use std::time::Duration;

use ipnet::IpNet;
use jiff::Timestamp;
use mppd_engine::config::{Period, Positive};
use mppd_engine::{Attribute, Finding, Request, Spanned, options};
use mppd_state::{Change, Mark, Reader, Record, Space, StateError, Writer};

use super::source::hash;

options! {
    /// `<guessing>`
    pub(crate) struct GuessingOptions {
        /// After how many different addresses that do not exist a client is marked: 10 unless given,
        /// at most 200. One that has asked for as many that do exist is not.
        after: Option<Spanned<u32>> = None,
        /// Within which time.
        within: Positive<Period> = Positive(Period::seconds(3_600)),
        /// For how long.
        mark_for: Positive<Period> = Positive(Period::seconds(86_400)),
        /// The network of an IPv4 address that counts as one client, as the length of its prefix;
        /// 32, which is the address alone, unless given.
        ipv4_prefix: Option<Spanned<u16>> = None,
        /// The same of an IPv6 address; 64 unless given.
        ipv6_prefix: Option<Spanned<u16>> = None,
        /// Networks whose clients are never marked; `127.0.0.0/8 ::1` unless given. May stand
        /// several times. Clients that have logged in are not either.
        never: Vec<Spanned<String>> = Vec::new(),
    }
}

/// What these are unless given.
const AFTER: u32 = 10;
const IPV4_PREFIX: u8 = 32;
const IPV6_PREFIX: u8 = 64;

const MOST: u32 = 200;

/// Networks that are never marked unless others are configured.
const OWN_NETWORKS: [IpNet; 2] = [
    IpNet::V4(ipnet::Ipv4Net::new_assert(std::net::Ipv4Addr::new(127, 0, 0, 0), 8)),
    IpNet::V6(ipnet::Ipv6Net::new_assert(std::net::Ipv6Addr::LOCALHOST, 128)),
];

/// When a client guesses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Limits {
    after: usize,
    within: Duration,
    mark_for: Duration,
}

/// The watch over clients.
#[derive(Debug)]
pub(super) struct Guessing {
    limits: Limits,
    ipv4_prefix: u8,
    ipv6_prefix: u8,
    never: Vec<IpNet>,
    space: Space,
}

impl Guessing {
    pub(super) fn read(options: &GuessingOptions, space: Space) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let after = options.after.as_ref();
        if let Some(after) = after.filter(|after| after.value == 0 || after.value > MOST) {
            findings.push(Finding::error(after.span, format!("\"after\" is between 1 and {MOST}")));
        }
        let mut prefix = |given: Option<&Spanned<u16>>, most: u8, usual: u8| {
            let Some(given) = given else { return usual };
            let prefix =
                u8::try_from(given.value).ok().filter(|prefix| (1..=most).contains(prefix));
            prefix.unwrap_or_else(|| {
                let message = format!("a prefix is between 1 and {most}");
                findings.push(Finding::error(given.span, message));
                usual
            })
        };
        let ipv4_prefix = prefix(options.ipv4_prefix.as_ref(), 32, IPV4_PREFIX);
        let ipv6_prefix = prefix(options.ipv6_prefix.as_ref(), 128, IPV6_PREFIX);
        let never = networks(&options.never, &mut findings);
        if !findings.is_empty() {
            return Err(findings);
        }
        let after = after.map_or(AFTER, |after| after.value);
        let limits = Limits {
            after: usize::try_from(after).unwrap_or(usize::MAX),
            within: options.within.0.0,
            mark_for: options.mark_for.0.0,
        };
        Ok(Guessing { limits, ipv4_prefix, ipv6_prefix, never, space })
    }

    /// The client of a request, as it is watched; `None` for one that is not.
    pub(super) fn client(&self, request: &Request) -> Option<String> {
        let address = request.client_address()?;
        if !request.get(Attribute::SaslUsername).is_empty() {
            return None;
        }
        if self.never.iter().any(|network| network.contains(&address)) {
            return None;
        }
        let prefix = if address.is_ipv4() { self.ipv4_prefix } else { self.ipv6_prefix };
        let network = IpNet::new(address, prefix).ok()?.trunc();
        if network.prefix_len() == network.max_prefix_len() {
            return Some(network.addr().to_string());
        }
        Some(network.to_string())
    }

    /// Why a client is marked, if it is.
    pub(super) async fn mark(
        &self,
        client: &str,
        now: Timestamp,
    ) -> Result<Option<String>, StateError> {
        let mark = self.space.get::<Mark>(&marked(client), now).await?;
        Ok(mark.map(|mark| mark.reason))
    }

    /// Notes that a client asked for an address, and whether there is such a one; marks the client
    /// if that is one guess too many.
    pub(super) async fn note(
        &self,
        client: &str,
        address: &[u8],
        exists: bool,
        now: Timestamp,
    ) -> Result<(), StateError> {
        let (limits, address) = (self.limits, hash(address));
        let guesses = move |old: Option<Guesses>| {
            let mut guesses = old.unwrap_or_default();
            if guesses.note(address, exists, now, limits) {
                return Change::Remove(true);
            }
            Change::Put(guesses, later(now, limits.within), false)
        };
        if !self.space.update(&asked(client), now, guesses).await? {
            return Ok(());
        }
        let reason = format!("{client} asked for {} addresses that do not exist", limits.after);
        let mark = move |_: Option<Mark>| {
            let mark = Mark { since: now, reason: reason.clone() };
            Change::Put(mark, later(now, limits.mark_for), ())
        };
        self.space.update(&marked(client), now, mark).await
    }
}

fn marked(client: &str) -> Vec<u8> {
    format!("marked {client}").into_bytes()
}

fn asked(client: &str) -> Vec<u8> {
    format!("asked {client}").into_bytes()
}

fn later(now: Timestamp, period: Duration) -> Timestamp {
    now.checked_add(period).unwrap_or(Timestamp::MAX)
}

/// What a client asked for: each address by its hash, and when it did so last, the oldest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Guesses {
    missing: Vec<(u32, Timestamp)>,
    existing: Vec<(u32, Timestamp)>,
}

impl Guesses {
    /// Whether the client guesses, with this address.
    fn note(&mut self, address: u32, exists: bool, now: Timestamp, limits: Limits) -> bool {
        let since = now.checked_sub(limits.within).unwrap_or(Timestamp::MIN);
        for list in [&mut self.missing, &mut self.existing] {
            list.retain(|(_, at)| *at > since);
        }
        let list = if exists { &mut self.existing } else { &mut self.missing };
        list.retain(|(other, _)| *other != address);
        list.push((address, now));
        // More than that many make no difference.
        let surplus = list.len().saturating_sub(limits.after);
        list.drain(..surplus);
        !exists && self.missing.len() >= limits.after && self.existing.len() < limits.after
    }
}

impl Record for Guesses {
    const KIND: u8 = b'G';

    fn write(&self, writer: &mut Writer) {
        for list in [&self.missing, &self.existing] {
            writer.number(list.len() as u64);
            for (address, at) in list {
                writer.number(u64::from(*address));
                writer.time(*at);
            }
        }
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut list = || {
            let count = reader.number()?;
            let mut list = Vec::new();
            for _ in 0..count {
                list.push((u32::try_from(reader.number()?).ok()?, reader.time()?));
            }
            Some(list)
        };
        Some(Guesses { missing: list()?, existing: list()? })
    }
}

fn networks(lists: &[Spanned<String>], findings: &mut Vec<Finding>) -> Vec<IpNet> {
    if lists.is_empty() {
        return OWN_NETWORKS.into();
    }
    let mut networks = Vec::new();
    for word in lists.iter().flat_map(Spanned::words) {
        let network = word.value.parse::<IpNet>().ok();
        let address = || word.value.parse::<IpAddr>().ok().map(IpNet::from);
        if let Some(network) = network.or_else(address) {
            networks.push(network);
            continue;
        }
        let message = format!("\"{}\" is neither an address nor a network", word.value);
        let finding = Finding::error(word.span, message);
        findings.push(finding.with_help("expected 192.0.2.1, 192.0.2.0/24 or 2001:db8::/32"));
    }
    networks
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    const LIMITS: Limits =
        Limits { after: 3, within: Duration::from_secs(100), mark_for: Duration::from_secs(1_000) };

    fn second(count: i64) -> Timestamp {
        Timestamp::from_second(count).unwrap()
    }

    fn notes(notes: &[(u32, bool, i64)]) -> Vec<bool> {
        let mut guesses = Guesses::default();
        let note = |(address, exists, at): &(u32, bool, i64)| {
            guesses.note(*address, *exists, second(*at), LIMITS)
        };
        notes.iter().map(note).collect()
    }

    #[test]
    fn so_many_different_addresses_are_guesses() {
        let notes = notes(&[(1, false, 1), (2, false, 2), (2, false, 3), (3, false, 4)]);
        assert_eq!(notes, [false, false, false, true]);
    }

    #[test]
    fn what_was_long_ago_does_not_count() {
        let notes = notes(&[(1, false, 1), (2, false, 50), (3, false, 101), (4, false, 102)]);
        assert_eq!(notes, [false, false, false, true]);
    }

    #[test]
    fn who_asks_for_as_many_that_exist_does_not_guess() {
        let valid = [(11, true, 1), (12, true, 1), (13, true, 1)];
        let invalid = [(1, false, 1), (2, false, 1), (3, false, 1), (4, false, 1)];
        assert!(!notes(&[&valid[..], &invalid].concat()).contains(&true));
        assert!(notes(&[&valid[..2], &invalid].concat()).contains(&true));
    }

    #[test]
    fn what_was_noted_is_kept_as_it_is() {
        let guesses = Guesses {
            missing: vec![(u32::MAX, second(1)), (0, second(2))],
            existing: vec![(7, second(3))],
        };
        assert_eq!(Guesses::from_octets(&guesses.to_octets()), Some(guesses));
    }

    proptest! {
        #[test]
        fn it_counts_as_whoever_remembers_everything(
            asked in prop::collection::vec((0..8_u32, any::<bool>(), 0..40_i64), 0..60),
        ) {
            let mut guesses = Guesses::default();
            let mut all: HashMap<(bool, u32), i64> = HashMap::new();
            let mut now = 0;
            for (address, exists, later) in asked {
                now += later;
                let is_guessing = guesses.note(address, exists, second(now), LIMITS);
                all.insert((exists, address), now);
                let count = |kind: bool| {
                    all.iter().filter(|((exists, _), at)| *exists == kind && now - **at < 100).count()
                };
                let expected = !exists && count(false) >= 3 && count(true) < 3;
                prop_assert_eq!(is_guessing, expected);
                prop_assert!(guesses.missing.len() <= 3 && guesses.existing.len() <= 3);
            }
        }
    }
}
