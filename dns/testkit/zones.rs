//! Zones that a test writes.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use crate::answer::{Answer, Question, Record, RecordKind, TemporaryFailure};
use crate::name::Name;
use crate::{Lookup, Pending};

/// Most aliases that lead to a name.
const LONGEST_CHAIN: usize = 8;

/// What can be wrong with the answers for a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// None ever comes.
    Silence,
    /// The first question is answered after so many milliseconds, no other one ever.
    Late(u16),
    /// SERVFAIL.
    ServerFailure,
    /// REFUSED.
    Refused,
    /// They are cut, over TCP too.
    Truncated,
    /// They are octets without sense.
    Garbage,
    /// They belong to another question.
    OtherQuestion,
    /// They bear another number than the question.
    OtherNumber,
    /// They say that the name is an alias of one that is an alias of it.
    Loop,
}

/// Names with their records. What is not written does not exist, except that every name above one
/// that is written exists without records.
#[derive(Debug, Clone, Default)]
pub struct Zones {
    records: BTreeMap<Name, Vec<Record>>,
    aliases: BTreeMap<Name, Name>,
    faults: BTreeMap<(Name, Option<RecordKind>), Fault>,
    names: BTreeSet<Name>,
}

#[track_caller]
fn name(text: &str) -> Name {
    Name::parse(text.as_bytes()).expect("a domain name")
}

impl Zones {
    /// Reads lines `NAME TYPE VALUE`: `TXT` with the text as it is, `A`, `AAAA`, `MX` with
    /// preference and name, `PTR` of an address as `NAME`, `CNAME`, and the faults `SERVFAIL` and
    /// `SILENCE` without a value. Empty lines, and those that begin with `#`, are left out.
    #[must_use]
    #[track_caller]
    pub fn read(text: &str) -> Self {
        let lines = text.lines().map(str::trim);
        let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.fold(Zones::default(), Zones::line)
    }

    #[track_caller]
    fn line(self, line: &str) -> Self {
        let (of, rest) = line.split_once(' ').expect("NAME TYPE VALUE");
        let rest = rest.trim_start();
        let (kind, value) = rest.split_once(' ').unwrap_or((rest, ""));
        let value = value.trim_start();
        match kind {
            "TXT" => self.txt(of, value),
            "A" => self.a(of, value),
            "AAAA" => self.aaaa(of, value),
            "MX" => {
                let (preference, exchange) =
                    value.split_once(' ').expect("a preference and a name");
                self.mx(of, preference.parse().expect("a preference"), exchange.trim())
            }
            "PTR" => self.ptr(of, value),
            "CNAME" => self.alias(of, value),
            "SERVFAIL" => self.fault(of, Fault::ServerFailure),
            "SILENCE" => self.fault(of, Fault::Silence),
            other => panic!("\"{other}\" is no type of records"),
        }
    }

    /// With a text.
    #[must_use]
    #[track_caller]
    pub fn txt(self, of: &str, text: impl AsRef<[u8]>) -> Self {
        self.record(of, Record::Txt(text.as_ref().into()))
    }

    /// With an IPv4 address.
    #[must_use]
    #[track_caller]
    pub fn a(self, of: &str, address: &str) -> Self {
        self.record(of, Record::A(address.parse().expect("an IPv4 address")))
    }

    /// With an IPv6 address.
    #[must_use]
    #[track_caller]
    pub fn aaaa(self, of: &str, address: &str) -> Self {
        self.record(of, Record::Aaaa(address.parse().expect("an IPv6 address")))
    }

    /// With a mail exchanger; `.` takes no mail.
    #[must_use]
    #[track_caller]
    pub fn mx(self, of: &str, preference: u16, exchange: &str) -> Self {
        let exchange = if exchange == "." { Name::root() } else { name(exchange) };
        self.record(of, Record::Mx { preference, exchange })
    }

    /// With a name for an address.
    #[must_use]
    #[track_caller]
    pub fn ptr(self, address: &str, of: &str) -> Self {
        let address = address.parse().expect("an address");
        let record = Record::Ptr(name(of));
        self.record_of(Name::reverse(address), record)
    }

    /// With any record.
    #[must_use]
    #[track_caller]
    pub fn record(self, of: &str, record: Record) -> Self {
        self.record_of(name(of), record)
    }

    /// With any record of a name that is one already.
    #[must_use]
    pub fn record_of(mut self, of: Name, record: Record) -> Self {
        self.note(&of);
        self.records.entry(of).or_default().push(record);
        self
    }

    /// With one name that is another (CNAME).
    #[must_use]
    #[track_caller]
    pub fn alias(mut self, of: &str, to: &str) -> Self {
        self.note(&name(of));
        self.aliases.insert(name(of), name(to));
        self
    }

    /// With a fault in all answers for a name.
    #[must_use]
    #[track_caller]
    pub fn fault(mut self, of: &str, fault: Fault) -> Self {
        self.note(&name(of));
        self.faults.insert((name(of), None), fault);
        self
    }

    /// With a fault in the answers for records of one type.
    #[must_use]
    #[track_caller]
    pub fn fault_for(mut self, of: &str, kind: RecordKind, fault: Fault) -> Self {
        self.note(&name(of));
        self.faults.insert((name(of), Some(kind)), fault);
        self
    }

    /// Every name above a name exists.
    fn note(&mut self, of: &Name) {
        let text = of.as_bytes();
        let dots = text.iter().enumerate().filter(|(_, octet)| **octet == b'.');
        let above = dots.filter_map(|(at, _)| Name::parse(&text[at + 1..]).ok());
        self.names.extend(above);
        self.names.insert(of.clone());
    }

    /// The fault of a name, or of what it is an alias of.
    pub(super) fn fault_of(&self, question: &Question) -> Option<Fault> {
        let Ok(name) = self.resolve(&question.name) else { return Some(Fault::ServerFailure) };
        let for_all = self.faults.get(&(name.clone(), None));
        let for_this = || self.faults.get(&(name.clone(), Some(question.kind)));
        for_all.or_else(for_this).copied()
    }

    /// What a name is in the end.
    pub(super) fn resolve(&self, name: &Name) -> Result<Name, TemporaryFailure> {
        let chain = self.chain(name)?;
        Ok(chain.last().unwrap_or(name).clone())
    }

    /// The names that one leads to, each an alias of the next; none where it is no alias.
    pub(super) fn chain(&self, name: &Name) -> Result<Vec<Name>, TemporaryFailure> {
        let mut chain = Vec::new();
        let mut name = name;
        while let Some(next) = self.aliases.get(name) {
            if chain.len() > LONGEST_CHAIN {
                return Err(TemporaryFailure::Refused("Server Failure".to_owned()));
            }
            chain.push(next.clone());
            name = next;
        }
        Ok(chain)
    }

    /// What a resolver would come to, faults left aside.
    pub(super) fn answer(&self, question: &Question) -> Answer {
        let name = match self.resolve(&question.name) {
            Ok(name) => name,
            Err(failure) => return Answer::Temporary(failure),
        };
        if !self.names.contains(&name) {
            return Answer::NoSuchName;
        }
        let records = self.records.get(&name).map(Vec::as_slice).unwrap_or_default();
        let records = records.iter().filter(|record| record.kind() == question.kind);
        Answer::of(records.cloned().collect())
    }
}

impl Lookup for Zones {
    fn at_hand(&self, question: &Question) -> Option<Answer> {
        let failure = match self.fault_of(question) {
            None => return Some(self.answer(question)),
            Some(Fault::Silence | Fault::Late(_) | Fault::OtherQuestion | Fault::OtherNumber) => {
                TemporaryFailure::TimedOut
            }
            Some(Fault::ServerFailure) => TemporaryFailure::Refused("Server Failure".to_owned()),
            Some(Fault::Refused) => TemporaryFailure::Refused("Query Refused".to_owned()),
            Some(Fault::Truncated | Fault::Garbage | Fault::Loop) => {
                TemporaryFailure::Failed("no answer that can be read".to_owned())
            }
        };
        Some(Answer::Temporary(failure))
    }

    fn look_up(&self, question: Question, _: Instant) -> Pending {
        let failure = Answer::Temporary(TemporaryFailure::TimedOut);
        let answer = self.at_hand(&question).unwrap_or(failure);
        Box::pin(std::future::ready(answer))
    }
}
