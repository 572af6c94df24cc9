//! The attributes that Postfix is known to send, each with its name on the wire and its meaning.

use crate::stage::Stages;

macro_rules! attributes {
    ($($(#[doc = $doc:expr])+ $variant:ident = $name:literal,)+) => {
        /// An attribute that Postfix is known to send.
        ///
        /// The order is that in which Postfix sends them; a request whose known attributes come in
        /// another order is valid all the same.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(u8)]
        pub enum Attribute {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl Attribute {
            /// Every known attribute, in Postfix's order.
            pub const ALL: &'static [Attribute] = &[$(Attribute::$variant,)+];

            /// The name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self { $(Attribute::$variant => $name,)+ }
            }

            /// What it holds.
            #[must_use]
            pub const fn meaning(self) -> &'static str {
                match self { $(Attribute::$variant => concat!($($doc),+),)+ }
            }

            /// The known attribute of this name, if there is one.
            #[must_use]
            pub fn from_name(name: &[u8]) -> Option<Attribute> {
                match std::str::from_utf8(name).ok()? {
                    $($name => Some(Attribute::$variant),)+
                    _ => None,
                }
            }
        }
    };
}

attributes! {
    /// Always `smtpd_access_policy`.
    Request = "request",
    /// The SMTP command that is being decided: `CONNECT`, `EHLO`, `HELO`, `MAIL`, `RCPT`, `DATA`, `END-OF-MESSAGE`, `VRFY`, `ETRN`, or one that is not documented.
    ProtocolState = "protocol_state",
    /// `SMTP` or `ESMTP`.
    ProtocolName = "protocol_name",
    /// Address of the client, or `unknown`.
    ClientAddress = "client_address",
    /// Verified name of the client, or `unknown`.
    ClientName = "client_name",
    /// Port of the client, or `unknown`.
    ClientPort = "client_port",
    /// Name that the client's address points to, not verified, or `unknown`.
    ReverseClientName = "reverse_client_name",
    /// Local address of the SMTP connection.
    ServerAddress = "server_address",
    /// Local port of the SMTP connection.
    ServerPort = "server_port",
    /// What the client said after HELO or EHLO.
    HeloName = "helo_name",
    /// Envelope sender, unquoted; empty for the null sender.
    Sender = "sender",
    /// Envelope recipient, unquoted.
    Recipient = "recipient",
    /// Number of accepted recipients, at DATA and END-OF-MESSAGE.
    RecipientCount = "recipient_count",
    /// Queue ID; empty until a recipient was accepted.
    QueueId = "queue_id",
    /// Key of one mail transaction.
    Instance = "instance",
    /// Size in octets, as announced or (at END-OF-MESSAGE) as received.
    Size = "size",
    /// Argument of ETRN.
    EtrnDomain = "etrn_domain",
    /// `yes` when Postfix is under stress.
    Stress = "stress",
    /// SASL mechanism of an authenticated client.
    SaslMethod = "sasl_method",
    /// Login name of an authenticated client.
    SaslUsername = "sasl_username",
    /// What the client claimed in `MAIL FROM … AUTH=`.
    SaslSender = "sasl_sender",
    /// Common name of the verified client certificate, xtext.
    CcertSubject = "ccert_subject",
    /// Common name of the issuer of that certificate, xtext.
    CcertIssuer = "ccert_issuer",
    /// Fingerprint of the client certificate.
    CcertFingerprint = "ccert_fingerprint",
    /// Fingerprint of the client certificate's public key.
    CcertPubkeyFingerprint = "ccert_pubkey_fingerprint",
    /// TLS protocol.
    EncryptionProtocol = "encryption_protocol",
    /// TLS cipher.
    EncryptionCipher = "encryption_cipher",
    /// TLS key size in bits.
    EncryptionKeysize = "encryption_keysize",
    /// Server name that the client asked for.
    TlsSni = "tls_sni",
    /// The text configured for this endpoint in Postfix.
    PolicyContext = "policy_context",
    /// Postfix's `compatibility_level`.
    CompatibilityLevel = "compatibility_level",
    /// Postfix's version.
    MailVersion = "mail_version",
}

impl Attribute {
    /// Where it can have a value. Only what is certain of every Postfix is left out, and of an
    /// unknown protocol state nothing is.
    #[must_use]
    pub const fn stages(self) -> Stages {
        match self {
            Attribute::HeloName => Stages::FROM_HELO,
            Attribute::Sender | Attribute::SaslSender | Attribute::Size => Stages::FROM_MAIL,
            Attribute::Recipient | Attribute::Instance | Attribute::QueueId => Stages::FROM_RCPT,
            Attribute::RecipientCount => Stages::FROM_DATA,
            Attribute::EtrnDomain => Stages::ETRN,
            _ => Stages::ALL,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_attribute_is_found_by_its_name() {
        for attribute in Attribute::ALL {
            assert_eq!(Attribute::from_name(attribute.name().as_bytes()), Some(*attribute));
        }
        assert_eq!(Attribute::from_name(b"Sender"), None);
    }
}
