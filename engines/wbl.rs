//! `<wbl>`: white and black lists.
//!
//! ```xml
//! <wbl id="wbl">
//!   <white>
//!     <client_address>192.0.2.0/24 2001:db8::/32</client_address>
//!     <recipient file="lists/recipients"/>
//!     <client file="/etc/postgrey/whitelist_clients" format="postgrey"/>
//!   </white>
//!   <black>
//!     <client_name>spam.example .example.net</client_name>
//!     <sender>mallory@example.com example.org</sender>
//!     <pair>
//!       newsletter.example  carol@example.org
//!       &lt;&gt;            no-reply@example.org
//!     </pair>
//!   </black>
//! </wbl>
//! ```
//!
//! A request that the white list knows is `white`, one that only the black list knows is `black`,
//! any other `none`; with `<precedence>specific</precedence>` the more specific entry of an
//! attribute counts instead. The outcome's value `list` is the attribute that matched, `entry` the
//! entry in its normal form: lower case, international domain names as A-labels. What Postfix does
//! not know (a client without address, an unverified name, a sender before MAIL) matches nothing.
//!
//! Lookups cost the same however long the lists are: a network takes one look for each length of
//! prefix that is on the list, a name one for each label.
//!
//! `docs/engines/wbl.md` tells it at length.

mod list;
mod sql;
mod subject;

use std::fmt::Display;
use std::sync::Arc;

use mppd_engine::{
    BuildContext, Engine, Escaped, Exchange, Failure, Finding, OptionValue, Outcome, Probe, Reach,
    StatusDoc, ValueDoc, options,
};
use mppd_lists::reading::EntriesOptions;
use serde::Deserialize;

use self::list::{Hit, List};
use self::sql::{Lookup, SqlOptions};
use self::subject::{Matter, Subject};

options! {
    /// `<wbl>`
    pub(crate) struct WblOptions {
        /// What is welcome. May stand several times; all of it counts.
        white: Vec<ListOptions> = Vec::new(),
        /// What is not. May stand several times; all of it counts.
        black: Vec<ListOptions> = Vec::new(),
        /// What counts when a request is on both lists: `white`, the white list; `specific`, of
        /// each attribute the more specific entry, and then the white list.
        precedence: Precedence = Precedence::White,
    }
}

options! {
    /// `<white>` and `<black>`
    pub(crate) struct ListOptions {
        /// Client addresses and networks: `192.0.2.1`, `192.0.2.0/24`, `2001:db8::/32`. May stand
        /// several times, as may each of the following.
        client_address: Vec<EntriesOptions> = Vec::new(),
        /// Verified client names: `example.org` is that name and all names below it,
        /// `.example.org` only the names below it.
        client_name: Vec<EntriesOptions> = Vec::new(),
        /// Entries of `client_address` and of `client_name` together, each told by its form: what
        /// Postfix's `check_client_access` and postgrey have in one file.
        client: Vec<EntriesOptions> = Vec::new(),
        /// Names that the clients' addresses point to, verified or not, as in `client_name`. Who
        /// owns an address can let it point to any name.
        reverse_client_name: Vec<EntriesOptions> = Vec::new(),
        /// Names given with HELO or EHLO, as in `client_name`, or address literals such as
        /// `[192.0.2.1]`. Clients can claim any name.
        helo_name: Vec<EntriesOptions> = Vec::new(),
        /// Names of users who have logged in (SASL), exactly as they are written.
        sasl_username: Vec<EntriesOptions> = Vec::new(),
        /// Fingerprints of client certificates, as Postfix shows them: pairs of hexadecimal digits,
        /// in upper or lower case, with colons or without.
        ccert_fingerprint: Vec<EntriesOptions> = Vec::new(),
        /// Fingerprints of the public keys of client certificates.
        ccert_pubkey_fingerprint: Vec<EntriesOptions> = Vec::new(),
        /// Envelope senders: `user@example.org` is that address, `user@` that local part in any
        /// domain, `@example.org` every address in that domain, `example.org` also those in
        /// domains below it, `.example.org` only those, `<>` the null sender. Upper and lower case
        /// are the same, international domain names may be written as U-labels or as A-labels.
        sender: Vec<EntriesOptions> = Vec::new(),
        /// Envelope recipients, written as senders are.
        recipient: Vec<EntriesOptions> = Vec::new(),
        /// Pairs of a sender and a recipient, each written as in its own list; one pair a line,
        /// here as well as in a file.
        pair: Vec<EntriesOptions> = Vec::new(),
        /// A statement for MySQL or MariaDB; what it finds is on the list.
        sql: Vec<SqlOptions> = Vec::new(),
    }
}

/// What counts when a request is on both lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Precedence {
    White,
    Specific,
}

impl OptionValue for Precedence {
    const TYPE: &'static str = "white or specific";

    fn show(&self) -> String {
        format!("{self:?}").to_lowercase()
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Wbl {
    lists: Arc<Lists>,
}

#[derive(Debug)]
struct Lists {
    white: List,
    black: List,
    white_sql: Vec<Lookup>,
    black_sql: Vec<Lookup>,
    precedence: Precedence,
}

/// One of the two lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    White,
    Black,
}

impl Side {
    /// The status of what is on the list.
    fn status(self) -> &'static str {
        match self {
            Side::White => "white",
            Side::Black => "black",
        }
    }
}

impl Engine for Wbl {
    const NAME: &'static str = "wbl";
    const SUMMARY: &'static str = "white and black lists of clients, senders and recipients";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("white", "Something about the request is on the white list.", "permit"),
        StatusDoc::new(
            "black",
            "Something about the request is on the black list, and the white list does not win.",
            "REJECT 5.7.1 refused by a block list of this site",
        ),
        StatusDoc::new("none", "Nothing about the request is on a list.", "continue"),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc {
            name: "list",
            meaning: "The attribute that matched, with `white` and `black`; `pair` for a sender \
                      with a recipient, `sql` for what a statement found.",
        },
        ValueDoc {
            name: "entry",
            meaning: "The entry that it matched, in normal form; the first column of the row that \
                      a statement found.",
        },
    ];
    type Options = WblOptions;

    fn build(options: WblOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let white = List::read(Side::White, &options.white, None, cx, &mut findings);
        let winner = Some((&white, options.precedence));
        let black = List::read(Side::Black, &options.black, winner, cx, &mut findings);
        let white_sql = lookups(&options.white, cx, &mut findings);
        let black_sql = lookups(&options.black, cx, &mut findings);
        if !findings.is_empty() {
            return Err(findings);
        }
        let is_empty = white.is_empty() && black.is_empty();
        if is_empty && white_sql.is_empty() && black_sql.is_empty() {
            cx.warn(Finding::nowhere("both lists are empty, so nothing is ever found on them"));
        }
        let precedence = options.precedence;
        Ok(Wbl { lists: Arc::new(Lists { white, black, white_sql, black_sql, precedence }) })
    }

    fn probes(&self) -> Vec<Probe> {
        let lookups = self.lists.white_sql.iter().chain(&self.lists.black_sql);
        lookups.map(Lookup::probe).collect()
    }

    fn reach(&self) -> Reach {
        let lists = &*self.lists;
        let is_inside = lists.white_sql.is_empty() && lists.black_sql.is_empty();
        if is_inside { Reach::Inside } else { Reach::Services }
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let lists = &*self.lists;
        let subject = Subject::of(exchange.request());
        let found = lists.find(&subject);
        if let Some((Side::White, hit)) = &found {
            return Ok(outcome_of(Side::White, hit));
        }
        if let Some(entry) = first_row(Side::White, &lists.white_sql, exchange).await? {
            return Ok(outcome_of_row(Side::White, entry));
        }
        if let Some((side, hit)) = &found {
            return Ok(outcome_of(*side, hit));
        }
        if let Some(entry) = first_row(Side::Black, &lists.black_sql, exchange).await? {
            return Ok(outcome_of_row(Side::Black, entry));
        }
        Ok(Outcome::new("none"))
    }
}

/// What a statement finds is told under the name of its element.
const SQL: &str = "sql";

fn lookups(
    options: &[ListOptions],
    cx: &mut BuildContext<'_>,
    findings: &mut Vec<Finding>,
) -> Vec<Lookup> {
    let read = |options| Lookup::read(options, cx).map_err(|faults| findings.extend(faults)).ok();
    options.iter().flat_map(|list| &list.sql).filter_map(read).collect()
}

/// The entry of the first statement that finds something.
async fn first_row(
    side: Side,
    lookups: &[Lookup],
    exchange: &Exchange,
) -> Result<Option<Vec<u8>>, Failure> {
    for lookup in lookups {
        let asked = lookup.ask(exchange).await;
        let failed = |error| {
            let message = format!("can't ask the database for the {} list", side.status());
            Failure::new(message).with_source(error)
        };
        if let Some(entry) = asked.map_err(failed)? {
            return Ok(Some(entry));
        }
    }
    Ok(None)
}

fn outcome_of(side: Side, hit: &Hit<'_>) -> Outcome {
    let entry = hit.entry.to_string();
    outcome(side, hit.matter.name(), &entry).with_value("entry", entry)
}

fn outcome_of_row(side: Side, entry: Vec<u8>) -> Outcome {
    outcome(side, SQL, &Escaped(&entry)).with_value("entry", entry)
}

fn outcome(side: Side, list: &'static str, entry: &impl Display) -> Outcome {
    let status = side.status();
    Outcome::new(status)
        .with_text(format!("on the {status} list: {list} {entry}"))
        .with_value("list", list)
}

impl Lists {
    /// The list that a request is on, without those in a database, and the entry.
    fn find<'a>(&'a self, subject: &'a Subject<'_>) -> Option<(Side, Hit<'a>)> {
        match self.precedence {
            Precedence::White => {
                let white = self.white.find(subject).map(|hit| (Side::White, hit));
                white.or_else(|| Some((Side::Black, self.black.find(subject)?)))
            }
            Precedence::Specific => self.find_specific(subject),
        }
    }

    /// Of each matter the more specific entry counts; of the matters the first that is white, or
    /// else the first that is black. A pair is more specific than its sides.
    fn find_specific<'a>(&'a self, subject: &'a Subject<'_>) -> Option<(Side, Hit<'a>)> {
        let mut black = None;
        let mut has_pair = false;
        for matter in Matter::ALL {
            if has_pair && matter.is_side_of_a_pair() {
                continue;
            }
            let found = self.find_of(matter, subject);
            has_pair |= matter == Matter::Pair && found.is_some();
            match found {
                Some((Side::White, hit)) => return Some((Side::White, hit)),
                Some((Side::Black, hit)) => black = black.or(Some((Side::Black, hit))),
                None => {}
            }
        }
        black
    }

    fn find_of<'a>(&'a self, matter: Matter, subject: &'a Subject<'_>) -> Option<(Side, Hit<'a>)> {
        let (white, black) =
            (self.white.find_of(matter, subject), self.black.find_of(matter, subject));
        match (white, black) {
            (Some(white), Some(black)) if black.specificity > white.specificity => {
                Some((Side::Black, black))
            }
            (Some(white), _) => Some((Side::White, white)),
            (None, black) => black.map(|hit| (Side::Black, hit)),
        }
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
