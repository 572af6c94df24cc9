//! `<country>`: where the client's address belongs, by country and by network operator.
//!
//! ```xml
//! <country>
//!   <database file="/var/lib/GeoIP/GeoLite2-Country.mmdb"/>
//!   <database file="/var/lib/GeoIP/GeoLite2-ASN.mmdb"/>
//!   <countries>KP AQ</countries>
//!   <as_numbers>AS64496</as_numbers>
//!   <on_listed>score 2</on_listed>
//! </country>
//! ```
//!
//! The databases are files in the format of MaxMind, from whichever supplier. They are read with the
//! configuration and kept in memory. What they say becomes values, and what is on one of the lists
//! is `listed`. Such databases are often right, but never certain, so nothing follows by default.

mod codes;
mod record;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;
use std::sync::Arc;

use ipnet::IpNet;
use maxminddb::{MaxMindDbError, Reader};
use mppd_engine::{
    BuildContext, Engine, Escaped, Exchange, Failure, Finding, Outcome, Spanned, StatusDoc,
    ValueDoc, options,
};

use self::codes::{CONTINENTS, COUNTRIES, MISTAKEN};
use self::record::{Origin, Record};

options! {
    /// `<country>`
    pub(crate) struct CountryOptions {
        /// A database in the format of MaxMind: of countries, cities, or autonomous systems. May
        /// stand several times; what the first does not know is looked up in the next.
        database: Vec<Spanned<DatabaseOptions>> = Vec::new(),
        /// Countries whose clients are `listed`: two letters each (ISO 3166), separated by white
        /// space. May stand several times, as may each of the following.
        countries: Vec<Spanned<String>> = Vec::new(),
        /// Continents whose clients are `listed`: AF, AN (Antarctica), AS, EU, NA, OC, SA.
        continents: Vec<Spanned<String>> = Vec::new(),
        /// Autonomous systems whose clients are `listed`: `AS64496` or `64496`.
        as_numbers: Vec<Spanned<String>> = Vec::new(),
    }
}

options! {
    /// `<database>`
    pub(crate) struct DatabaseOptions {
        /// The file, mostly named `….mmdb`. A new one is read when the configuration is read again.
        file: Spanned<PathBuf>,
    }
}

/// How many networks of a database are looked at to tell whether it is of use at all.
const SAMPLE: usize = 1_000;

/// From where on: the first addresses, and the first that are given to sites of IPv6.
const STARTS: [IpAddr; 2] =
    [IpAddr::V4(Ipv4Addr::UNSPECIFIED), IpAddr::V6(Ipv6Addr::new(0x2000, 0, 0, 0, 0, 0, 0, 0))];

/// What the version of IP is called in a database that has no IPv6.
const IPV4_ONLY: u16 = 4;

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Country {
    plan: Arc<Plan>,
}

#[derive(Debug)]
struct Plan {
    databases: Vec<Database>,
    countries: BTreeSet<&'static str>,
    continents: BTreeSet<&'static str>,
    as_numbers: BTreeSet<u32>,
}

#[derive(Debug)]
struct Database {
    path: PathBuf,
    reader: Reader<Vec<u8>>,
}

impl Engine for Country {
    const NAME: &'static str = "country";
    const SUMMARY: &'static str = "where the client's address belongs: country, network operator";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new(
            "listed",
            "The country, the continent or the autonomous system is on one of the lists.",
            "continue",
        ),
        StatusDoc::new(
            "other",
            "It is known where the address belongs; no list has it.",
            "continue",
        ),
        StatusDoc::new(
            "unknown",
            "No database knows the address, or Postfix does not know it.",
            "continue",
        ),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc { name: "country", meaning: "The country: two letters, such as `DE`." },
        ValueDoc { name: "continent", meaning: "The continent: two letters, such as `EU`." },
        ValueDoc {
            name: "registered_country",
            meaning: "The country in which the network is registered, which can be another one.",
        },
        ValueDoc { name: "asn", meaning: "The number of the autonomous system: `64496`." },
        ValueDoc { name: "organization", meaning: "Who runs the autonomous system." },
        ValueDoc { name: "entry", meaning: "With `listed`, the entry: `DE`, `EU` or `AS64496`." },
    ];
    type Options = CountryOptions;

    fn build(options: CountryOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let countries = codes(&options.countries, "country", COUNTRIES, &mut findings);
        let continents = codes(&options.continents, "continent", CONTINENTS, &mut findings);
        let as_numbers = as_numbers(&options.as_numbers, &mut findings);
        if options.database.is_empty() {
            findings.push(Finding::nowhere("<country> needs a <database>"));
        }
        let read = |options: &Spanned<DatabaseOptions>| {
            Database::read(&options.value, cx).map_err(|finding| findings.push(finding)).ok()
        };
        let databases: Vec<Database> = options.database.iter().filter_map(read).collect();
        if !findings.is_empty() {
            return Err(findings);
        }
        Ok(Country { plan: Arc::new(Plan { databases, countries, continents, as_numbers }) })
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let Some(client) = exchange.request().client_address() else {
            return Ok(Outcome::new("unknown").with_text("the client's address is not known"));
        };
        let origin = self.plan.origin(client)?;
        Ok(self.plan.outcome(client, &origin))
    }
}

impl Plan {
    /// What the databases know, the first of them most trusted.
    fn origin(&self, client: IpAddr) -> Result<Origin<'_>, Failure> {
        let mut origin = Origin::default();
        for database in &self.databases {
            let found = database.find(client).map_err(|error| {
                let path = database.path.display();
                Failure::new(format!("can't look up {client} in {path}")).with_source(error)
            })?;
            origin = origin.or(found);
        }
        Ok(origin)
    }

    fn outcome(&self, client: IpAddr, origin: &Origin<'_>) -> Outcome {
        if origin.is_empty() {
            return Outcome::new("unknown").with_text(format!("nothing is known of {client}"));
        }
        let entry = self.entry(origin);
        let status = if entry.is_some() { "listed" } else { "other" };
        let number = origin.as_number.map(|number| number.to_string());
        Outcome::new(status)
            .with_text(text(client, origin))
            .with_value("country", origin.country.unwrap_or_default())
            .with_value("continent", origin.continent.unwrap_or_default())
            .with_value("registered_country", origin.registered_country.unwrap_or_default())
            .with_value("asn", number.unwrap_or_default())
            .with_value("organization", origin.organization.unwrap_or_default())
            .with_value("entry", entry.unwrap_or_default())
    }

    /// The entry that it is listed by, the narrowest first.
    fn entry(&self, origin: &Origin<'_>) -> Option<String> {
        let number = || origin.as_number.filter(|number| self.as_numbers.contains(number));
        let country = || origin.country.filter(|code| self.countries.contains(code));
        let continent = || origin.continent.filter(|code| self.continents.contains(code));
        number()
            .map(|number| format!("AS{number}"))
            .or_else(|| country().or_else(continent).map(str::to_owned))
    }
}

fn text(client: IpAddr, origin: &Origin<'_>) -> String {
    let shown = |text: &str| Escaped(text.as_bytes()).to_string();
    let place = origin.country.or(origin.continent).map(shown);
    let system = origin.as_number.map(|number| match origin.organization {
        Some(organization) => format!("AS{number} ({})", shown(organization)),
        None => format!("AS{number}"),
    });
    let parts: Vec<String> = place.into_iter().chain(system).collect();
    format!("{client} is in {}", parts.join(", "))
}

impl Database {
    fn read(options: &DatabaseOptions, cx: &BuildContext<'_>) -> Result<Self, Finding> {
        let file = &options.file;
        let path = cx.path(file);
        let bad = |why: String| Finding::error(file.span, format!("{} {why}", path.display()));
        let reader = Reader::from_source(cx.read(file)?).map_err(|error| {
            let finding = bad(format!("is no database in the format of MaxMind: {error}"));
            finding.with_help("it is a file .mmdb, unpacked")
        })?;
        let database = Database { path: path.clone(), reader };
        match database.is_of_use() {
            Ok(true) => Ok(database),
            Ok(false) => {
                let kind = Escaped(database.reader.metadata.database_type.as_bytes());
                let message = format!("knows neither countries nor autonomous systems: \"{kind}\"");
                Err(bad(message).with_help("databases of countries, cities and ASNs do"))
            }
            Err(error) => Err(bad(format!("is damaged: {error}"))),
        }
    }

    /// Whether one of the first networks has what is looked for. They are looked up one behind the
    /// other: each step is bounded, which a walk through the tree of a damaged file is not.
    fn is_of_use(&self) -> Result<bool, MaxMindDbError> {
        for start in STARTS {
            let mut next = Some(start);
            for _ in 0..SAMPLE {
                let Some(address) = next else { break };
                if !self.find(address)?.is_empty() {
                    return Ok(true);
                }
                next = self.behind(address)?;
            }
        }
        Ok(false)
    }

    /// The first address behind the network that an address belongs to, known or not.
    fn behind(&self, address: IpAddr) -> Result<Option<IpAddr>, MaxMindDbError> {
        if address.is_ipv6() && self.reader.metadata.ip_version == IPV4_ONLY {
            return Ok(None);
        }
        let length = self.reader.lookup(address)?.network()?.prefix();
        let last = IpNet::new(address, length).map(|network| network.broadcast());
        Ok(match last {
            Ok(IpAddr::V4(last)) => {
                u32::from(last).checked_add(1).map(|next| IpAddr::V4(next.into()))
            }
            Ok(IpAddr::V6(last)) => {
                u128::from(last).checked_add(1).map(|next| IpAddr::V6(next.into()))
            }
            Err(_) => None,
        })
    }

    fn find(&self, client: IpAddr) -> Result<Origin<'_>, MaxMindDbError> {
        if client.is_ipv6() && self.reader.metadata.ip_version == IPV4_ONLY {
            return Ok(Origin::default());
        }
        let record: Option<Record<'_>> = self.reader.lookup(client)?.decode()?;
        Ok(record.map(Origin::from).unwrap_or_default())
    }
}

/// The words of some lists that are codes; says which are none.
fn codes(
    lists: &[Spanned<String>],
    what: &str,
    known: &'static [&'static str],
    findings: &mut Vec<Finding>,
) -> BTreeSet<&'static str> {
    let mut codes = BTreeSet::new();
    for word in lists.iter().flat_map(Spanned::words) {
        let code = word.value.to_ascii_uppercase();
        if let Some(code) = known.iter().find(|known| **known == code) {
            codes.insert(*code);
            continue;
        }
        let message = format!("\"{}\" is not the code of a {what}", word.value);
        let finding = Finding::error(word.span, message);
        let meant = MISTAKEN.iter().find(|(wrong, _)| *wrong == code);
        findings.push(match meant {
            Some((_, meant)) => finding.with_help(format!("did you mean \"{meant}\"?")),
            None => finding.with_help(format!("a {what} has two letters, such as {}", known[0])),
        });
    }
    codes
}

fn as_numbers(lists: &[Spanned<String>], findings: &mut Vec<Finding>) -> BTreeSet<u32> {
    let mut numbers = BTreeSet::new();
    for word in lists.iter().flat_map(Spanned::words) {
        let upper = word.value.to_ascii_uppercase();
        if let Ok(number) = upper.strip_prefix("AS").unwrap_or(&upper).parse() {
            numbers.insert(number);
            continue;
        }
        let message = format!("\"{}\" is not an autonomous system", word.value);
        let finding = Finding::error(word.span, message);
        findings.push(finding.with_help("write AS64496 or 64496"));
    }
    numbers
}
