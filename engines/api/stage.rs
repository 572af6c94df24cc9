//! The points of an SMTP session at which Postfix asks.

use std::fmt;

/// The point of an SMTP session at which Postfix asks, after the protocol state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Stage {
    /// `CONNECT`
    Connect = 1,
    /// `EHLO` and `HELO`
    Helo = 1 << 1,
    /// `MAIL`
    Mail = 1 << 2,
    /// `RCPT`
    Rcpt = 1 << 3,
    /// `DATA`, also for BDAT
    Data = 1 << 4,
    /// `END-OF-MESSAGE`
    EndOfMessage = 1 << 5,
    /// `VRFY`
    Vrfy = 1 << 6,
    /// `ETRN`
    Etrn = 1 << 7,
    /// Any other, such as `XCLIENT`
    Other = 1 << 8,
}

impl Stage {
    /// Every stage, in the order of an SMTP session.
    pub const ALL: &'static [Stage] = &[
        Stage::Connect,
        Stage::Helo,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::EndOfMessage,
        Stage::Vrfy,
        Stage::Etrn,
        Stage::Other,
    ];

    /// The stage of a protocol state.
    #[must_use]
    pub fn from_protocol_state(state: &[u8]) -> Stage {
        match state {
            b"CONNECT" => Stage::Connect,
            b"EHLO" | b"HELO" => Stage::Helo,
            b"MAIL" => Stage::Mail,
            b"RCPT" => Stage::Rcpt,
            b"DATA" => Stage::Data,
            b"END-OF-MESSAGE" => Stage::EndOfMessage,
            b"VRFY" => Stage::Vrfy,
            b"ETRN" => Stage::Etrn,
            _ => Stage::Other,
        }
    }

    /// Its name in the configuration and in the records: `policy-rcpt`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Connect => "policy-connect",
            Stage::Helo => "policy-helo",
            Stage::Mail => "policy-mail",
            Stage::Rcpt => "policy-rcpt",
            Stage::Data => "policy-data",
            Stage::EndOfMessage => "policy-end-of-message",
            Stage::Vrfy => "policy-vrfy",
            Stage::Etrn => "policy-etrn",
            Stage::Other => "policy-other",
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of stages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stages(u16);

impl Stages {
    /// Every stage.
    pub const ALL: Stages = Stages(0x1ff);

    /// Those at which a client has said HELO. An unknown one may always be among them.
    pub(crate) const FROM_HELO: Stages = Stages::of(&[
        Stage::Helo,
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::EndOfMessage,
        Stage::Vrfy,
        Stage::Etrn,
        Stage::Other,
    ]);
    /// Those at which there is a sender. An unknown one may always be among them.
    pub(crate) const FROM_MAIL: Stages = Stages::of(&[
        Stage::Mail,
        Stage::Rcpt,
        Stage::Data,
        Stage::EndOfMessage,
        Stage::Vrfy,
        Stage::Other,
    ]);
    /// Those at which there is a recipient. An unknown one may always be among them.
    pub(crate) const FROM_RCPT: Stages =
        Stages::of(&[Stage::Rcpt, Stage::Data, Stage::EndOfMessage, Stage::Vrfy, Stage::Other]);
    /// Those at which all recipients are known. An unknown one may always be among them.
    pub(crate) const FROM_DATA: Stages =
        Stages::of(&[Stage::Data, Stage::EndOfMessage, Stage::Other]);
    /// Those of an ETRN. An unknown one may always be among them.
    pub(crate) const ETRN: Stages = Stages::of(&[Stage::Etrn, Stage::Other]);

    /// These stages.
    #[must_use]
    pub const fn of(stages: &[Stage]) -> Stages {
        let mut bits = 0;
        let mut index = 0;
        while index < stages.len() {
            bits |= stages[index] as u16;
            index += 1;
        }
        Stages(bits)
    }

    /// Whether a stage is in the set.
    #[must_use]
    pub const fn contains(self, stage: Stage) -> bool {
        self.0 & stage as u16 != 0
    }

    /// The stages that are in both sets.
    #[must_use]
    pub const fn intersection(self, other: Stages) -> Stages {
        Stages(self.0 & other.0)
    }

    /// The stages that are in one of both sets.
    #[must_use]
    pub const fn union(self, other: Stages) -> Stages {
        Stages(self.0 | other.0)
    }

    /// Whether there is no stage in the set.
    #[must_use]
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The stages of the set, in the order of an SMTP session.
    pub fn iter(self) -> impl Iterator<Item = Stage> {
        Stage::ALL.iter().copied().filter(move |stage| self.contains(*stage))
    }
}

/// The names of the stages, with commas between them.
impl fmt::Display for Stages {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for stage in self.iter() {
            write!(f, "{separator}{stage}")?;
            separator = ", ";
        }
        Ok(())
    }
}
