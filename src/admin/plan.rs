//! From `<admin>` as written to what it means.

use std::time::Duration;

use mppd_database::SecretOptions;
use mppd_database::ServerFiles;
use mppd_database::connection::reveal;
use mppd_engine::Finding;
use mppd_engine::config::Spanned;

use super::accounts::{Account, Hash, HashError, Token};
use crate::config::Draft;
use crate::config::admin_settings::{AccountOptions, AdminOptions, MetricsAccess, TokenOptions};
use crate::listener::ListenPlan;

/// What the admin listener is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AdminPlan {
    /// Where it listens; nowhere if empty.
    pub listen: Vec<ListenPlan>,
    /// Who may log in.
    pub accounts: Vec<Account>,
    /// Which programs are let in.
    pub tokens: Vec<Token>,
    /// Names by which browsers reach it, in lower case.
    pub names: Vec<String>,
    /// Whether browsers come by TLS.
    pub is_behind_tls: bool,
    /// How long a login holds.
    pub session_length: Duration,
    /// How long it holds while nothing is looked at.
    pub idle_timeout: Duration,
    /// Who may read `/metrics`.
    pub metrics: MetricsAccess,
    /// Most connections at once on each socket.
    pub max_connections: usize,
}

impl Default for AdminPlan {
    fn default() -> Self {
        AdminPlan::without_secrets(&AdminOptions::default())
    }
}

impl AdminPlan {
    fn without_secrets(options: &AdminOptions) -> Self {
        let name = |name: &Spanned<String>| name.value.trim().to_ascii_lowercase();
        AdminPlan {
            listen: Vec::new(),
            accounts: Vec::new(),
            tokens: Vec::new(),
            names: options.server_name.iter().map(name).collect(),
            is_behind_tls: options.tls_in_front,
            session_length: options.session_length.0.0,
            idle_timeout: options.idle_timeout.0.0,
            metrics: options.metrics,
            max_connections: usize::try_from(options.max_connections.0).unwrap_or(usize::MAX),
        }
    }

    /// Understands `<admin>`; the sockets of the policy server are taken.
    #[must_use]
    pub fn of(draft: &mut Draft, taken: &[ListenPlan]) -> Self {
        let Some(common) = &draft.common else { return AdminPlan::default() };
        let options = &common.admin;
        let mut plan = AdminPlan::without_secrets(options);
        let mut findings = Vec::new();
        plan.listen = listened_on(options, taken, &mut findings);
        let mut files = ServerFiles::new(&mut draft.sources);
        let accounts = options.account.iter().map(|given| account(&given.value, &mut files));
        plan.accounts = sound(accounts, &mut findings);
        let tokens = options.token.iter().map(|given| token(&given.value, &mut files));
        plan.tokens = sound(tokens, &mut findings);
        findings.append(&mut files.warnings);
        refuse_repeated(options.account.iter().map(|a| &a.value.name), "account", &mut findings);
        refuse_repeated(options.token.iter().map(|t| &t.value.name), "token", &mut findings);
        findings.extend(options.server_name.iter().filter_map(wrong_name));
        findings.extend(unreadable_metrics(options));
        draft.findings.extend(findings);
        plan
    }
}

/// The sockets of the admin listener, each once and none of those taken.
fn listened_on(
    options: &AdminOptions,
    taken: &[ListenPlan],
    findings: &mut Vec<Finding>,
) -> Vec<ListenPlan> {
    let mut sockets: Vec<ListenPlan> = Vec::new();
    for option in &options.listen {
        let new = match ListenPlan::of(option) {
            Ok(new) => new,
            Err(faults) => {
                findings.extend(faults);
                continue;
            }
        };
        if taken.iter().chain(&sockets).any(|known| known.endpoint == new.endpoint) {
            let message = format!("{} is listened on twice", new.endpoint);
            findings.push(Finding::error(option.endpoint.span, message));
        }
        sockets.push(new);
    }
    sockets
}

/// Those that could be read; what is wrong with the others is added to the findings.
fn sound<T>(read: impl Iterator<Item = Result<T, Finding>>, findings: &mut Vec<Finding>) -> Vec<T> {
    read.filter_map(|one| one.map_err(|finding| findings.push(finding)).ok()).collect()
}

fn wrong_name(name: &Spanned<String>) -> Option<Finding> {
    if is_name(name.value.trim()) {
        return None;
    }
    let finding = Finding::error(name.span, format!("\"{}\" is no name of a host", name.value));
    Some(finding.with_help("a name without scheme and port, such as console.example.com"))
}

/// Warns of a `/metrics` that asks for a login which nobody has.
fn unreadable_metrics(options: &AdminOptions) -> Option<Finding> {
    let has_reader = !options.token.is_empty() || !options.account.is_empty();
    if options.metrics != MetricsAccess::Token || has_reader {
        return None;
    }
    let message = "nobody may read /metrics: there is neither <token> nor <account>";
    let finding = Finding::warning(options.listen.first()?.endpoint.span, message);
    Some(finding.with_help("\"mppd password --token\" makes a token"))
}

fn is_name(text: &str) -> bool {
    let is_part = |octet: u8| octet.is_ascii_alphanumeric() || matches!(octet, b'-' | b'.' | b'_');
    !text.is_empty() && text.bytes().all(is_part)
}

fn account(options: &AccountOptions, files: &mut ServerFiles<'_>) -> Result<Account, Finding> {
    let name = options.name.value.trim();
    if name.is_empty() || name.chars().any(char::is_control) {
        return Err(Finding::error(options.name.span, "an account needs a name"));
    }
    let hash = secret(&options.password_hash, files)?;
    let hash = Hash::parse(&hash).map_err(|error| refused(&options.password_hash, &error))?;
    Ok(Account { name: name.to_owned(), role: options.role, hash })
}

fn token(options: &TokenOptions, files: &mut ServerFiles<'_>) -> Result<Token, Finding> {
    let hash = secret(&options.secret_hash, files)?;
    Token::parse(options.name.value.trim(), &hash)
        .map_err(|error| refused(&options.secret_hash, &error))
}

fn secret(
    options: &Spanned<SecretOptions>,
    files: &mut ServerFiles<'_>,
) -> Result<String, Finding> {
    Ok(reveal(options, files)?.reveal().trim().to_owned())
}

fn refused(options: &Spanned<SecretOptions>, error: &HashError) -> Finding {
    let help = match error {
        HashError::Token => "\"mppd password --token\" makes a token and prints its hash",
        _ => "\"mppd password\" asks for a password and prints its hash",
    };
    Finding::error(options.span, error.to_string()).with_help(help)
}

fn refuse_repeated<'a>(
    names: impl Iterator<Item = &'a Spanned<String>>,
    what: &str,
    findings: &mut Vec<Finding>,
) {
    let mut seen: Vec<&Spanned<String>> = Vec::new();
    for name in names {
        match seen.iter().find(|known| known.value.trim() == name.value.trim()) {
            Some(first) => {
                let message = format!("{what} \"{}\" is there twice", name.value.trim());
                let finding = Finding::error(name.span, message);
                findings.push(finding.with_related(first.span, "first here"));
            }
            None => seen.push(name),
        }
    }
}
