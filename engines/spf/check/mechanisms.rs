//! Whether the mechanisms of a record match a client (RFC 7208, section 5).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use mppd_dns::{Name, Record as DnsRecord, RecordKind};

use super::domains::Target;
use super::{Check, Stop, Verdict, records};
use crate::spf::macros::MacroString;
use crate::spf::record::{Directive, Mechanism, Prefixes};

/// Most mail exchangers of one `mx`, and most names of a client that are looked at.
const MOST_NAMES: usize = 10;

impl Check<'_> {
    /// Section 5.
    pub(super) async fn matches(
        &mut self,
        directive: &Directive,
        domain: &Name,
    ) -> Result<bool, Stop> {
        match &directive.mechanism {
            Mechanism::All => Ok(true),
            Mechanism::Ip4(network, bits) => {
                let IpAddr::V4(client) = self.around.client else { return Ok(false) };
                Ok(same_network_v4(client, *network, *bits))
            }
            Mechanism::Ip6(network, bits) => {
                let IpAddr::V6(client) = self.around.client else { return Ok(false) };
                Ok(same_network_v6(client, *network, *bits))
            }
            Mechanism::Include(text) => self.include(text, domain).await,
            Mechanism::A(text, prefixes) => {
                self.count_lookup()?;
                let Some(target) = self.target_or(text.as_ref(), domain).await? else {
                    return Ok(false);
                };
                self.has_address(&target, *prefixes).await
            }
            Mechanism::Mx(text, prefixes) => self.mx(text.as_ref(), domain, *prefixes).await,
            Mechanism::Ptr(text) => {
                self.count_lookup()?;
                let Some(target) = self.target_or(text.as_ref(), domain).await? else {
                    return Ok(false);
                };
                let names = self.validated_names().await?;
                Ok(names.iter().any(|name| name.is_within(&target)))
            }
            Mechanism::Exists(text) => {
                self.count_lookup()?;
                let Some(target) = self.target_or(Some(text), domain).await? else {
                    return Ok(false);
                };
                // IPv4 whatever the client's address is (section 5.7).
                let answer = self.ask_counting(RecordKind::A, &target).await?;
                Ok(!records(&answer, &target)?.is_empty())
            }
        }
    }

    /// Section 5.2.
    async fn include(&mut self, text: &MacroString, domain: &Name) -> Result<bool, Stop> {
        self.count_lookup()?;
        let target = match self.target(text, domain).await? {
            Target::Name(target) => target,
            Target::Unmatchable => return Ok(false),
            Target::Malformed => {
                return Err(Stop::Permanent("\"include\" leads to no domain".to_owned()));
            }
        };
        let found = self.check_host(target.clone()).await?;
        if found.verdict == Verdict::None {
            let problem = format!("{target}, which is included, publishes no record");
            return Err(Stop::Permanent(problem));
        }
        Ok(found.verdict == Verdict::Pass)
    }

    /// Section 5.4.
    async fn mx(
        &mut self,
        text: Option<&MacroString>,
        domain: &Name,
        prefixes: Prefixes,
    ) -> Result<bool, Stop> {
        self.count_lookup()?;
        let Some(target) = self.target_or(text, domain).await? else { return Ok(false) };
        let answer = self.ask_counting(RecordKind::Mx, &target).await?;
        let exchangers = records(&answer, &target)?;
        if exchangers.len() > MOST_NAMES {
            let problem = format!("{target} has more than {MOST_NAMES} mail exchangers");
            return Err(Stop::Permanent(problem));
        }
        for record in exchangers {
            let DnsRecord::Mx { exchange, .. } = record else { continue };
            if !exchange.is_root() && self.has_address(exchange, prefixes).await? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Whether a name has an address in one network with the client's.
    async fn has_address(&mut self, name: &Name, prefixes: Prefixes) -> Result<bool, Stop> {
        let answer = self.ask_counting(self.address_kind(), name).await?;
        let addresses = records(&answer, name)?;
        Ok(addresses.iter().any(|record| match (record, self.around.client) {
            (DnsRecord::A(address), IpAddr::V4(client)) => {
                same_network_v4(client, *address, prefixes.v4)
            }
            (DnsRecord::Aaaa(address), IpAddr::V6(client)) => {
                same_network_v6(client, *address, prefixes.v6)
            }
            _ => false,
        }))
    }

    /// The client's names that have its address (section 5.5).
    pub(super) async fn validated_names(&mut self) -> Result<&[Name], Stop> {
        if self.validated.is_none() {
            let names = self.validate_names().await?;
            self.validated = Some(names);
        }
        Ok(self.validated.as_deref().unwrap_or_default())
    }

    async fn validate_names(&mut self) -> Result<Vec<Name>, Stop> {
        let reverse = Name::reverse(self.around.client);
        let answer = self.ask_counting(RecordKind::Ptr, &reverse).await?;
        // A failure is no name here, and below no such name.
        let pointers = answer.records().unwrap_or_default();
        let mut validated = Vec::new();
        for record in pointers.iter().take(MOST_NAMES) {
            let DnsRecord::Ptr(name) = record else { continue };
            let answer = self.ask_counting(self.address_kind(), name).await?;
            let is_clients = |record: &DnsRecord| match record {
                DnsRecord::A(address) => self.around.client == IpAddr::V4(*address),
                DnsRecord::Aaaa(address) => self.around.client == IpAddr::V6(*address),
                _ => false,
            };
            if answer.records().unwrap_or_default().iter().any(is_clients) {
                validated.push(name.clone());
            }
        }
        Ok(validated)
    }

    const fn address_kind(&self) -> RecordKind {
        match self.around.client {
            IpAddr::V4(_) => RecordKind::A,
            IpAddr::V6(_) => RecordKind::Aaaa,
        }
    }
}

fn same_network_v4(a: Ipv4Addr, b: Ipv4Addr, bits: u8) -> bool {
    let differing = a.to_bits() ^ b.to_bits();
    differing.leading_zeros() >= u32::from(bits)
}

fn same_network_v6(a: Ipv6Addr, b: Ipv6Addr, bits: u8) -> bool {
    let differing = a.to_bits() ^ b.to_bits();
    differing.leading_zeros() >= u32::from(bits)
}
