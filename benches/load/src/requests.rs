//! Made-up requests as Postfix 3.7 sends them at RCPT, with clients, senders and recipients of which
//! some come far more often than others, and a new instance for every message.

use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

const CLIENTS: u32 = 5_000;
const SENDERS: u32 = 5_000;
const RECIPIENTS: u32 = 2_000;

/// A source of requests; two with different seeds give different ones.
#[derive(Debug)]
pub struct Requests {
    random: u64,
    source: u64,
    seconds: u64,
    messages: u64,
    recipients_left: u32,
    message: Message,
}

#[derive(Debug, Clone, Copy)]
struct Message {
    client: u32,
    sender: u32,
    port: u32,
}

impl Requests {
    /// The requests of one connection.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Requests {
            random: (seed + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            source: u64::from(std::process::id()) << 16 | (seed & 0xffff),
            seconds: now.as_secs(),
            messages: 0,
            recipients_left: 0,
            message: Message { client: 0, sender: 0, port: 0 },
        }
    }

    /// Writes the next request in place of the last one.
    pub fn next_into(&mut self, octets: &mut Vec<u8>) {
        if self.recipients_left == 0 {
            self.next_message();
        }
        self.recipients_left -= 1;
        let recipient = self.skewed(RECIPIENTS);
        octets.clear();
        // Writing into a vector cannot fail.
        drop(self.write(octets, recipient));
    }

    fn next_message(&mut self) {
        self.messages += 1;
        // 1.4 recipients on average.
        self.recipients_left = if self.below(5) < 2 { 2 } else { 1 };
        self.message = Message {
            client: self.skewed(CLIENTS),
            sender: self.skewed(SENDERS),
            port: 20_000 + self.below(40_000),
        };
    }

    fn write(&self, octets: &mut Vec<u8>, recipient: u32) -> std::io::Result<()> {
        let Message { client, sender, port } = self.message;
        let (high, low) = (client / 250 + 1, client % 250 + 1);
        octets.extend_from_slice(
            b"request=smtpd_access_policy\nprotocol_state=RCPT\nprotocol_name=ESMTP\n",
        );
        if client.is_multiple_of(10) {
            writeln!(octets, "client_address=2001:db8:{high:x}::{low:x}")?;
        } else {
            writeln!(octets, "client_address=10.20.{high}.{low}")?;
        }
        let name = format!("mail{client}.client{high}.example.net");
        let domain = sender % 700;
        writeln!(octets, "client_name={name}\nclient_port={port}\nreverse_client_name={name}")?;
        writeln!(octets, "server_address=198.51.100.25\nserver_port=25\nhelo_name={name}")?;
        writeln!(octets, "sender=sender{sender}@domain{domain}.example.org")?;
        writeln!(octets, "recipient=user{recipient}@example.com\nrecipient_count=0\nqueue_id=")?;
        let (source, seconds, messages) = (self.source, self.seconds, self.messages);
        writeln!(octets, "instance={source:x}.{seconds:x}.0.{messages:x}")?;
        octets.extend_from_slice(
            b"size=12345\netrn_domain=\nstress=\nsasl_method=\nsasl_username=\nsasl_sender=\n\
              ccert_subject=\nccert_issuer=\nccert_fingerprint=\nccert_pubkey_fingerprint=\n\
              encryption_protocol=TLSv1.3\nencryption_cipher=TLS_AES_256_GCM_SHA384\n\
              encryption_keysize=256\npolicy_context=\n\n",
        );
        Ok(())
    }

    /// A number below `count`; the smaller, the likelier.
    fn skewed(&mut self, count: u32) -> u32 {
        let (first, second) = (u64::from(self.below(count)), u64::from(self.below(count)));
        u32::try_from(first * second / u64::from(count)).unwrap_or(0)
    }

    fn below(&mut self, count: u32) -> u32 {
        // xorshift64: cheap, and good enough to choose names.
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        u32::try_from((self.random >> 32) % u64::from(count)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn instance(octets: &[u8]) -> String {
        let text = std::str::from_utf8(octets).unwrap();
        text.lines().find(|line| line.starts_with("instance=")).unwrap().to_owned()
    }

    #[test]
    fn a_request_has_postfix_s_attributes_and_ends_once() {
        let mut octets = Vec::new();
        let mut requests = Requests::new(0);
        for _ in 0..1_000 {
            requests.next_into(&mut octets);
            let text = std::str::from_utf8(&octets).unwrap();
            assert_eq!(text.lines().filter(|line| line.contains('=')).count(), 29);
            assert_eq!(text.find("\n\n"), Some(text.len() - 2));
        }
    }

    #[test]
    fn messages_have_instances_of_their_own() {
        let mut instances = HashSet::new();
        let mut messages = 0;
        for seed in 0..10 {
            let mut requests = Requests::new(seed);
            let mut octets = Vec::new();
            for _ in 0..1_000 {
                requests.next_into(&mut octets);
                instances.insert(instance(&octets));
            }
            messages += requests.messages;
        }
        assert_eq!(instances.len() as u64, messages);
    }
}
