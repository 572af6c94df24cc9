//! The options of `<rbl>`, and the lists that they make.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use mppd_database::SecretOptions;
use mppd_database::connection::reveal;
use mppd_dns::Name;
use mppd_engine::config::{Period, Positive};
use mppd_engine::{Attribute, BuildContext, Finding, OptionValue, Score, Span, Spanned, options};
use mppd_lists::Table;
use mppd_lists::names::NameEntry;
use mppd_lists::networks::Networks;
use serde::de::{Deserialize, Deserializer, Error as _};

use super::health::Health;
use super::list::{List, Meaning, Role, Tests, Zone};
use super::reply::Pattern;
use super::subject::Of;

options! {
    /// `<rbl>`
    pub(crate) struct RblOptions {
        /// A list of what is not welcome. May stand several times.
        list: Vec<Spanned<ListOptions>> = Vec::new(),
        /// A list of what is welcome: whatever it has is `allowed`, whoever lists it. May stand
        /// several times.
        allow: Vec<Spanned<AllowOptions>> = Vec::new(),
        /// The score at which a request is `listed`: the weights of all that list something of it,
        /// added up; 1 unless given.
        threshold: Option<Spanned<Weight>> = None,
        /// How long to wait for all answers. A list that has not answered by then has failed. Where
        /// the engine's `timeout` is shorter, that comes first, and is an exception.
        time_limit: Positive<Period> = Positive(Period::seconds(3)),
        /// Networks of clients whose addresses no list is asked about. Private and reserved ones
        /// unless given; none if it is empty.
        skip: Option<Vec<Spanned<String>>> = None,
        /// Whether nothing is asked about clients that have logged in (SASL).
        skip_authenticated: bool = true,
        /// How many times in a row a list may fail before it is suspended. Requests that wait for
        /// it at the same time count once.
        suspend_after: Positive<u32> = Positive(5),
        /// How long a suspended list is not asked. After that one request tries it for all.
        suspend_for: Positive<Period> = Positive(Period::seconds(300)),
    }
}

options! {
    /// `<list>`
    pub(crate) struct ListOptions {
        /// The zone of the list, such as `bl.example.org`.
        zone: Spanned<String>,
        /// How the list is called in texts and records; the zone unless given.
        name: Option<String> = None,
        /// A key that the operator of the list gave to this site. It is put in front of the zone
        /// as a label of its own, and never logged or shown.
        secret: Option<Spanned<SecretOptions>> = None,
        /// What the list is asked about.
        of: Of = Of::ClientAddress,
        /// What a listing adds to the score: a number with up to three decimals, which may be
        /// negative.
        weight: Weight = Weight::ONE,
        /// What the list must reply. May stand several times, each with a weight of its own; of
        /// those that one answer has each counts once. Any address of 127.0.0.0/8 unless given.
        reply: Vec<ReplyOptions> = Vec::new(),
        /// Replies by which the list says that it does not answer. `127.255.255.0/24`, and what is
        /// not in `127.0.0.0/8`, are never listings anyway. `127.0.0.1 127.0.0.255` unless given,
        /// without those that stand in `reply` one by one.
        error_reply: Option<Spanned<String>> = None,
        /// What is given as the reason instead of what the list says, which is not asked for then.
        reason: Option<String> = None,
        /// Whether a name is asked about as the domain that was registered, which the public
        /// suffix list tells: `example.co.uk` for `mail.example.co.uk`.
        registrable: bool = false,
        /// Whether a listing counts only if the list does not also have what nobody has: 127.0.0.1,
        /// or the name `invalid` (RFC 5782).
        test: bool = true,
    }
}

options! {
    /// `<reply>`
    pub(crate) struct ReplyOptions {
        /// Addresses, separated by white space: `127.0.0.2`, `127.0.0.[4..7;10]`, `127.0.0.0/24`,
        /// or `127.0.0.[bits:6]` for each with a bit of the mask 6.
        ["$text"] patterns: Spanned<String>,
        /// What such a reply adds to the score; the weight of the list unless given.
        weight: Option<Weight> = None,
        /// What is given as the reason instead of what the list says.
        reason: Option<String> = None,
    }
}

options! {
    /// `<allow>`
    pub(crate) struct AllowOptions {
        /// The zone of the list.
        zone: Spanned<String>,
        /// How the list is called in texts and records; the zone unless given.
        name: Option<String> = None,
        /// A key that the operator of the list gave to this site, as in `list`.
        secret: Option<Spanned<SecretOptions>> = None,
        /// What the list is asked about.
        of: Of = Of::ClientAddress,
        /// What the list must reply, as in `list`. May stand several times.
        reply: Vec<Spanned<String>> = Vec::new(),
        /// Replies by which the list says that it does not answer, as in `list`.
        error_reply: Option<Spanned<String>> = None,
        /// Whether a name is asked about as the domain that was registered, as in `list`.
        registrable: bool = false,
        /// Whether a listing counts only if the list does not also have what nobody has, as in
        /// `list`.
        test: bool = true,
    }
}

/// A number with up to three decimals, of a size that lets a thousand of them be added up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Weight(pub(super) Score);

const GREATEST: u64 = 1_000_000_000;

impl Weight {
    pub(super) const ONE: Weight = Weight(Score(1_000));
}

impl<'de> Deserialize<'de> for Weight {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let score: Score = text.trim().parse().map_err(D::Error::custom)?;
        match score.0.unsigned_abs() {
            0 => Err(D::Error::custom("0 makes no sense here")),
            1..=GREATEST => Ok(Weight(score)),
            _ => Err(D::Error::custom(format_args!("{score} is too large"))),
        }
    }
}

impl OptionValue for Weight {
    const TYPE: &'static str = "a number with up to three decimals";

    fn show(&self) -> String {
        self.0.to_string()
    }
}

/// What several lists answer to those whom they do not answer.
const USUAL_ERRORS: [Ipv4Addr; 2] = [Ipv4Addr::LOCALHOST, Ipv4Addr::new(127, 0, 0, 255)];

/// Networks about whose addresses no public list can know anything (IANA's registries of special
/// addresses), without those for examples in documentation.
const SPECIAL_V4: [Ipv4Net; 12] = [
    v4([0, 0, 0, 0], 8),
    v4([10, 0, 0, 0], 8),
    v4([100, 64, 0, 0], 10),
    v4([127, 0, 0, 0], 8),
    v4([169, 254, 0, 0], 16),
    v4([172, 16, 0, 0], 12),
    v4([192, 0, 0, 0], 24),
    v4([192, 168, 0, 0], 16),
    v4([198, 18, 0, 0], 15),
    v4([224, 0, 0, 0], 4),
    v4([240, 0, 0, 0], 4),
    v4([255, 255, 255, 255], 32),
];

const SPECIAL_V6: [Ipv6Net; 6] = [
    v6(0, 0, 127),
    v6(0x0100, 0, 64),
    v6(0xfc00, 0, 7),
    v6(0xfe80, 0, 10),
    v6(0xfec0, 0, 10),
    v6(0xff00, 0, 8),
];

const fn v4([a, b, c, d]: [u8; 4], length: u8) -> Ipv4Net {
    Ipv4Net::new_assert(Ipv4Addr::new(a, b, c, d), length)
}

const fn v6(first: u16, second: u16, length: u8) -> Ipv6Net {
    Ipv6Net::new_assert(Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, 0), length)
}

/// The networks that are not asked about.
pub(super) fn skipped(
    written: Option<&Vec<Spanned<String>>>,
    findings: &mut Vec<Finding>,
) -> Vec<IpNet> {
    let Some(written) = written else {
        let special_v4 = SPECIAL_V4.into_iter().map(IpNet::from);
        return special_v4.chain(SPECIAL_V6.into_iter().map(IpNet::from)).collect();
    };
    let mut networks = Vec::new();
    for word in written.iter().flat_map(Spanned::words) {
        match <Networks<()> as Table<()>>::parse(word.value, Attribute::ClientAddress) {
            Ok(network) => networks.push(network),
            Err(fault) => {
                let finding = Finding::error(word.span, fault.message);
                findings.push(match fault.help {
                    Some(help) => finding.with_help(help),
                    None => finding,
                });
            }
        }
    }
    networks
}

/// Every list of an element, block lists first.
pub(super) fn lists(
    options: &RblOptions,
    cx: &mut BuildContext<'_>,
    findings: &mut Vec<Finding>,
) -> Vec<Arc<List>> {
    let mut read = Reading { cx, findings, lists: Vec::new(), places: Vec::new() };
    for list in &options.list {
        read.block(list);
    }
    for list in &options.allow {
        read.allow(list);
    }
    read.lists
}

struct Reading<'r, 'c> {
    cx: &'r mut BuildContext<'c>,
    findings: &'r mut Vec<Finding>,
    lists: Vec<Arc<List>>,
    /// Where the zones of the lists stand.
    places: Vec<Span>,
}

/// What a `<list>` and an `<allow>` have in common.
struct Common<'o> {
    zone: &'o Spanned<String>,
    name: Option<&'o String>,
    secret: Option<&'o Spanned<SecretOptions>>,
    of: Of,
    error_reply: Option<&'o Spanned<String>>,
    registrable: bool,
    test: bool,
}

impl Reading<'_, '_> {
    fn block(&mut self, list: &Spanned<ListOptions>) {
        let options = &list.value;
        let mut meanings: Vec<Meaning> = Vec::new();
        for reply in &options.reply {
            meanings.push(Meaning {
                patterns: Pattern::read_all(&reply.patterns, self.findings),
                weight: reply.weight.unwrap_or(options.weight).0,
                reason: reply.reason.clone().or_else(|| options.reason.clone()),
            });
        }
        if meanings.is_empty() {
            meanings.push(Meaning {
                patterns: vec![Pattern::any()],
                weight: options.weight.0,
                reason: options.reason.clone(),
            });
        }
        let common = Common {
            zone: &options.zone,
            name: options.name.as_ref(),
            secret: options.secret.as_ref(),
            of: options.of,
            error_reply: options.error_reply.as_ref(),
            registrable: options.registrable,
            test: options.test,
        };
        self.list(&common, Role::Block, meanings, list.span);
    }

    fn allow(&mut self, list: &Spanned<AllowOptions>) {
        let options = &list.value;
        let mut patterns = Vec::new();
        for reply in &options.reply {
            patterns.extend(Pattern::read_all(reply, self.findings));
        }
        if options.reply.is_empty() {
            patterns.push(Pattern::any());
        }
        let common = Common {
            zone: &options.zone,
            name: options.name.as_ref(),
            secret: options.secret.as_ref(),
            of: options.of,
            error_reply: options.error_reply.as_ref(),
            registrable: options.registrable,
            test: options.test,
        };
        let meaning = Meaning { patterns, weight: Weight::ONE.0, reason: None };
        self.list(&common, Role::Allow, vec![meaning], list.span);
    }

    fn list(&mut self, common: &Common<'_>, role: Role, meanings: Vec<Meaning>, place: Span) {
        let errors = self.errors(common, &meanings);
        if common.registrable && common.of == Of::ClientAddress {
            let message = "an address has no registrable domain";
            let finding = Finding::error(place, message);
            self.findings
                .push(finding.with_help("say what name the list is asked about: of=\"…\""));
        }
        let Some(zone) = self.zone(common) else { return };
        let is_same = |list: &&Arc<List>| {
            (list.role, list.of, &list.zone.name) == (role, common.of, &zone.name)
        };
        if let Some(at) = self.lists.iter().position(|list| is_same(&list)) {
            let (site, word) = (common.zone.value.trim(), common.of.word());
            let message = format!("the list {site} is asked about {word} twice");
            let finding = Finding::error(common.zone.span, message);
            self.findings.push(finding.with_related(self.places[at], "the first"));
            return;
        }
        let name = common.name.map(|name| name.trim()).filter(|name| !name.is_empty());
        self.places.push(common.zone.span);
        self.lists.push(Arc::new(List {
            site: name.unwrap_or(common.zone.value.trim()).trim_end_matches('.').to_owned(),
            role,
            of: common.of,
            registrable: common.registrable,
            meanings,
            errors,
            tests: common.test.then(|| Tests::of(&zone.name)).flatten(),
            health: Health::default(),
            zone,
        }));
    }

    /// Replies by which the list says that it does not answer. Of the usual ones, those that are
    /// configured as replies of this list mean what they mean there.
    fn errors(&mut self, common: &Common<'_>, meanings: &[Meaning]) -> Vec<Pattern> {
        let is_reply =
            |error: &Pattern| meanings.iter().any(|meaning| meaning.patterns.contains(error));
        let Some(written) = common.error_reply else {
            return USUAL_ERRORS.map(Pattern::one).into_iter().filter(|it| !is_reply(it)).collect();
        };
        let errors = Pattern::read_all(written, self.findings);
        if errors.iter().any(is_reply) {
            let message = "the same stands in \"reply\", and would never be a listing";
            self.findings.push(Finding::error(written.span, message));
        }
        errors
    }

    /// Where the list is asked; `None` where that is at fault.
    fn zone(&mut self, common: &Common<'_>) -> Option<Zone> {
        let secret = match common.secret.map(|secret| reveal(secret, self.cx)) {
            None => None,
            Some(Ok(secret)) => Some(secret.reveal().trim().to_owned()),
            Some(Err(finding)) => {
                self.findings.push(finding);
                return None;
            }
        };
        let written = common.zone.value.trim();
        let Ok(entry) = NameEntry::parse_exact(written, written) else {
            let message = format!("\"{written}\" is not the name of a zone");
            let finding = Finding::error(common.zone.span, message);
            self.findings.push(finding.with_help("expected a name such as bl.example.org"));
            return None;
        };
        let zone = Name::parse(&entry.into_name()).ok()?;
        let name = match &secret {
            None => Ok(zone),
            Some(secret) => zone.with_labels(secret.as_bytes()),
        };
        let is_letter = |octet: u8| octet.is_ascii_alphanumeric() || b"-_.".contains(&octet);
        let is_label = secret.as_ref().is_none_or(|secret| secret.bytes().all(is_letter));
        let (Ok(name), true) = (name, is_label) else {
            let place = common.secret.map_or(common.zone.span, |secret| secret.span);
            let message = "the secret is not a label of a domain name";
            self.findings.push(Finding::error(place, message));
            return None;
        };
        let longest = mppd_dns::reversed(Ipv6Addr::UNSPECIFIED.into());
        if name.with_labels(longest.as_bytes()).is_err() {
            let message = format!("\"{written}\" is too long for IPv6 addresses in front of it");
            self.findings.push(Finding::error(common.zone.span, message));
            return None;
        }
        Some(Zone { name, secret })
    }
}
