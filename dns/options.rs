//! `<dns>`: the configuration of the resolver.

use std::net::{IpAddr, SocketAddr};

use mppd_engine::config::{FileSize, Period, Positive, Spanned};
use mppd_engine::{Finding, options};

use crate::resolver::ResolverOptions;

/// Where name servers listen unless told.
const PORT: u16 = 53;

options! {
    /// `<dns>`: how engines ask the domain name system.
    pub struct DnsOptions: Default {
        /// A name server that resolves names for this machine: `ADDRESS` or `ADDRESS:PORT`, an
        /// IPv6 address with a port in brackets. May stand several times. Those of
        /// `/etc/resolv.conf` unless given, as it is when the first question is asked; one on this
        /// machine if that file does not exist.
        server: Vec<Spanned<String>> = Vec::new(),
        /// How long to wait for the answer to one question. It is asked again when half of that
        /// is over without an answer; an answer to the first still counts. What an engine has left
        /// for its run bounds the time as well.
        timeout: Positive<Period> = Positive(Period::seconds(4)),
        /// Most questions under way at once; more wait for their turn.
        max_in_flight: Positive<u32> = Positive(1_000),
        /// About how much memory answers may take that are kept for as long as their owners say,
        /// at most a day.
        cache_size: Positive<FileSize> = Positive(FileSize::kib(32 << 10)),
    }
}

impl DnsOptions {
    /// What the resolver needs to know, and every server that is not understood.
    #[must_use]
    pub fn resolver_options(&self) -> (ResolverOptions, Vec<Finding>) {
        let mut servers: Vec<SocketAddr> = Vec::new();
        let mut findings = Vec::new();
        for server in &self.server {
            match address(&server.value) {
                Some(address) if servers.contains(&address) => {
                    let message = format!("the name server {address} is given twice");
                    findings.push(Finding::error(server.span, message));
                }
                Some(address) => servers.push(address),
                None => {
                    let message = format!("\"{}\" is not the address of a server", server.value);
                    let finding = Finding::error(server.span, message);
                    let help = "expected 192.0.2.1, 192.0.2.1:53, 2001:db8::1 or [2001:db8::1]:53";
                    findings.push(finding.with_help(help));
                }
            }
        }
        let options = ResolverOptions {
            servers,
            timeout: self.timeout.0.0,
            max_in_flight: usize::try_from(self.max_in_flight.0).unwrap_or(usize::MAX),
            cache_size: self.cache_size.0.0,
        };
        (options, findings)
    }
}

fn address(text: &str) -> Option<SocketAddr> {
    let text = text.trim();
    let alone = || text.parse::<IpAddr>().ok().map(|address| SocketAddr::new(address, PORT));
    let with_port = || text.parse::<SocketAddr>().ok().filter(|address| address.port() != 0);
    alone().or_else(with_port)
}

#[cfg(test)]
mod tests {
    use mppd_engine::config::{Origin, Source, SourceMap, Span};

    use super::*;

    fn options(servers: &[&str]) -> (ResolverOptions, Vec<String>) {
        let mut sources = SourceMap::default();
        let text = "<dns/>".to_owned();
        let source = sources.add(Source { origin: Origin::Embedded("test"), text });
        let span = Span { source, start: 0, end: 1 };
        let spanned = |server: &&str| Spanned { value: (*server).to_owned(), span };
        let options =
            DnsOptions { server: servers.iter().map(spanned).collect(), ..DnsOptions::default() };
        let (options, findings) = options.resolver_options();
        (options, findings.into_iter().map(|finding| finding.message).collect())
    }

    #[test]
    fn servers_are_addresses_with_or_without_a_port() {
        let written = ["192.0.2.1", "192.0.2.1:5353", "2001:db8::1", "[2001:db8::1]:5353"];
        let read = options(&written).0.servers;
        let shown: Vec<String> = read.iter().map(ToString::to_string).collect();
        let expected = ["192.0.2.1:53", "192.0.2.1:5353", "[2001:db8::1]:53", "[2001:db8::1]:5353"];
        assert_eq!(shown, expected);
    }

    #[test]
    fn what_is_no_server_is_told_all_at_once() {
        let expected = [
            "\"localhost\" is not the address of a server",
            "\"192.0.2.1:0\" is not the address of a server",
            "the name server 192.0.2.2:53 is given twice",
        ];
        let faults = options(&["localhost", "192.0.2.1:0", "192.0.2.2", "192.0.2.2:53"]).1;
        assert_eq!(faults, expected);
    }
}
