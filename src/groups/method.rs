//! The methods that look for the group of a request, and the order in which they are asked.

use std::collections::HashMap;

use mppd_engine::{Finding, Span};

use crate::config::settings::GroupsOptions;

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
    /// By the answer of a database.
    Sql,
}

impl Method {
    /// Every method, in the order in which they are asked unless configured.
    pub const ALL: [Method; 5] = [
        Method::IpList,
        Method::AddressListRecipient,
        Method::AddressListSender,
        Method::SaslUser,
        Method::Sql,
    ];

    /// Its name in `<members_global_sequence>`, which is that of the element with its members.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Method::IpList => "ip_list",
            Method::AddressListRecipient => "address_list_recipient",
            Method::AddressListSender => "address_list_sender",
            Method::SaslUser => "sasl_user",
            Method::Sql => "sql",
        }
    }
}

/// Reads `<members_global_sequence>`.
pub(super) fn sequence(options: &GroupsOptions) -> (Vec<Method>, Vec<Finding>) {
    let Some(text) = &options.members_global_sequence else {
        let is_there = |method: &Method| *method != Method::Sql || options.sql.is_some();
        return (Method::ALL.into_iter().filter(is_there).collect(), Vec::new());
    };
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
        if method == Method::Sql && options.sql.is_none() {
            let finding = Finding::error(word.span, "there is no <sql> that says what to ask");
            findings.push(finding.with_help("it stands in <groups>"));
        }
        methods.push(method);
    }
    if let Some(sql) = options.sql.as_ref().filter(|_| !methods.contains(&Method::Sql)) {
        findings.push(never_asked(Method::Sql, sql.span));
    }
    (methods, findings)
}

/// A warning of something that only a method would use which is not in the sequence.
pub(super) fn never_asked(method: Method, span: Span) -> Finding {
    let message = format!("no group is looked for by \"{}\"", method.name());
    Finding::warning(span, message).with_help("<members_global_sequence> does not name this method")
}
