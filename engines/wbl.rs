//! `<wbl>`: white and black lists.
//!
//! ```xml
//! <wbl id="wbl">
//!   <white>
//!     <client_address>192.0.2.0/24 2001:db8::/32</client_address>
//!     <recipient file="lists/recipients"/>
//!   </white>
//!   <black>
//!     <client_name>spam.example .example.net</client_name>
//!     <sender>mallory@example.com example.org</sender>
//!   </black>
//! </wbl>
//! ```
//!
//! A request that the white list knows is `white`, one that only the black list knows is `black`,
//! any other `none`. The outcome's value `list` is the attribute that matched, `entry` the entry in
//! its normal form: lower case, international domain names as A-labels. What Postfix does not know
//! (a client without address, an unverified name, a sender before MAIL) matches nothing.
//!
//! Lookups cost the same however long the lists are: networks are found by longest prefix, names
//! by one hash lookup for each label.

use std::borrow::Cow;
use std::net::IpAddr;
use std::sync::Arc;

use mppd_engine::{
    Attribute, BuildContext, Engine, Exchange, Failure, Finding, Outcome, Request, StatusDoc,
    ValueDoc, options,
};
use mppd_lists::mailboxes::Mailboxes;
use mppd_lists::names::Names;
use mppd_lists::networks::Networks;
use mppd_lists::reading::{EntriesOptions, Fault, Said, read};
use mppd_lists::{Table, subject};

options! {
    /// `<wbl>`
    pub(crate) struct WblOptions {
        /// What is welcome. May stand several times; all of it counts.
        white: Vec<ListOptions> = Vec::new(),
        /// What is not, unless it is on the white list. May stand several times; all of it counts.
        black: Vec<ListOptions> = Vec::new(),
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
        /// Names given with HELO or EHLO, as in `client_name`, or address literals such as
        /// `[192.0.2.1]`. Clients can claim any name.
        helo_name: Vec<EntriesOptions> = Vec::new(),
        /// Envelope senders: `user@example.org` is that address, `user@` that local part in any
        /// domain, `@example.org` every address in that domain, `example.org` also those in
        /// domains below it, `.example.org` only those, `<>` the null sender. Upper and lower case
        /// are the same, international domain names may be written as U-labels or as A-labels.
        sender: Vec<EntriesOptions> = Vec::new(),
        /// Envelope recipients, written as senders are.
        recipient: Vec<EntriesOptions> = Vec::new(),
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Wbl {
    lists: Arc<Lists>,
}

#[derive(Debug, Default)]
struct Lists {
    white: List,
    black: List,
}

impl Engine for Wbl {
    const NAME: &'static str = "wbl";
    const SUMMARY: &'static str = "white and black lists of clients, senders and recipients";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("white", "Something about the request is on the white list.", "permit"),
        StatusDoc::new(
            "black",
            "Something about the request is on the black list, and nothing on the white \
                      list.",
            "REJECT 5.7.1 refused by a block list of this site",
        ),
        StatusDoc::new("none", "Nothing about the request is on a list.", "continue"),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc { name: "list", meaning: "The attribute that matched, with `white` and `black`." },
        ValueDoc { name: "entry", meaning: "The entry that it matched, in normal form." },
    ];
    type Options = WblOptions;

    fn build(options: WblOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut lists = Lists::default();
        let mut findings = lists.white.read(&options.white, None, cx);
        findings.extend(lists.black.read(&options.black, Some(&lists.white), cx));
        if !findings.is_empty() {
            return Err(findings);
        }
        if lists.white.is_empty() && lists.black.is_empty() {
            cx.warn(Finding::nowhere("both lists are empty, so nothing is ever found on them"));
        }
        Ok(Wbl { lists: Arc::new(lists) })
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let subject = Subject::of(exchange.request());
        let found = |status: &'static str, list: &List| {
            let (attribute, entry) = list.find(&subject)?;
            let outcome = Outcome::new(status)
                .with_text(format!("on the {status} list: {} {entry}", attribute.name()))
                .with_value("list", attribute.name())
                .with_value("entry", entry);
            Some(outcome)
        };
        let listed =
            found("white", &self.lists.white).or_else(|| found("black", &self.lists.black));
        Ok(listed.unwrap_or(Outcome::new("none")))
    }
}

/// What of a request can be on a list, in the normal form of the entries.
struct Subject<'a> {
    client_address: Option<IpAddr>,
    client_name: Option<Cow<'a, [u8]>>,
    helo_name: Option<Cow<'a, [u8]>>,
    sender: Option<Cow<'a, [u8]>>,
    recipient: Option<Cow<'a, [u8]>>,
}

impl<'a> Subject<'a> {
    fn of(request: &'a Request) -> Self {
        Subject {
            client_address: request.client_address(),
            client_name: subject::client_name(request),
            helo_name: subject::helo_name(request),
            sender: subject::sender(request),
            recipient: subject::recipient(request),
        }
    }
}

/// One list, with a table for each attribute.
#[derive(Debug, Default)]
struct List {
    client_address: Networks<()>,
    client_name: Names<()>,
    helo_name: Names<()>,
    sender: Mailboxes<()>,
    recipient: Mailboxes<()>,
}

impl List {
    /// Adds what is configured; warns of what the list that wins over this one has as well.
    fn read(
        &mut self,
        options: &[ListOptions],
        winner: Option<&List>,
        cx: &mut BuildContext<'_>,
    ) -> Vec<Finding> {
        let mut findings = Vec::new();
        macro_rules! read_each {
            ($($field:ident: $attribute:ident,)+) => {
                for options in options {
                    $(findings.extend(add(
                        &mut self.$field,
                        winner.map(|list| &list.$field),
                        Attribute::$attribute,
                        &options.$field,
                        cx,
                    ));)+
                }
            };
        }
        read_each! {
            client_address: ClientAddress,
            client_name: ClientName,
            helo_name: HeloName,
            sender: Sender,
            recipient: Recipient,
        }
        findings
    }

    fn is_empty(&self) -> bool {
        self.client_address.is_empty()
            && self.client_name.is_empty()
            && self.helo_name.is_empty()
            && self.sender.is_empty()
            && self.recipient.is_empty()
    }

    /// The first attribute of which there is an entry, and the entry.
    fn find(&self, subject: &Subject<'_>) -> Option<(Attribute, String)> {
        let client_address = || self.client_address.find(subject.client_address?);
        let client_name = || self.client_name.find(subject.client_name.as_deref()?);
        let helo_name = || self.helo_name.find(subject.helo_name.as_deref()?);
        let sender = || self.sender.find(subject.sender.as_deref()?);
        let recipient = || self.recipient.find(subject.recipient.as_deref()?);
        let (attribute, found) = client_address()
            .map(|found| (Attribute::ClientAddress, found))
            .or_else(|| Some((Attribute::ClientName, client_name()?)))
            .or_else(|| Some((Attribute::HeloName, helo_name()?)))
            .or_else(|| Some((Attribute::Sender, sender()?)))
            .or_else(|| Some((Attribute::Recipient, recipient()?)))?;
        Some((attribute, found.entry.to_string()))
    }
}

/// Adds the entries of some lists to a table. Says what is no entry, and warns of those that the
/// table that wins over this one has as well.
fn add<T: Table<()>>(
    table: &mut T,
    winner: Option<&T>,
    attribute: Attribute,
    options: &[EntriesOptions],
    cx: &mut BuildContext<'_>,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for options in options {
        let mut lost = Said::default();
        findings.extend(read::<(), T>(options, attribute, cx, |entry, text, place| {
            if winner.is_some_and(|winner| winner.contains(&entry)) {
                let message = format!("\"{text}\" is on the white list as well, which wins");
                lost.say(place.finding(Fault::new(message)), place);
            }
            table.insert(entry, ());
            None
        }));
        for warning in lost.into_findings() {
            cx.warn(warning);
        }
    }
    findings
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
