//! One list: a table for each matter, over the entries of the configuration and of most files; and
//! tables of its own for each file whose entries have results, since what such a file leaves out is
//! left out of this file only.

use mppd_engine::config::Severity;
use mppd_engine::{Attribute, BuildContext, Finding};
use mppd_lists::clients::Clients;
use mppd_lists::fingerprints::Fingerprints;
use mppd_lists::formats::Meaning;
use mppd_lists::logins::Logins;
use mppd_lists::mailboxes::Mailboxes;
use mppd_lists::names::Names;
use mppd_lists::pairs::Pairs;
use mppd_lists::reading::{EntriesOptions, Fault, Item, Place, Said, read_items};
use mppd_lists::{Found, Shown, Table};

use super::subject::{Matter, Subject};
use super::{ListOptions, Precedence, Side};

/// One list.
#[derive(Debug, Default)]
pub(super) struct List {
    tables: Tables,
    files: Vec<Tables>,
}

/// A table for each matter.
#[derive(Debug, Default)]
struct Tables {
    client: Clients<Standing>,
    reverse_client_name: Names<Standing>,
    helo_name: Names<Standing>,
    sasl_username: Logins<Standing>,
    ccert_fingerprint: Fingerprints<Standing>,
    ccert_pubkey_fingerprint: Fingerprints<Standing>,
    pair: Pairs<Standing>,
    sender: Mailboxes<Standing>,
    recipient: Mailboxes<Standing>,
}

/// Whether an entry says that what it stands for is on the list, or that it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Listed,
    LeftOut,
}

impl Standing {
    /// What an entry of this meaning says where it is read for this list.
    fn of(meaning: Meaning, side: Side) -> Self {
        match (meaning, side) {
            (Meaning::Listed, _)
            | (Meaning::Permit, Side::White)
            | (Meaning::Reject, Side::Black) => Standing::Listed,
            _ => Standing::LeftOut,
        }
    }
}

/// An entry that a request matches.
#[derive(Debug)]
pub(super) struct Hit<'a> {
    pub(super) matter: Matter,
    pub(super) entry: Shown<'a>,
    pub(super) specificity: u32,
}

impl List {
    /// Reads what is configured; warns of what the list that wins over this one has as well.
    pub(super) fn read(
        side: Side,
        options: &[ListOptions],
        winner: Option<(&List, Precedence)>,
        cx: &mut BuildContext<'_>,
        findings: &mut Vec<Finding>,
    ) -> Self {
        let mut list = List::default();
        let winner = winner.map(|(winner, precedence)| (&winner.tables, precedence));
        macro_rules! read_each {
            ($($option:ident: $($field:ident).+, $attribute:ident;)+) => {
                for options in options {
                    $(for options in &options.$option {
                        let mut file = Tables::default();
                        let reading = Reading {
                            side,
                            winner: winner.map(|(winner, precedence)| (&winner.$($field).+, precedence)),
                            table: &mut list.tables.$($field).+,
                            file: &mut file.$($field).+,
                        };
                        let said = reading.run(Attribute::$attribute, options, cx);
                        for finding in said {
                            match finding.severity {
                                Severity::Error => findings.push(finding),
                                Severity::Warning => cx.warn(finding),
                            }
                        }
                        list.keep(file);
                    })+
                }
            };
        }
        read_each! {
            client_address: client.addresses, ClientAddress;
            client_name: client.names, ClientName;
            client: client, ClientAddress;
            reverse_client_name: reverse_client_name, ReverseClientName;
            helo_name: helo_name, HeloName;
            sasl_username: sasl_username, SaslUsername;
            ccert_fingerprint: ccert_fingerprint, CcertFingerprint;
            ccert_pubkey_fingerprint: ccert_pubkey_fingerprint, CcertPubkeyFingerprint;
            sender: sender, Sender;
            recipient: recipient, Recipient;
            pair: pair, Sender;
        }
        list.tables.settle();
        list
    }

    fn keep(&mut self, mut file: Tables) {
        if !file.is_empty() {
            file.settle();
            self.files.push(file);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.tables.is_empty() && self.files.is_empty()
    }

    /// The entry for the first matter of which there is one.
    pub(super) fn find<'a>(&'a self, subject: &'a Subject<'_>) -> Option<Hit<'a>> {
        Matter::ALL.into_iter().find_map(|matter| self.find_of(matter, subject))
    }

    /// The most specific entry for one matter.
    pub(super) fn find_of<'a>(
        &'a self,
        matter: Matter,
        subject: &'a Subject<'_>,
    ) -> Option<Hit<'a>> {
        let mut best: Option<Hit<'a>> = None;
        for tables in [&self.tables].into_iter().chain(&self.files) {
            let Some(found) = tables.find(matter, subject) else { continue };
            let is_better = best.as_ref().is_none_or(|best| found.specificity > best.specificity);
            if *found.value == Standing::Listed && is_better {
                let Found { entry, specificity, .. } = found;
                best = Some(Hit { matter, entry, specificity });
            }
        }
        best
    }
}

impl Tables {
    fn find<'a>(&'a self, matter: Matter, subject: &'a Subject<'_>) -> Option<Found<'a, Standing>> {
        match matter {
            Matter::ClientAddress => self.client.addresses.find(subject.client_address?),
            Matter::ClientName => self.client.names.find(subject.client_name.as_deref()?),
            Matter::ReverseClientName => {
                self.reverse_client_name.find(subject.reverse_client_name.as_deref()?)
            }
            Matter::HeloName => self.helo_name.find(subject.helo_name.as_deref()?),
            Matter::SaslUsername => self.sasl_username.find(subject.sasl_username?),
            Matter::CcertFingerprint => {
                self.ccert_fingerprint.find(subject.ccert_fingerprint.as_ref()?)
            }
            Matter::CcertPubkeyFingerprint => {
                self.ccert_pubkey_fingerprint.find(subject.ccert_pubkey_fingerprint.as_ref()?)
            }
            Matter::Pair => {
                self.pair.find(subject.sender.as_deref()?, subject.recipient.as_deref()?)
            }
            Matter::Sender => self.sender.find(subject.sender.as_deref()?),
            Matter::Recipient => self.recipient.find(subject.recipient.as_deref()?),
        }
    }

    fn is_empty(&self) -> bool {
        self.client.is_empty()
            && self.reverse_client_name.is_empty()
            && self.helo_name.is_empty()
            && self.sasl_username.is_empty()
            && self.ccert_fingerprint.is_empty()
            && self.ccert_pubkey_fingerprint.is_empty()
            && self.pair.is_empty()
            && self.sender.is_empty()
            && self.recipient.is_empty()
    }

    fn settle(&mut self) {
        self.client.settle();
        self.reverse_client_name.settle();
        self.helo_name.settle();
        self.sasl_username.settle();
        self.ccert_fingerprint.settle();
        self.ccert_pubkey_fingerprint.settle();
        self.pair.settle();
        self.sender.settle();
        self.recipient.settle();
    }
}

/// The entries of one element, on their way into a table.
struct Reading<'a, T> {
    side: Side,
    /// The table of the list that wins over this one.
    winner: Option<(&'a T, Precedence)>,
    /// The table for entries without results.
    table: &'a mut T,
    /// The table for those with results, which are all of one file.
    file: &'a mut T,
}

impl<T: Table<Standing>> Reading<'_, T> {
    fn run(
        mut self,
        attribute: Attribute,
        options: &EntriesOptions,
        cx: &mut BuildContext<'_>,
    ) -> Vec<Finding> {
        let has_results = options.format.as_ref().is_some_and(|format| format.value.has_results());
        let mut lost = Said::default();
        let mut listed = 0_usize;
        let mut findings = read_items::<Standing, T>(options, attribute, cx, |item| {
            let Item { entry, text, place, meaning } = item;
            let standing = Standing::of(meaning, self.side);
            listed += usize::from(standing == Standing::Listed);
            if standing == Standing::Listed && self.is_lost(&entry) {
                let message = format!("\"{text}\" is on the white list as well, which wins");
                lost.say(place.finding(Fault::new(message)), place);
            }
            if !(has_results && matches!(place, Place::Line { .. })) {
                self.table.insert(entry, standing);
                return None;
            }
            self.take_result(entry, text, place, meaning, standing)
        });
        let says_nothing = has_results && listed == 0 && findings.is_empty();
        if let Some(format) = options.format.as_ref().filter(|_| says_nothing) {
            let status = self.side.status();
            let message = format!("nothing in this file is for the {status} list");
            findings.push(Finding::warning(format.span, message).with_help(match self.side {
                Side::White => "the result of an entry for it is OK, permit or a number",
                Side::Black => "the result of an entry for it is REJECT, DEFER, 5NN or 4NN",
            }));
        }
        findings.extend(
            lost.into_findings()
                .into_iter()
                .map(|finding| Finding { severity: Severity::Warning, ..finding }),
        );
        findings
    }

    /// Whether the list that wins has the same, so that the entry never counts.
    fn is_lost(&self, entry: &T::Entry) -> bool {
        match self.winner {
            Some((winner, Precedence::White)) => winner.contains(entry),
            Some((winner, Precedence::Specific)) => winner.get(entry).is_some(),
            None => false,
        }
    }

    /// Takes an entry with a result; of equal ones the first counts, as for Postfix.
    fn take_result(
        &mut self,
        entry: T::Entry,
        text: &str,
        place: Place<'_>,
        meaning: Meaning,
        standing: Standing,
    ) -> Option<Finding> {
        if let Some(first) = self.file.get(&entry) {
            let is_other = *first != standing;
            let message = format!("\"{text}\" stands before, where it says something else");
            return is_other.then(|| place.warning(Fault::new(message)));
        }
        self.file.insert(entry, standing);
        let message = format!("the result of \"{text}\" says neither that it is welcome nor not");
        (meaning == Meaning::Other).then(|| {
            place.warning(Fault::new(message).with_help("so it is on neither of the lists"))
        })
    }
}
