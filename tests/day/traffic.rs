//! An hour of mail that comes to `example.com`: who sends, from where, and what they do when they are
//! told to come back later. The same seed makes the same hour.

use std::net::Ipv4Addr;

/// A minute of the site's hour.
pub(super) type Minute = f64;

/// Who sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Sender {
    /// Other sites, one host each, which publish no SPF record.
    Correspondents,
    /// A mailing list whose hosts its SPF record names, with a sender address for each recipient.
    Newsletter,
    /// A large provider without SPF record that comes back from another network each time.
    Farm,
    /// A partner on the white list.
    Partner,
    /// Somebody on the black list.
    Blocked,
    /// One host that tries names, some of which are traps.
    Dictionary,
    /// Hosts on a DNS list.
    ListedBots,
    /// Unknown hosts that forge a domain whose SPF record says so.
    Forgers,
    /// Unknown hosts with invented senders.
    OtherBots,
    /// People of the site, who log in.
    Staff,
    /// Whoever has the password of one of them.
    HackedAccount,
}

impl Sender {
    pub(super) const ALL: [Sender; 11] = [
        Sender::Correspondents,
        Sender::Newsletter,
        Sender::Farm,
        Sender::Partner,
        Sender::Blocked,
        Sender::Dictionary,
        Sender::ListedBots,
        Sender::Forgers,
        Sender::OtherBots,
        Sender::Staff,
        Sender::HackedAccount,
    ];

    /// In words, for the report.
    pub(super) fn words(self) -> &'static str {
        match self {
            Sender::Correspondents => "other sites without SPF",
            Sender::Newsletter => "a newsletter with SPF",
            Sender::Farm => "a farm that retries from elsewhere",
            Sender::Partner => "a partner on the white list",
            Sender::Blocked => "somebody on the black list",
            Sender::Dictionary => "a dictionary attack",
            Sender::ListedBots => "bots on a DNS list",
            Sender::Forgers => "bots that forge a domain",
            Sender::OtherBots => "bots that nobody knows",
            Sender::Staff => "people who log in",
            Sender::HackedAccount => "a hacked account",
        }
    }
}

/// What a sender does when told to come back.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Retry {
    /// Nothing.
    Never,
    /// Comes from the same host after that many minutes, up to four times.
    SameHost(Minute),
    /// Comes from the next of its hosts.
    NextHost(Minute),
}

/// A host that connects.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Host {
    pub(super) address: Ipv4Addr,
    /// Its verified name, if it has one.
    pub(super) name: Option<String>,
    pub(super) helo: String,
}

/// A message, from the first attempt on.
#[derive(Debug, Clone)]
pub(super) struct Message {
    pub(super) who: Sender,
    /// When it is first tried.
    pub(super) at: Minute,
    /// The hosts that try, in turn.
    pub(super) hosts: Vec<Host>,
    pub(super) login: Option<&'static str>,
    pub(super) sender: String,
    pub(super) recipient: String,
    pub(super) retry: Retry,
}

/// The hosts of the farm, each in a network of its own.
const FARM: u8 = 8;

fn named(address: [u8; 4], name: impl Into<String>) -> Host {
    let name = name.into();
    Host { address: address.into(), helo: name.clone(), name: Some(name) }
}

fn unnamed(address: [u8; 4]) -> Host {
    Host { address: address.into(), name: None, helo: "localhost.localdomain".to_owned() }
}

/// The people of the site.
fn user(number: u8) -> String {
    format!("user{number}@example.com")
}

/// The whole hour, in the order of the first attempts.
pub(super) fn hour(seed: u64) -> Vec<Message> {
    let mut random = fastrand::Rng::with_seed(seed);
    let mut messages = Vec::new();
    for who in Sender::ALL {
        for number in 0..count(who) {
            messages.push(message(who, number, &mut random));
        }
    }
    messages.sort_by(|a, b| a.at.total_cmp(&b.at));
    messages
}

fn count(who: Sender) -> u16 {
    match who {
        Sender::Partner | Sender::Blocked => 20,
        Sender::Newsletter | Sender::Farm | Sender::Staff => 60,
        Sender::Correspondents | Sender::Forgers => 80,
        Sender::ListedBots | Sender::OtherBots => 150,
        Sender::Dictionary | Sender::HackedAccount => 300,
    }
}

fn message(who: Sender, number: u16, random: &mut fastrand::Rng) -> Message {
    // Time is left for the last retry.
    let at = random.f64() * 35.0;
    let recipient = user(random.u8(1..40));
    let soon = 5.5 + random.f64() * 3.0;
    let low = u8::try_from(number % 250).unwrap_or(0) + 1;
    let [high, _] = number.to_le_bytes();
    let plain = |hosts: Vec<Host>, sender: String, retry: Retry| Message {
        who,
        at,
        hosts,
        login: None,
        sender,
        recipient: recipient.clone(),
        retry,
    };
    match who {
        Sender::Correspondents => {
            let site = format!("site{}.example", number % 40);
            let host = named([203, 0, 113, low % 40], format!("mail.{site}"));
            plain(vec![host], format!("writer{number}@{site}"), Retry::SameHost(soon))
        }
        Sender::Newsletter => {
            let host = named([198, 18, low % 6, 25], format!("out{}.list.example", low % 6));
            let sender =
                format!("bounce-{}-{}@list.example", 7000 + number, recipient.replace('@', "="));
            plain(vec![host], sender, Retry::SameHost(soon))
        }
        Sender::Farm => {
            let first = random.u8(0..FARM);
            let host = |index: u8| {
                let index = (first + index) % FARM;
                named([198, 19, index, 10], format!("mta-{index}.bigmail.example"))
            };
            let sender = format!("person{number}@bigmail.example");
            plain((0..FARM).map(host).collect(), sender, Retry::NextHost(soon))
        }
        Sender::Partner => {
            let host = unnamed([192, 0, 2, 200]);
            plain(vec![host], format!("orders{number}@partner.example"), Retry::SameHost(soon))
        }
        Sender::Blocked => {
            let host = named([203, 0, 113, 99], "mail.pest.example");
            plain(vec![host], format!("offer{number}@pest.example"), Retry::SameHost(soon))
        }
        Sender::Dictionary => {
            let tried = match number % 100 {
                50 => "former.employee@example.com".to_owned(),
                _ => format!("name{number}@example.com"),
            };
            let host = unnamed([198, 51, 100, 66]);
            let mut message = plain(vec![host], format!("x{number}@harvest.example"), Retry::Never);
            // It takes ten minutes, in the order of the dictionary.
            message.at = 5.0 + f64::from(number) / 30.0;
            message.recipient = tried;
            message
        }
        Sender::ListedBots => {
            let host = unnamed([45, 66, high, low]);
            plain(vec![host], format!("win{number}@prize.example"), Retry::Never)
        }
        Sender::Forgers => {
            let host = unnamed([45, 67, high, low]);
            plain(vec![host], format!("service{number}@bank.example"), Retry::Never)
        }
        Sender::OtherBots => {
            let host = unnamed([45, 68, high, low]);
            plain(vec![host], format!("girl{number}@nowhere.example"), Retry::Never)
        }
        Sender::Staff => {
            let host = unnamed([192, 0, 2, 10 + low % 20]);
            let mut message = plain(vec![host], user(1 + low % 5), Retry::Never);
            message.login = Some(STAFF[usize::from(low % 5)]);
            message.recipient = format!("customer{number}@elsewhere.example");
            message
        }
        Sender::HackedAccount => {
            let host = unnamed([45, 69, high, low]);
            let mut message = plain(vec![host], user(7), Retry::Never);
            message.login = Some("user7");
            message.at = 10.0 + f64::from(number) / 20.0;
            message.recipient = format!("victim{number}@elsewhere.example");
            message
        }
    }
}

const STAFF: [&str; 5] = ["user1", "user2", "user3", "user4", "user5"];
