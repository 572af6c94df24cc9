//! The source of a `cidr:` table, `cidr_table(5)`: of the networks that hold an address the first
//! counts, `!` turns one into all the others of its family, and what stands between `IF` and
//! `ENDIF` is for a part of the addresses only.
//!
//! What comes out is for tables in which the longest prefix counts. Two networks have no address in
//! common, or one holds the other: where the second is inside the first, no address is left for it
//! and it is dropped, and where it is outside, the first is the longer prefix.

use std::borrow::Cow;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mppd_engine::Attribute;

use super::access::{logical_lines, split};
use super::{Meaning, Row, Take};
use crate::Table as _;
use crate::networks::Networks;
use crate::reading::Fault;

/// How deep `IF` may stand in `IF`.
const DEEPEST: usize = 32;

/// Hands on networks among which the longest prefix counts.
pub(super) fn read(octets: &[u8], take: &mut Take<'_>) {
    let mut table = Table::default();
    logical_lines(octets, &mut |number, line| {
        let networks = match line.and_then(|line| table.line(number, &line)) {
            Ok(networks) => networks,
            Err(fault) => return take(number, Err(fault)),
        };
        let Some((networks, meaning)) = networks else { return };
        for network in networks {
            take(number, Ok(Row { text: Cow::Owned(network.to_string()), meaning }));
        }
    });
    for Block { number, .. } in table.blocks {
        take(number, Err(Fault::new("this IF has no ENDIF")));
    }
}

/// What has been read so far.
#[derive(Default)]
struct Table {
    /// The networks whose addresses are decided.
    decided: Networks<()>,
    /// The blocks that have begun and not ended.
    blocks: Vec<Block>,
}

/// What stands behind `IF`.
struct Block {
    /// The line where it begins.
    number: usize,
    /// The networks that it is for.
    networks: Vec<IpNet>,
}

impl Table {
    /// The networks that a line decides, with what it says of them.
    fn line(&mut self, number: usize, line: &str) -> Result<Option<(Vec<IpNet>, Meaning)>, Fault> {
        let (first, rest) = split(line);
        if first.eq_ignore_ascii_case("endif") {
            let message = "this ENDIF ends no IF";
            return self.blocks.pop().map(|_| None).ok_or_else(|| Fault::new(message));
        }
        if first.eq_ignore_ascii_case("if") {
            let (pattern, behind) = pattern(rest);
            if !behind.is_empty() {
                return Err(Fault::new(format!("\"{behind}\" stands behind the network of an IF")));
            }
            if self.blocks.len() == DEEPEST {
                return Err(Fault::new(format!("IF stands in more than {DEEPEST} others")));
            }
            // The block begins all the same, so that its ENDIF has an IF.
            let networks = self.networks(pattern);
            let known = networks.as_ref().map(Clone::clone).unwrap_or_default();
            self.blocks.push(Block { number, networks: known });
            return networks.map(|_| None);
        }
        let (pattern, result) = pattern(line);
        let mut networks = self.networks(pattern)?;
        if result.is_empty() {
            return Err(Fault::new(format!("\"{pattern}\" has no result"))
                .with_help("write a network and, behind white space, a result such as OK"));
        }
        networks.retain(|network| self.decided.find_covering(*network).is_none());
        for network in &networks {
            self.decided.insert(*network, ());
        }
        Ok(Some((networks, Meaning::of_result(result))))
    }

    /// The networks that a pattern matches where it stands.
    fn networks(&self, pattern: &str) -> Result<Vec<IpNet>, Fault> {
        let text = pattern.trim_start_matches(is_sign);
        let is_negated = pattern.matches('!').count() % 2 == 1;
        let text = text
            .strip_prefix('[')
            .map_or(Cow::Borrowed(text), |open| open.replacen(']', "", 1).into());
        let network = Networks::<()>::parse(&text, Attribute::ClientAddress)?;
        let networks = if is_negated { complement(network) } else { vec![network] };
        Ok(match self.blocks.last() {
            Some(block) => common(&networks, &block.networks),
            None => networks,
        })
    }
}

/// The pattern, with its signs, and what stands behind it.
fn pattern(line: &str) -> (&str, &str) {
    let signs = line.len() - line.trim_start_matches(is_sign).len();
    let (network, behind) = split(&line[signs..]);
    (&line[..signs + network.len()], behind)
}

fn is_sign(letter: char) -> bool {
    letter == '!' || letter.is_ascii_whitespace()
}

/// All addresses of a network's family but its own.
fn complement(network: IpNet) -> Vec<IpNet> {
    (1..=network.prefix_len()).filter_map(|length| beside(network, length)).collect()
}

/// Of the two halves of the network of the prefix that is shorter by one the other.
fn beside(network: IpNet, length: u8) -> Option<IpNet> {
    match network {
        IpNet::V4(network) => {
            let bit = 1_u32.checked_shl(32 - u32::from(length))?;
            let address = u32::from(network.addr()) ^ bit;
            Ipv4Net::new(address.into(), length).ok().map(|other| IpNet::V4(other.trunc()))
        }
        IpNet::V6(network) => {
            let bit = 1_u128.checked_shl(128 - u32::from(length))?;
            let address = u128::from(network.addr()) ^ bit;
            Ipv6Net::new(address.into(), length).ok().map(|other| IpNet::V6(other.trunc()))
        }
    }
}

/// The addresses that are in one of the first networks and in one of the others.
fn common(networks: &[IpNet], others: &[IpNet]) -> Vec<IpNet> {
    let smaller = |one: &IpNet, other: &IpNet| match (one, other) {
        (one, other) if one.contains(other) => Some(*other),
        (one, other) if other.contains(one) => Some(*one),
        _ => None,
    };
    networks.iter().flat_map(|one| others.iter().filter_map(|other| smaller(one, other))).collect()
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use proptest::prelude::*;

    use super::super::Format;
    use super::super::tests::rows;
    use super::*;

    fn table(text: &str) -> Networks<Meaning> {
        let mut table = Networks::default();
        for (_, row) in rows(Format::Cidr, text) {
            let (network, meaning) = row.unwrap();
            table.insert(network.parse().unwrap(), meaning);
        }
        table
    }

    fn find(table: &Networks<Meaning>, address: &str) -> Option<Meaning> {
        table.find(address.parse().unwrap()).map(|found| *found.value)
    }

    fn faults(text: &str) -> Vec<(usize, String)> {
        let rows = rows(Format::Cidr, text).into_iter();
        rows.filter_map(|(number, row)| Some((number, row.err()?))).collect()
    }

    #[test]
    fn the_first_network_counts() {
        let table = table("192.0.2.0/24 OK\n192.0.2.1 REJECT\n10.0.0.1 REJECT\n10.0.0.0/8 OK");
        assert_eq!(find(&table, "192.0.2.1"), Some(Meaning::Permit));
        assert_eq!(find(&table, "10.0.0.1"), Some(Meaning::Reject));
        assert_eq!(find(&table, "10.0.0.2"), Some(Meaning::Permit));
        assert_eq!(find(&table, "11.0.0.1"), None);
    }

    // What `postmap -q` of Postfix 3.7 says of the same files.
    #[test]
    fn a_sign_turns_a_network_into_all_others_of_its_family() {
        let table = table(
            "!192.0.2.0/24 REJECT outside\nif 192.0.2.0/25\n192.0.2.1 OK\nendif\n\
             192.0.2.0/24 DUNNO\n::/0 450 six",
        );
        for (address, meaning) in [
            ("192.0.2.1", Meaning::Permit),
            ("192.0.2.2", Meaning::Dunno),
            ("192.0.2.200", Meaning::Dunno),
            ("10.0.0.1", Meaning::Reject),
            ("2001:db8::1", Meaning::Reject),
        ] {
            assert_eq!(find(&table, address), Some(meaning), "{address}");
        }
    }

    #[test]
    fn a_block_may_be_for_all_other_addresses() {
        let table = table(
            "IF !192.0.2.0/24\n10.0.0.0/8 OK\n192.0.2.0/25 REJECT\n0.0.0.0/0 DEFER\nENDIF\n\
             [2001:db8::]/32 REJECT\n[2001:db9::/32] OK",
        );
        for (address, meaning) in [
            ("192.0.2.1", None),
            ("10.0.0.1", Some(Meaning::Permit)),
            ("1.1.1.1", Some(Meaning::Reject)),
            ("2001:db8::1", Some(Meaning::Reject)),
            ("2001:db9::1", Some(Meaning::Permit)),
        ] {
            assert_eq!(find(&table, address), meaning, "{address}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_with_its_line() {
        let text =
            "192.0.2.1/24 OK\n192.0.2.1\nexample.org OK\nendif\nif 10.0.0.0/8 x\nif 10.0.0.0/8";
        let expected = [
            (1, "\"192.0.2.1/24\" has bits set behind its prefix"),
            (2, "\"192.0.2.1\" has no result"),
            (3, "\"example.org\" is neither an address nor a network"),
            (4, "this ENDIF ends no IF"),
            (5, "\"x\" stands behind the network of an IF"),
            (6, "this IF has no ENDIF"),
        ];
        assert_eq!(faults(text), expected.map(|(line, text)| (line, text.to_owned())));
    }

    /// A table of a few networks close together, in blocks.
    fn any_line() -> impl Strategy<Value = String> {
        let network = || {
            (0..4_u8, prop_oneof![Just(0_u8), 29..=32_u8]).prop_map(|(host, length)| {
                let address = IpAddr::from([192, 0, 2, host * 2]);
                IpNet::new(address, length).unwrap().trunc().to_string()
            })
        };
        let sign = || prop_oneof![3 => Just(""), 1 => Just("!")];
        let result = prop_oneof![Just("OK"), Just("REJECT"), Just("DUNNO")];
        prop_oneof![
            4 => (sign(), network(), result).prop_map(|(s, n, r)| format!("{s}{n} {r}")),
            1 => (sign(), network()).prop_map(|(s, n)| format!("if {s}{n}")),
            1 => Just("endif".to_owned()),
        ]
    }

    /// What a table says of an address, line by line.
    fn expected(lines: &[String], address: IpAddr) -> Option<Meaning> {
        let matches = |pattern: &str| {
            let network: IpNet = pattern.trim_start_matches('!').parse().unwrap();
            network.contains(&address) != pattern.starts_with('!')
        };
        let mut skipped = 0;
        for line in lines {
            let (first, rest) = line.split_once(' ').unwrap_or((line, ""));
            match first {
                "if" if skipped > 0 || !matches(rest) => skipped += 1,
                "if" => {}
                "endif" => skipped = usize::max(skipped, 1) - 1,
                pattern if skipped == 0 && matches(pattern) => {
                    return Some(Meaning::of_result(rest));
                }
                _ => {}
            }
        }
        None
    }

    proptest! {
        #[test]
        fn the_longest_prefix_says_what_the_first_line_says(
            lines in prop::collection::vec(any_line(), 0..12),
        ) {
            let mut depth = 0;
            let mut lines = lines;
            lines.retain(|line| {
                match line {
                    line if line.starts_with("if") => depth += 1,
                    line if line == "endif" && depth == 0 => return false,
                    line if line == "endif" => depth -= 1,
                    _ => {}
                }
                true
            });
            lines.extend(std::iter::repeat_n("endif".to_owned(), depth));
            let table = table(&lines.join("\n"));
            for host in 0..=9 {
                let address = IpAddr::from([192, 0, 2, host]);
                let found = table.find(address).map(|found| *found.value);
                prop_assert_eq!(found, expected(&lines, address), "{}", address);
            }
        }
    }
}
