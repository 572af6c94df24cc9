//! All that is kept for one key, in one record, so that all of it changes in one step: what each
//! limit has counted, which messages were counted last, and how long the key is blacklisted.

use std::sync::Arc;

use jiff::Timestamp;
use mppd_state::{Change, Reader, Record, Writer};

use super::meter::{Measure, Meter, Rule};

/// How many of the last messages are known again.
const KNOWN: usize = 32;

/// How long they are known at least, in milliseconds: as long as Postfix may ask again.
const KNOWN_FOR: u64 = 600_000;

/// What is asked of an account.
#[derive(Debug, Clone)]
pub(super) struct Ask {
    pub(super) rules: Arc<[Rule]>,
    pub(super) amount: u64,
    /// What tells the message from others, where that can be told.
    pub(super) token: Option<Token>,
    /// Milliseconds since 1970.
    pub(super) now: u64,
    pub(super) terms: Terms,
}

/// What holds for all keys of an engine.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Terms {
    /// Whether what is refused counts as well.
    pub(super) count_refused: bool,
    /// At how many percent of a limit there is a warning.
    pub(super) near: Option<u8>,
    pub(super) blacklist: Option<Blacklist>,
}

/// When a key is blacklisted, and for how long.
#[derive(Debug, Clone, Copy)]
pub(super) struct Blacklist {
    /// Milliseconds.
    pub(super) lasting: u64,
    /// After so many refusals,
    pub(super) after: u64,
    /// in so many milliseconds.
    pub(super) within: u64,
}

/// What tells a message, or a recipient of it, from others: a hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token(u64);

impl Token {
    /// The lowest bit is kept free for what became of it.
    const REFUSED: u64 = 1;

    pub(super) fn new(hash: u64) -> Self {
        Token(hash & !Token::REFUSED)
    }
}

/// What an account answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It was counted; the reading is that of the limit with the least left.
    Under(Reading),
    /// The same, and a limit's count has just come near to its end: the reading is that one's.
    Near(Reading),
    /// A limit refuses it: the one that does so for longest.
    Over(Reading),
    /// The key is blacklisted for so many milliseconds.
    Blacklisted(u64),
}

/// What a limit has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// Which of the rules.
    pub(super) rule: usize,
    pub(super) count: u64,
    /// How many milliseconds it is until the same may pass.
    pub(super) wait: u64,
}

/// What one limit has counted, and what it was when it last did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Counter {
    pub(super) meter: Meter,
    pub(super) max: u64,
    pub(super) burst: u64,
}

/// What is kept for one key.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Account {
    /// Until when it is blacklisted; 0 if it is not.
    pub(super) blacklisted_until: u64,
    /// When it was refused, oldest first.
    strikes: Vec<u64>,
    /// The tokens of the messages that were counted or refused last, oldest first, each as it is
    /// written: most requests only carry them from one record to the next.
    known: Vec<[u8; 8]>,
    pub(super) counters: Vec<Counter>,
}

impl Account {
    /// Counts a request, or refuses to.
    pub(super) fn judge(mut self, ask: &Ask) -> Change<Account, Verdict> {
        self.advance(ask);
        if let Some(verdict) = self.again(ask) {
            return Change::Keep(verdict);
        }
        if self.blacklisted_until > ask.now {
            return Change::Keep(Verdict::Blacklisted(self.blacklisted_until - ask.now));
        }
        let verdict = match self.refusal(ask) {
            Some(reading) => self.refuse(ask, reading),
            None => self.count(ask),
        };
        match Timestamp::from_millisecond(i64::try_from(self.until(ask)).unwrap_or(i64::MAX)) {
            Ok(until) => Change::Put(self, until, verdict),
            // Past the year 9999 there is no time; for ever is as good.
            Err(_) => Change::Put(self, Timestamp::MAX, verdict),
        }
    }

    /// Brings the counters in line with the rules, and forgets what is past. What a limit has
    /// counted that is still there goes on to count, whatever else has been configured anew.
    fn advance(&mut self, ask: &Ask) {
        let mut counters = Vec::with_capacity(ask.rules.len());
        for rule in ask.rules.iter() {
            let found = self.counters.iter().position(|old| old.meter.is_of(rule.measure));
            let mut meter = match found {
                Some(index) => self.counters.swap_remove(index).meter,
                None => Meter::new(rule.measure, ask.now),
            };
            meter.advance(rule, ask.now);
            counters.push(Counter { meter, max: rule.max, burst: rule.burst });
        }
        self.counters = counters;
        if let Some(blacklist) = &ask.terms.blacklist {
            self.strikes.retain(|at| at.saturating_add(blacklist.within) > ask.now);
        }
    }

    /// What was said about the same message before, if it is known.
    fn again(&self, ask: &Ask) -> Option<Verdict> {
        let token = ask.token?;
        let known = self.known.iter().map(|known| u64::from_be_bytes(*known));
        let known = known.rev().find(|known| Token::new(*known) == token)?;
        if known & Token::REFUSED == 0 {
            return Some(Verdict::Under(self.least_left(ask)));
        }
        if self.blacklisted_until > ask.now {
            return Some(Verdict::Blacklisted(self.blacklisted_until - ask.now));
        }
        Some(Verdict::Over(self.refusal(ask).unwrap_or_else(|| self.least_left(ask))))
    }

    /// The limit that refuses for longest, if one does.
    fn refusal(&self, ask: &Ask) -> Option<Reading> {
        let readings = self.active(ask).map(|(index, rule, meter)| Reading {
            rule: index,
            count: meter.count(),
            wait: meter.wait(rule, ask.amount, ask.now),
        });
        readings.filter(|reading| reading.wait > 0).max_by_key(|reading| reading.wait)
    }

    fn refuse(&mut self, ask: &Ask, reading: Reading) -> Verdict {
        self.remember(ask, Token::REFUSED);
        if ask.terms.count_refused {
            self.add(ask);
        }
        let Some(blacklist) = ask.terms.blacklist else { return Verdict::Over(reading) };
        self.strikes.push(ask.now);
        if (self.strikes.len() as u64) < blacklist.after {
            return Verdict::Over(reading);
        }
        self.strikes.clear();
        self.blacklisted_until = ask.now.saturating_add(blacklist.lasting);
        Verdict::Blacklisted(blacklist.lasting)
    }

    fn count(&mut self, ask: &Ask) -> Verdict {
        self.remember(ask, 0);
        let near = ask.terms.near.and_then(|percent| self.comes_near(ask, percent));
        self.add(ask);
        match near {
            Some(rule) => Verdict::Near(self.reading(rule)),
            None => Verdict::Under(self.least_left(ask)),
        }
    }

    /// The first limit whose count this request takes to so many percent.
    fn comes_near(&self, ask: &Ask, percent: u8) -> Option<usize> {
        let is_near = |count: u64, rule: &Rule| {
            u128::from(count) * 100 >= u128::from(rule.capacity()) * u128::from(percent)
        };
        let mut active = self.active(ask);
        let comes = |(_, rule, meter): &(usize, &Rule, &Meter)| {
            let count = meter.count();
            !is_near(count, rule) && is_near(count.saturating_add(ask.amount), rule)
        };
        active.find(comes).map(|(index, ..)| index)
    }

    fn add(&mut self, ask: &Ask) {
        for (rule, counter) in ask.rules.iter().zip(&mut self.counters) {
            if !rule.is_unlimited() {
                counter.meter.add(rule, ask.amount, ask.now);
            }
        }
    }

    fn remember(&mut self, ask: &Ask, what: u64) {
        let Some(Token(token)) = ask.token else { return };
        if self.known.len() >= KNOWN {
            self.known.drain(..=self.known.len() - KNOWN);
        }
        self.known.push((token | what).to_be_bytes());
    }

    /// The limits that there are, with what they have counted.
    fn active<'a>(&'a self, ask: &'a Ask) -> impl Iterator<Item = (usize, &'a Rule, &'a Meter)> {
        let all = ask.rules.iter().zip(&self.counters).enumerate();
        let active = all.filter(|(_, (rule, _))| !rule.is_unlimited());
        active.map(|(index, (rule, counter))| (index, rule, &counter.meter))
    }

    fn reading(&self, rule: usize) -> Reading {
        let count = self.counters.get(rule).map_or(0, |counter| counter.meter.count());
        Reading { rule, count, wait: 0 }
    }

    /// The limit of which the largest share is used up.
    fn least_left(&self, ask: &Ask) -> Reading {
        let mut least: Option<(Reading, u64)> = None;
        for (rule, limit, meter) in self.active(ask) {
            let (count, capacity) = (meter.count(), limit.capacity());
            let is_less = |(least, whole): &(Reading, u64)| {
                u128::from(count) * u128::from(*whole)
                    > u128::from(least.count) * u128::from(capacity)
            };
            if least.as_ref().is_none_or(is_less) {
                least = Some((Reading { rule, count, wait: 0 }, capacity));
            }
        }
        least.map_or(Reading { rule: 0, count: 0, wait: 0 }, |(reading, _)| reading)
    }

    /// When nothing of this counts any more.
    fn until(&self, ask: &Ask) -> u64 {
        let meters = self.active(ask).map(|(_, rule, meter)| meter.until(rule, ask.now));
        let within = ask.terms.blacklist.map_or(0, |blacklist| blacklist.within);
        let strikes = self.strikes.last().map_or(0, |last| last.saturating_add(within));
        let others = [self.blacklisted_until, strikes, ask.now.saturating_add(KNOWN_FOR)];
        meters.chain(others).max().unwrap_or(ask.now)
    }
}

impl Counter {
    /// The rule by which it counts, as it was when it last did.
    pub(super) fn rule(&self) -> Rule {
        let measure = match self.meter {
            Meter::Sliding { per, .. } => Measure::Sliding { per },
            Meter::Bucket { per, .. } => Measure::Bucket { per },
            Meter::Calendar { unit, start, end, .. } => Measure::Calendar { unit, start, end },
        };
        Rule { measure, max: self.max, burst: self.burst }
    }
}

impl Record for Account {
    const KIND: u8 = b'T';

    fn expected_size(&self) -> usize {
        let counters: usize =
            self.counters.iter().map(|counter| counter.meter.expected_size()).sum();
        64 + self.known.as_flattened().len() + self.strikes.len() * 6 + counters
    }

    fn write(&self, writer: &mut Writer) {
        writer.number(self.blacklisted_until);
        write_all(writer, &self.strikes, |writer, at| writer.number(*at));
        writer.octets(self.known.as_flattened());
        write_all(writer, &self.counters, |writer, counter| {
            writer.number(counter.max);
            writer.number(counter.burst);
            counter.meter.write(writer);
        });
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let blacklisted_until = reader.number()?;
        let strikes = read_all(reader, Reader::number)?;
        let tokens = reader.octets()?.as_chunks::<8>();
        if !tokens.1.is_empty() {
            return None;
        }
        let known = tokens.0.to_vec();
        let counters = read_all(reader, |reader| {
            let (max, burst) = (reader.number()?, reader.number()?);
            Some(Counter { max, burst, meter: Meter::read(reader)? })
        })?;
        Some(Account { blacklisted_until, strikes, known, counters })
    }
}

fn write_all<T>(writer: &mut Writer, parts: &[T], write: impl Fn(&mut Writer, &T)) {
    writer.number(parts.len() as u64);
    for part in parts {
        write(writer, part);
    }
}

fn read_all<'a, T>(
    reader: &mut Reader<'a>,
    mut read: impl FnMut(&mut Reader<'a>) -> Option<T>,
) -> Option<Vec<T>> {
    let count = reader.number()?;
    (0..count).map(|_| read(reader)).collect()
}
