//! The one declaration of the table `track_policy_request`: its columns, from which the schemas,
//! the statements and the documentation are made, and by which rows are filled and read back.

use std::sync::LazyLock;

use mppd_engine::Attribute;

pub use super::documentation::documentation;
pub use super::sql::{Dialect, OnDuplicate};

/// Name of the table.
pub const TABLE: &str = "track_policy_request";

/// Name of the small table that holds the version of each of mppd's tables.
pub const SCHEMA_TABLE: &str = "mppd_schema";

/// Version of the schema that this program writes.
pub const VERSION: i64 = 1;

/// What a column can hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request's key, 16 octets.
    Key,
    /// An instant with microseconds, UTC.
    Time,
    /// Text of at most so many characters.
    Word(usize),
    /// Text of at most 65,535 octets.
    Text,
    /// A JSON object. A text type in both dialects, since MySQL's own would sort the names.
    Json,
    /// An integer that is not negative.
    Count,
    /// Octets.
    Octets,
}

/// What fills a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The request's key.
    Key,
    /// `received` or `processed`.
    State,
    /// When the request came.
    Received,
    /// An attribute as it was sent.
    Attribute(Attribute),
    /// The local part of an address.
    Local(Attribute),
    /// The domain of an address, lower-case, its labels reversed.
    ReverseDomain(Attribute),
    /// When the decision was recorded.
    Processed,
    /// The status that the engine of this ID gave.
    Status(&'static str),
    /// A named value of the outcome of the engine of this ID.
    Value(&'static str, &'static str),
    /// The exception.
    Error,
    /// The word of the decision's action.
    Decision,
    /// The text of the decision's action.
    DecisionText,
    /// The policy group.
    Group,
    /// What every engine came to.
    Checks,
    /// The request that this one repeats.
    RepeatOf,
    /// The node that answered.
    Node,
    /// The whole request, where the other columns would not give it back.
    Raw,
}

/// One column.
#[derive(Debug, Clone, Copy)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// What it can hold.
    pub kind: Kind,
    /// What fills it.
    pub source: Source,
    /// What it means.
    pub meaning: &'static str,
}

impl Column {
    const fn new(name: &'static str, kind: Kind, source: Source, meaning: &'static str) -> Self {
        Column { name, kind, source, meaning }
    }

    const fn attribute(attribute: Attribute, kind: Kind) -> Self {
        Column::new(attribute.name(), kind, Source::Attribute(attribute), attribute.meaning())
    }

    const fn status(engine: &'static str) -> Self {
        let meaning = "Status of the engine of this ID; NULL where it did not run.";
        Column::new(engine, Kind::Word(64), Source::Status(engine), meaning)
    }

    /// Whether every row has a value here.
    #[must_use]
    pub fn is_required(&self) -> bool {
        matches!(self.source, Source::Key | Source::State | Source::Received)
    }

    /// Whether the value can change between `received` and `processed`.
    #[must_use]
    pub fn is_outcome(&self) -> bool {
        use Source::{Checks, Decision, DecisionText, Error, Processed, State, Status, Value};
        matches!(
            self.source,
            State | Processed | Status(_) | Value(..) | Error | Decision | DecisionText | Checks
        )
    }
}

const LOCAL: &str = "Local part of the address, or all of it where there is no `@`; empty for the \
                     null sender.";
const DOMAIN: &str = "Domain of the address, lower-case, its labels in reverse order \
                      (`com.example.mail`), so that a domain and all below it is one range; an \
                      address literal as it is. NULL where the address has none.";

/// Every column, in the order of the table.
pub const COLUMNS: &[Column] = &[
    Column::new(
        "id",
        Kind::Key,
        Source::Key,
        "Key of the request, a UUID of version 7: time-ordered, unique across nodes.",
    ),
    Column::new(
        "state",
        Kind::Word(16),
        Source::State,
        "`received` while the request is checked, `processed` once it is decided.",
    ),
    Column::new("received_timestamp", Kind::Time, Source::Received, "When the request came."),
    Column::attribute(Attribute::Request, Kind::Word(64)),
    Column::attribute(Attribute::ProtocolState, Kind::Word(32)),
    Column::attribute(Attribute::ProtocolName, Kind::Word(32)),
    Column::attribute(Attribute::HeloName, Kind::Text),
    Column::attribute(Attribute::QueueId, Kind::Word(64)),
    Column::new("sender_local", Kind::Word(255), Source::Local(Attribute::Sender), LOCAL),
    Column::new(
        "sender_reverse_domain",
        Kind::Word(255),
        Source::ReverseDomain(Attribute::Sender),
        DOMAIN,
    ),
    Column::new("recipient_local", Kind::Word(255), Source::Local(Attribute::Recipient), LOCAL),
    Column::new(
        "recipient_reverse_domain",
        Kind::Word(255),
        Source::ReverseDomain(Attribute::Recipient),
        DOMAIN,
    ),
    Column::attribute(Attribute::RecipientCount, Kind::Count),
    Column::attribute(Attribute::ClientAddress, Kind::Word(64)),
    Column::attribute(Attribute::ClientName, Kind::Word(255)),
    Column::attribute(Attribute::ReverseClientName, Kind::Word(255)),
    Column::attribute(Attribute::Instance, Kind::Word(64)),
    Column::attribute(Attribute::SaslMethod, Kind::Word(64)),
    Column::attribute(Attribute::SaslUsername, Kind::Text),
    Column::attribute(Attribute::SaslSender, Kind::Text),
    Column::attribute(Attribute::Size, Kind::Count),
    Column::attribute(Attribute::CcertSubject, Kind::Text),
    Column::attribute(Attribute::CcertIssuer, Kind::Text),
    Column::attribute(Attribute::CcertFingerprint, Kind::Word(255)),
    Column::attribute(Attribute::EncryptionProtocol, Kind::Word(32)),
    Column::attribute(Attribute::EncryptionCipher, Kind::Word(64)),
    Column::attribute(Attribute::EncryptionKeysize, Kind::Count),
    Column::attribute(Attribute::EtrnDomain, Kind::Text),
    Column::attribute(Attribute::Stress, Kind::Word(16)),
    Column::new(
        "processed_timestamp",
        Kind::Time,
        Source::Processed,
        "When the decision was recorded; NULL until then.",
    ),
    Column::status("ch_wbl"),
    Column::status("spam_traps"),
    Column::status("wbl"),
    Column::status("spf"),
    Column::status("rbl"),
    Column::status("greylist"),
    Column::new(
        "error_text",
        Kind::Text,
        Source::Error,
        "The exception that ended the chains: engine, kind and message. The kinds: `failed`, `panic`, `timeout`, `overloaded`, `suspended`, `gone`, `deadline`.",
    ),
    Column::new(
        "decision",
        Kind::Word(32),
        Source::Decision,
        "The action's word or code, as in access(5): `REJECT`, `DUNNO`, `450`.",
    ),
    Column::new(
        "decision_text",
        Kind::Text,
        Source::DecisionText,
        "What follows that word. Where the policy group is in a dry run, the word is `DUNNO`, and \
         this is what would have been answered: `dry run: REJECT listed`.",
    ),
    Column::attribute(Attribute::CcertPubkeyFingerprint, Kind::Word(255)),
    Column::attribute(Attribute::ClientPort, Kind::Word(16)),
    Column::attribute(Attribute::PolicyContext, Kind::Text),
    Column::attribute(Attribute::ServerAddress, Kind::Word(64)),
    Column::attribute(Attribute::ServerPort, Kind::Word(16)),
    Column::attribute(Attribute::CompatibilityLevel, Kind::Word(32)),
    Column::attribute(Attribute::MailVersion, Kind::Word(64)),
    Column::attribute(Attribute::TlsSni, Kind::Word(255)),
    Column::new("group_id", Kind::Word(255), Source::Group, "Policy group of the request."),
    Column::new(
        "rbl_site",
        Kind::Text,
        Source::Value("rbl", "site"),
        "The list that the engine `rbl` found the client or name on.",
    ),
    Column::new(
        "rbl_reason",
        Kind::Text,
        Source::Value("rbl", "reason"),
        "What that list says about it.",
    ),
    Column::new(
        "checks",
        Kind::Json,
        Source::Checks,
        "Every engine that ran, in that order: `{\"ID\": {\"status\": …, \"ms\": …, \"text\": \
         …}}`; `text` only where there is one. An engine that ran again is `ID#2`. NULL where \
         none ran.",
    ),
    Column::new(
        "repeat_of",
        Kind::Key,
        Source::RepeatOf,
        "Key of the request that this one repeats octet for octet, and whose answer it got.",
    ),
    Column::new("node", Kind::Word(255), Source::Node, "The node that answered."),
    Column::new(
        "raw_request",
        Kind::Octets,
        Source::Raw,
        "The whole request, octet for octet, exactly where the other columns would not give it \
         back: values that are not UTF-8, too long or not in the canonical form, unknown or \
         repeated attributes, another order. NULL elsewhere.",
    ),
];

/// A secondary key: its columns, each with the number of characters that are indexed, if not all.
#[derive(Debug, Clone, Copy)]
pub struct Index {
    /// Its name.
    pub name: &'static str,
    /// Its columns.
    pub columns: &'static [(&'static str, Option<usize>)],
    /// Why it is worth its cost: every one is written with every row.
    pub reason: &'static str,
}

/// The secondary keys. The rest of a search reads the rows that these leave over; newest first
/// needs none, since the primary key is in the order of time and stands at the end of each.
pub const INDEXES: &[Index] = &[
    Index {
        name: "received_timestamp",
        columns: &[("received_timestamp", None)],
        reason: "times; grows at its end, so it costs next to nothing",
    },
    Index {
        name: "instance",
        columns: &[("instance", None)],
        reason: "all requests of one message; short values, and those of one time lie together",
    },
    Index {
        name: "sender",
        columns: &[("sender_reverse_domain", Some(64)), ("sender_local", Some(32))],
        reason: "an address, a domain, a domain and all below it",
    },
    Index {
        name: "recipient",
        columns: &[("recipient_reverse_domain", Some(64)), ("recipient_local", Some(32))],
        reason: "the same for recipients",
    },
    Index {
        name: "client_address",
        columns: &[("client_address", None)],
        reason: "a client, or a network by the beginning of its addresses",
    },
];

/// Where an attribute is held.
#[derive(Debug, Clone, Copy)]
pub(super) enum Held {
    /// In one column.
    Whole(usize),
    /// In a column for the local part and one for the domain.
    Split(usize, usize),
}

/// For every known attribute, in Postfix's order, the columns that hold it.
pub(super) static HELD: LazyLock<Vec<(Attribute, Held)>> = LazyLock::new(|| {
    let held = |attribute: &Attribute| {
        let whole = place(Source::Attribute(*attribute)).map(Held::Whole);
        let split = || {
            let local = place(Source::Local(*attribute))?;
            Some(Held::Split(local, place(Source::ReverseDomain(*attribute))?))
        };
        whole.or_else(split).map(|held| (*attribute, held))
    };
    Attribute::ALL.iter().filter_map(held).collect()
});

fn place(source: Source) -> Option<usize> {
    COLUMNS.iter().position(|column| column.source == source)
}

/// Place of a column by its name.
#[must_use]
pub fn position(name: &str) -> Option<usize> {
    COLUMNS.iter().position(|column| column.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_has_its_columns() {
        assert_eq!(HELD.len(), Attribute::ALL.len());
    }

    #[test]
    fn a_statement_of_a_thousand_rows_stays_below_the_limit_of_parameters() {
        assert!(COLUMNS.len() * 1_024 <= 65_535);
    }

    #[test]
    fn every_key_names_columns_of_the_table() {
        for index in INDEXES {
            for (name, _) in index.columns {
                assert!(position(name).is_some(), "{name}");
            }
        }
    }

    #[test]
    fn the_columns_stand_in_the_documented_order() {
        let names: Vec<&str> = COLUMNS.iter().map(|column| column.name).collect();
        assert_eq!(
            names.join(" "),
            "id state received_timestamp request protocol_state protocol_name helo_name queue_id \
             sender_local sender_reverse_domain recipient_local recipient_reverse_domain \
             recipient_count client_address client_name reverse_client_name instance sasl_method \
             sasl_username sasl_sender size ccert_subject ccert_issuer ccert_fingerprint \
             encryption_protocol encryption_cipher encryption_keysize etrn_domain stress \
             processed_timestamp ch_wbl spam_traps wbl spf rbl greylist error_text decision \
             decision_text ccert_pubkey_fingerprint client_port policy_context server_address \
             server_port compatibility_level mail_version tls_sni group_id rbl_site rbl_reason \
             checks repeat_of node raw_request"
        );
    }
}
