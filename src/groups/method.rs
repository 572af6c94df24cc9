//! The methods that look for the group of a request, and the order in which they are asked.

use std::collections::HashMap;

use mppd_engine::config::Spanned;
use mppd_engine::{Finding, Span};

/// A way to find the group of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By the address of the client.
    IpList,
    /// By the envelope recipient.
    AddressListRecipient,
    /// By the envelope sender.
    AddressListSender,
    /// By the name under which the client has logged in.
    SaslUser,
}

impl Method {
    /// Every method, in the order in which they are asked unless configured.
    pub const ALL: [Method; 4] =
        [Method::IpList, Method::AddressListRecipient, Method::AddressListSender, Method::SaslUser];

    /// Its name in `<members_global_sequence>`, which is that of the element with its members.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Method::IpList => "ip_list",
            Method::AddressListRecipient => "address_list_recipient",
            Method::AddressListSender => "address_list_sender",
            Method::SaslUser => "sasl_user",
        }
    }
}

/// Reads `<members_global_sequence>`.
pub(super) fn sequence(text: Option<&Spanned<String>>) -> (Vec<Method>, Vec<Finding>) {
    let Some(text) = text else { return (Method::ALL.to_vec(), Vec::new()) };
    let (mut methods, mut findings) = (Vec::new(), Vec::new());
    let mut seen: HashMap<&str, Span> = HashMap::new();
    for word in text.words() {
        let Some(method) = Method::ALL.into_iter().find(|method| method.name() == word.value)
        else {
            let known = Method::ALL.map(Method::name);
            findings.push(Finding::unknown(word.span, "method", word.value, known));
            continue;
        };
        if let Some(first) = seen.insert(word.value, word.span) {
            let message = format!("method \"{}\" stands twice in the sequence", word.value);
            findings.push(Finding::error(word.span, message).with_related(first, "first here"));
            continue;
        }
        methods.push(method);
    }
    (methods, findings)
}
