//! Rows as a busy site would have them: a few large senders and many small ones, clients of all
//! networks, days and nights. Every run makes the same rows of the same numbers.

use fastrand::Rng;
use jiff::Timestamp;
use mppd::tracking::Row;
use mppd::tracking::row::{Cell, reverse_domain};
use mppd::tracking::table::COLUMNS;

const LARGE: [&str; 8] = [
    "gmail.com",
    "outlook.com",
    "yahoo.com",
    "mail.example-news.com",
    "bounces.shop.example",
    "gmx.de",
    "icloud.com",
    "lists.example.org",
];

/// What was decided: word, text, the engine that said so, its status.
const DECISIONS: [(&str, &str, &str, &str, u64); 7] = [
    ("DUNNO", "", "", "", 620),
    ("DEFER_IF_PERMIT", "4.2.0 greylisted, try again in 300 seconds", "greylist", "wait", 150),
    ("REJECT", "5.7.1 listed by zen.example", "rbl", "listed", 130),
    ("REJECT", "5.7.23 SPF says no", "spf", "fail", 50),
    ("PERMIT", "", "wbl", "white", 30),
    ("REJECT", "5.7.1 not welcome", "wbl", "black", 15),
    ("450", "4.7.1 too many messages", "quota", "over", 5),
];

/// Rows of a span of time.
#[derive(Debug)]
pub(crate) struct Rows {
    random: Rng,
    /// When the first request came, in microseconds since 1970.
    begin: i64,
    /// Microseconds between two requests, on average.
    step: i64,
    next: i64,
    /// The message that is under way: the rest of its recipients, and what they have in common.
    left: u64,
    message: Message,
}

#[derive(Debug, Default)]
struct Message {
    instance: String,
    sender: (String, String),
    client: String,
    client_name: String,
    decision: usize,
}

impl Rows {
    /// So many rows between two times, in microseconds since 1970.
    pub(crate) fn new(rows: i64, begin: i64, end: i64) -> Self {
        let step = ((end - begin) / rows.max(1)).max(1);
        let random = Rng::with_seed(7);
        Rows { random, begin, step, next: 0, left: 0, message: Message::default() }
    }

    /// The next row.
    pub(crate) fn next(&mut self) -> Row {
        if self.left == 0 {
            self.left = 1 + self.random.u64(..100) / 70 + self.random.u64(..100) / 95 * 3;
            self.message = self.new_message();
        }
        self.left -= 1;
        let jitter = self.random.i64(0..self.step);
        let received = self.begin + self.next * self.step + jitter;
        self.next += 1;
        self.row(received)
    }

    fn new_message(&mut self) -> Message {
        let number = self.skewed(4_000_000);
        let domain = match self.random.usize(..100) {
            percent @ 0..35 => LARGE[percent * LARGE.len() / 35].to_owned(),
            35..70 => format!("company{}.example", self.skewed(200_000)),
            _ => format!("mail.n{}.example.net", self.skewed(400_000)),
        };
        let octets = u32::try_from(self.skewed(600_000)).unwrap_or(0).wrapping_mul(2_654_435_761);
        let [a, b, c, d] = octets.to_be_bytes();
        let client = if self.random.u8(..10) == 0 {
            format!(
                "2001:db8:{:x}:{:x}::{:x}",
                u16::from(a) + 1,
                u16::from(b) + 1,
                u16::from(c) + 1
            )
        } else {
            format!("{}.{b}.{c}.{d}", a % 223 + 1)
        };
        let mut word = self.random.u64(..1_000);
        let decision = DECISIONS.iter().position(|(.., share)| {
            let is_it = word < *share;
            word = word.saturating_sub(*share);
            is_it
        });
        Message {
            instance: format!(
                "{:x}.{:x}.{:x}.0",
                self.random.u16(..),
                self.random.u32(..),
                self.next
            ),
            sender: (format!("user{number}"), reverse_domain(&domain)),
            client_name: format!("mta{d}.{domain}"),
            client,
            decision: decision.unwrap_or(0),
        }
    }

    /// Small numbers far more often than large ones.
    fn skewed(&mut self, most: u64) -> u64 {
        let power = f64::from(self.random.u32(0..63_000)) / 63_000.0;
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in 0..most")]
        #[allow(clippy::cast_precision_loss, reason = "a number at random")]
        let number = (most as f64).powf(power) as u64;
        number
    }

    fn row(&mut self, received: i64) -> Row {
        let (word, text, engine, status, _) = DECISIONS[self.message.decision];
        let user = self.skewed(50_000);
        let milliseconds = u64::try_from(received / 1_000).unwrap_or_default();
        let mut key = self.random.u128(..).to_be_bytes();
        key[..6].copy_from_slice(&milliseconds.to_be_bytes()[2..]);
        key[6] = 0x70 | key[6] & 0x0f;
        key[8] = 0x80 | key[8] & 0x3f;
        let elapsed = 300 + self.random.i64(0..4_000);
        let ran = |id: &str| if id == engine { status } else { "none" };
        let checks = format!(
            "{{\"ch_wbl\":{{\"status\":\"none\",\"ms\":0.004}},\"wbl\":{{\"status\":\"{}\",\"ms\":0.011}},\
             \"spf\":{{\"status\":\"{}\",\"ms\":{}.{:03}}},\"rbl\":{{\"status\":\"{}\",\"ms\":1.250}},\
             \"greylist\":{{\"status\":\"{}\",\"ms\":0.120}},\"quota\":{{\"status\":\"{}\",\"ms\":0.020}}}}",
            ran("wbl"),
            if engine == "spf" { "fail" } else { "pass" },
            elapsed / 1_000,
            elapsed % 1_000,
            ran("rbl"),
            ran("greylist"),
            ran("quota"),
        );
        let (message, local) = (&self.message, format!("user{user}"));
        let port = (1_024 + user).to_string();
        let node = if user.is_multiple_of(3) { "mx2" } else { "mx1" };
        let group = if user.is_multiple_of(10) { "staff" } else { "default" };
        let mut row = Row::with_capacity(1_024);
        for column in COLUMNS {
            row.push(match column.name {
                "id" => Cell::Octets(&key),
                "state" => Cell::Text("processed"),
                "received_timestamp" => Cell::Time(received),
                "processed_timestamp" => Cell::Time(received + elapsed),
                "request" => Cell::Text("smtpd_access_policy"),
                "protocol_state" => Cell::Text("RCPT"),
                "protocol_name" => Cell::Text("ESMTP"),
                "helo_name" | "client_name" | "reverse_client_name" => {
                    Cell::Text(&message.client_name)
                }
                "sender_local" => Cell::Text(&message.sender.0),
                "sender_reverse_domain" => Cell::Text(&message.sender.1),
                "recipient_local" => Cell::Text(&local),
                "recipient_reverse_domain" => Cell::Text("com.example"),
                "client_address" => Cell::Text(&message.client),
                "instance" => Cell::Text(&message.instance),
                "queue_id"
                | "sasl_method"
                | "sasl_username"
                | "sasl_sender"
                | "ccert_subject"
                | "ccert_issuer"
                | "ccert_fingerprint"
                | "ccert_pubkey_fingerprint"
                | "etrn_domain"
                | "stress"
                | "policy_context" => Cell::Text(""),
                "recipient_count" | "size" => Cell::Integer(0),
                "encryption_protocol" => Cell::Text("TLSv1.3"),
                "encryption_cipher" => Cell::Text("TLS_AES_256_GCM_SHA384"),
                "encryption_keysize" => Cell::Integer(256),
                "ch_wbl" => Cell::Text("none"),
                "wbl" | "rbl" | "greylist" => Cell::Text(ran(column.name)),
                "spf" => Cell::Text(if engine == "spf" { "fail" } else { "pass" }),
                "decision" => Cell::Text(word),
                "decision_text" if !text.is_empty() => Cell::Text(text),
                "rbl_site" if engine == "rbl" => Cell::Text("zen.example"),
                "client_port" => Cell::Text(&port),
                "server_address" => Cell::Text("192.0.2.25"),
                "server_port" => Cell::Text("25"),
                "compatibility_level" => Cell::Text("3.7"),
                "mail_version" => Cell::Text("3.7.11"),
                "group_id" => Cell::Text(group),
                "checks" => Cell::Text(&checks),
                "node" => Cell::Text(node),
                _ => Cell::Null,
            });
        }
        row
    }
}

/// Microseconds since 1970 of now.
#[allow(dead_code, reason = "the tests have times of their own")]
pub(crate) fn now() -> i64 {
    Timestamp::now().as_microsecond()
}
