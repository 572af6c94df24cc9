//! What postgrey remembered, taken over.
//!
//! postgrey keeps two databases of texts. In `postgrey.db` a key is `NETWORK/SENDER/RECIPIENT`, its
//! value `FIRST,LAST`: when it saw the triplet first and last, in seconds since 1970. The network is
//! its first address only. In `postgrey_clients.db` a key is the address of a client, its value
//! `COUNT,LAST`: how many of its triplets have passed. With `--privacy` keys are digests, of which
//! nothing can be told.

use std::net::IpAddr;

use jiff::Timestamp;
use mppd_engine::{BuildContext, Element, Escaped, Finding, Mailbox};
use mppd_lists::mailboxes::normalise;
use mppd_state::{Change, StateError};

use super::regular::Regular;
use super::triplet::{Triplet, after, between};
use super::{GreylistOptions, Plan, sender, triplet_key};

/// One entry of postgrey's databases.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A triplet.
    Triplet {
        /// The first address of the client's network, or the client's.
        address: IpAddr,
        /// What postgrey left of the sender; empty for the null sender.
        sender: Vec<u8>,
        /// The recipient.
        recipient: Vec<u8>,
        /// When it was seen first.
        first: Timestamp,
        /// When it was seen last.
        last: Timestamp,
    },
    /// A client of which triplets have passed.
    Client {
        /// Its address.
        address: IpAddr,
        /// How many triplets that count.
        successes: u32,
        /// When it was seen last.
        last: Timestamp,
    },
}

/// Why an entry can't be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// A digest in place of what it is about.
    #[error("a digest, as postgrey keeps them with --privacy: nobody can tell of whom")]
    Digest,
    /// A key that is none of postgrey's.
    #[error("the key \"{0}\" is neither NETWORK/SENDER/RECIPIENT nor an address")]
    Key(String),
    /// A value that is none of postgrey's.
    #[error("the value \"{0}\" is not two numbers with a comma between them")]
    Value(String),
}

/// What became of an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// It is remembered now.
    Imported,
    /// By the times of the configuration it is forgotten.
    Expired,
    /// As much of it was known before.
    Known,
    /// The configuration has no use for it: clients, where `auto_whitelist` is 0.
    Unwanted,
}

/// Takes over what postgrey remembered, as a `<greylist>` of the configuration would have it.
#[derive(Debug)]
pub struct Importer {
    plan: Plan,
}

impl Entry {
    /// Reads a key and its value.
    ///
    /// # Errors
    /// Why they are not of postgrey.
    pub fn parse(key: &[u8], value: &[u8]) -> Result<Self, Unreadable> {
        // Programs in C count the octet behind a text.
        let [key, value] = [key, value].map(|text| text.strip_suffix(b"\0").unwrap_or(text));
        let unknown = || Unreadable::Key(Escaped(key).to_string());
        if is_digest(key) {
            return Err(Unreadable::Digest);
        }
        let numbers = two_numbers(value);
        let (number, last) =
            numbers.ok_or_else(|| Unreadable::Value(Escaped(value).to_string()))?;
        let last = second(last).ok_or_else(|| Unreadable::Value(Escaped(value).to_string()))?;
        let Some(slash) = key.iter().position(|octet| *octet == b'/') else {
            let address = address(key).ok_or_else(unknown)?;
            let successes = u32::try_from(number).unwrap_or(u32::MAX);
            return Ok(Entry::Client { address, successes, last });
        };
        let address = address(&key[..slash]).ok_or_else(unknown)?;
        let (sender, recipient) = mailboxes(&key[slash + 1..]).ok_or_else(unknown)?;
        let first = second(number).ok_or_else(|| Unreadable::Value(Escaped(value).to_string()))?;
        let (sender, recipient) = (sender.to_vec(), recipient.to_vec());
        // A clock that was set back leaves a triplet that was seen last before it was seen first.
        Ok(Entry::Triplet { address, sender, recipient, first, last: last.max(first) })
    }
}

impl Importer {
    /// For the `<greylist>` of this element.
    ///
    /// # Errors
    /// Every fault of the element, each with its place.
    pub fn build(element: &Element, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let options: GreylistOptions = cx.options(element)?;
        Ok(Importer { plan: Plan::new(&options, cx)? })
    }

    /// Remembers an entry, unless it is too old or more is known.
    ///
    /// # Errors
    /// The store did not take it.
    pub async fn take(&self, entry: &Entry, now: Timestamp) -> Result<Taken, StateError> {
        match entry {
            Entry::Triplet { address, sender, recipient, first, last } => {
                // A clock that was ahead must not have anything remembered for longer.
                let (first, last) = (first.min(&now), last.min(&now));
                let client = self.plan.clients.network(*address);
                let sender = sender::steady(Mailbox::new(sender));
                let recipient = normalise(Mailbox::new(recipient));
                let key = triplet_key(&client, &sender, &recipient);
                let has_passed = between(*first, *last) >= self.plan.terms.delay;
                let triplet = Triplet { first: *first, passed: has_passed.then_some(*last) };
                self.take_triplet(key, triplet, now).await
            }
            Entry::Client { address, successes, last } => {
                let last = *last.min(&now);
                let client = self.plan.clients.network(*address);
                let regular = Regular { successes: *successes, counted: last, seen: last };
                self.take_client(&client, regular, now).await
            }
        }
    }

    async fn take_triplet(
        &self,
        key: Vec<u8>,
        triplet: Triplet,
        now: Timestamp,
    ) -> Result<Taken, StateError> {
        let terms = self.plan.terms;
        let until = match triplet.passed {
            Some(passed) => after(passed, terms.lifetime),
            None => after(triplet.first, terms.window),
        };
        if until <= now {
            return Ok(Taken::Expired);
        }
        let remember = move |known: Option<Triplet>| match known {
            Some(known) if known.says_as_much_as(&triplet) => Change::Keep(Taken::Known),
            _ => Change::Put(triplet.clone(), until, Taken::Imported),
        };
        self.plan.space.update(&key, now, remember).await
    }

    async fn take_client(
        &self,
        client: &str,
        regular: Regular,
        now: Timestamp,
    ) -> Result<Taken, StateError> {
        let Some(terms) = self.plan.regulars else { return Ok(Taken::Unwanted) };
        let until = after(regular.seen, terms.lifetime);
        if until <= now {
            return Ok(Taken::Expired);
        }
        let remember = move |known: Option<Regular>| match known {
            Some(known) if known.successes >= regular.successes => Change::Keep(Taken::Known),
            _ => Change::Put(regular.clone(), until, Taken::Imported),
        };
        self.plan.space.update(client.as_bytes(), now, remember).await
    }
}

impl Triplet {
    fn says_as_much_as(&self, other: &Triplet) -> bool {
        match (self.passed, other.passed) {
            (Some(own), Some(others)) => own >= others,
            (own, None) => own.is_some() || self.first <= other.first,
            (None, Some(_)) => false,
        }
    }
}

/// The forty digits of SHA-1.
fn is_digest(key: &[u8]) -> bool {
    const DIGITS: usize = 40;
    key.len() == DIGITS && key.iter().all(u8::is_ascii_hexdigit)
}

fn two_numbers(value: &[u8]) -> Option<(i64, i64)> {
    let mut parts = std::str::from_utf8(value).ok()?.split(',');
    // Old versions wrote the host's part of the address behind them.
    Some((parts.next()?.trim().parse().ok()?, parts.next()?.trim().parse().ok()?))
}

fn second(count: i64) -> Option<Timestamp> {
    Timestamp::from_second(count).ok().filter(|time| *time >= Timestamp::UNIX_EPOCH)
}

fn address(text: &[u8]) -> Option<IpAddr> {
    let address: IpAddr = std::str::from_utf8(text).ok()?.parse().ok()?;
    Some(address.to_canonical())
}

/// `SENDER/RECIPIENT`. A local part may have slashes, a domain has none: the slash between the two
/// is the first one behind the sender's domain.
fn mailboxes(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let find = |octet, from: usize| Some(from + text[from..].iter().position(|o| *o == octet)?);
    let at = find(b'@', 0).filter(|_| text.first() != Some(&b'/'));
    let slash = at.and_then(|at| find(b'/', at)).or_else(|| find(b'/', 0))?;
    let (sender, recipient) = (&text[..slash], &text[slash + 1..]);
    (!recipient.is_empty()).then_some((sender, recipient))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use mppd_engine::kind;
    use mppd_engine::testkit::{Configured, block_on, exchange_at};
    use mppd_state::StateStore;
    use proptest::prelude::*;

    use super::super::Greylist;
    use super::*;

    const NOW: i64 = 1_790_000_000;
    const DAY: i64 = 86_400;

    fn time(count: i64) -> Timestamp {
        Timestamp::from_second(count).unwrap()
    }

    fn triplet(key: &str, value: &str) -> (String, String, String) {
        let entry = Entry::parse(key.as_bytes(), value.as_bytes()).unwrap();
        let Entry::Triplet { address, sender, recipient, .. } = entry else { panic!("{entry:?}") };
        let text = |octets| String::from_utf8(octets).unwrap();
        (address.to_string(), text(sender), text(recipient))
    }

    fn owned(parts: [&str; 3]) -> (String, String, String) {
        let [address, sender, recipient] = parts.map(str::to_owned);
        (address, sender, recipient)
    }

    #[test]
    fn a_key_is_cut_behind_the_domain_of_the_sender() {
        for (key, parts) in [
            ("192.0.2.0/a@x.example/b@y.example", ["192.0.2.0", "a@x.example", "b@y.example"]),
            (
                "2001:db8:0:0:0:0:0:0/a@x.example/b@y.example",
                ["2001:db8::", "a@x.example", "b@y.example"],
            ),
            ("192.0.2.0//b@y.example", ["192.0.2.0", "", "b@y.example"]),
            ("192.0.2.0//b/c@y.example", ["192.0.2.0", "", "b/c@y.example"]),
            (
                "192.0.2.0/o=a/ou=b@x.example/b/c@y.example",
                ["192.0.2.0", "o=a/ou=b@x.example", "b/c@y.example"],
            ),
            ("192.0.2.0/root/b@y.example", ["192.0.2.0", "root", "b@y.example"]),
        ] {
            assert_eq!(triplet(key, "1,2"), owned(parts), "{key}");
        }
    }

    #[test]
    fn what_is_not_postgreys_is_told() {
        let fault = |key: &str, value: &str| {
            Entry::parse(key.as_bytes(), value.as_bytes()).unwrap_err().to_string()
        };
        assert!(fault("da39a3ee5e6b4b0d3255bfef95601890afd80709", "1,2").starts_with("a digest"));
        assert!(fault("example.org/a@b/c@d", "1,2").starts_with("the key \"example.org/a@b/c@d\""));
        assert!(fault("192.0.2.0/a@b", "1,2").contains("neither"));
        assert!(fault("192.0.2.0/a@b/c@d", "1").starts_with("the value \"1\""));
        assert!(fault("192.0.2.0/a@b/c@d", "-5,1").starts_with("the value"));
    }

    struct Imported {
        store: Arc<StateStore>,
        configured: Configured,
        importer: Importer,
    }

    impl Imported {
        fn into(xml: &str) -> Self {
            let store = Arc::new(StateStore::in_memory());
            let configured = Configured::xml(xml).with_service(store.clone());
            let sources = mppd_engine::config::SourceMap::default();
            let logger = mppd_engine::slog::Logger::root(
                mppd_engine::slog::Discard,
                mppd_engine::slog::o!(),
            );
            let cx = BuildContext::new(&sources, logger).with_id("greylist");
            let mut cx = cx.with_service(store.clone());
            let importer = Importer::build(configured.element(), &mut cx).unwrap();
            Imported { store, configured, importer }
        }

        fn take(&self, key: &str, first: i64, last: i64) -> Taken {
            let value = format!("{first},{last}");
            let entry = Entry::parse(key.as_bytes(), value.as_bytes()).unwrap();
            block_on(self.importer.take(&entry, time(NOW))).unwrap()
        }

        fn ask(&self, address: &str, name: &str, sender: &str, recipient: &str) -> &'static str {
            assert!(Arc::strong_count(&self.store) > 1);
            let engine = self.configured.build(kind::<Greylist>()).unwrap();
            let exchange = exchange_at(
                time(NOW).into(),
                [
                    ("protocol_state", "RCPT"),
                    ("client_address", address),
                    ("client_name", name),
                    ("sender", sender),
                    ("recipient", recipient),
                ],
            );
            engine.run(&exchange).unwrap().status
        }
    }

    const KEY: &str = "192.0.2.0/alice@example.com/bob@example.org";

    #[test]
    fn a_triplet_that_has_passed_is_known() {
        let imported = Imported::into("<greylist/>");
        assert_eq!(imported.take(KEY, NOW - 1_000, NOW - 700), Taken::Imported);
        let ask = |name| imported.ask("192.0.2.7", name, "alice@example.com", "bob@example.org");
        assert_eq!(ask("unknown"), "known");
        // postgrey knew no names; the client has one now.
        assert_eq!(ask("mail.example.com"), "known");
        let other = imported.ask("192.0.2.7", "", "mallory@example.com", "bob@example.org");
        assert_eq!(other, "new");
    }

    #[test]
    fn a_triplet_that_waits_goes_on_waiting() {
        let imported = Imported::into("<greylist/>");
        assert_eq!(imported.take(KEY, NOW - 299, NOW - 100), Taken::Imported);
        let ask = || imported.ask("192.0.2.7", "", "alice@example.com", "bob@example.org");
        assert_eq!(ask(), "early");
        let other = "192.0.2.0/alice@example.com/carol@example.org";
        assert_eq!(imported.take(other, NOW - 301, NOW - 100), Taken::Imported);
        assert_eq!(
            imported.ask("192.0.2.7", "", "alice@example.com", "carol@example.org"),
            "passed"
        );
    }

    #[test]
    fn what_is_forgotten_by_now_is_left_out() {
        let imported = Imported::into("<greylist><lifetime>1d</lifetime></greylist>");
        assert_eq!(imported.take(KEY, NOW - 9 * DAY, NOW - DAY), Taken::Expired);
        assert_eq!(imported.take(KEY, NOW - 2 * DAY, NOW - 2 * DAY), Taken::Expired);
    }

    #[test]
    fn what_a_clock_that_was_ahead_has_left_is_as_if_seen_now() {
        let imported = Imported::into("<greylist/>");
        assert_eq!(imported.take(KEY, NOW - 1_000, NOW + 400 * DAY), Taken::Imported);
        let page = block_on(imported.store.space("greylist").list(None, 1, time(NOW))).unwrap();
        assert!(page[0].until <= time(NOW + 40 * DAY), "{}", page[0].until);
    }

    #[test]
    fn importing_again_changes_nothing() {
        let imported = Imported::into("<greylist/>");
        assert_eq!(imported.take(KEY, NOW - 1_000, NOW - 700), Taken::Imported);
        assert_eq!(imported.take(KEY, NOW - 1_000, NOW - 700), Taken::Known);
        assert_eq!(imported.take(KEY, NOW - 1_000, NOW - 990), Taken::Known);
        assert_eq!(imported.take(KEY, NOW - 1_000, NOW - 600), Taken::Imported);
    }

    #[test]
    fn clients_that_passed_often_enough_need_not_wait() {
        let imported = Imported::into("<greylist/>");
        assert_eq!(imported.take("192.0.2.7", 5, NOW - 700), Taken::Imported);
        assert_eq!(imported.take("192.0.2.9", 2, NOW - 700), Taken::Known);
        let ask = |address, name| imported.ask(address, name, "new@example.com", "bob@example.org");
        assert_eq!(ask("192.0.2.7", ""), "whitelisted");
        assert_eq!(ask("192.0.2.7", "mail.example.com"), "whitelisted");
        assert_eq!(ask("198.51.100.7", ""), "new");
        let none = Imported::into("<greylist><auto_whitelist>0</auto_whitelist></greylist>");
        assert_eq!(none.take("192.0.2.7", 5, NOW - 700), Taken::Unwanted);
    }

    #[test]
    fn what_postgrey_left_of_a_sender_is_what_this_engine_leaves() {
        let imported = Imported::into("<greylist/>");
        let key = "192.0.2.0/list-return-#-bob=example.org@lists.example/bob@example.org";
        assert_eq!(imported.take(key, NOW - 1_000, NOW - 700), Taken::Imported);
        let sender = "list-return-77-bob=example.org@lists.example";
        assert_eq!(imported.ask("192.0.2.7", "", sender, "bob@example.org"), "known");
    }

    proptest! {
        #[test]
        fn any_octets_are_read_or_refused(key: Vec<u8>, value: Vec<u8>) {
            drop(Entry::parse(&key, &value));
        }
    }
}
