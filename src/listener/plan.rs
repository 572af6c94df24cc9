//! From `<listen>` as written to a socket as meant.

use mppd_engine::Finding;
use mppd_engine::config::Spanned;
use mppd_engine::endpoint::FORMS;

use super::socket::{find_group, find_user};
use super::{Endpoint, ListenPlan, Permissions};
use crate::config::settings::ListenOptions;

impl ListenPlan {
    /// Understands one `<listen>`.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    pub fn of(options: &ListenOptions) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let endpoint = options.endpoint.value.parse::<Endpoint>().map_err(|error| {
            let finding = Finding::error(options.endpoint.span, error.to_string());
            findings.push(finding.with_help(format!("one of: {FORMS}")));
        });
        let mode = understood(options.mode.as_ref(), parse_mode, &mut findings);
        let owner = understood(options.owner.as_ref(), find_user, &mut findings);
        let group = understood(options.group.as_ref(), find_group, &mut findings);
        if let Ok(Endpoint::Inet { .. }) = endpoint {
            let set = [&options.mode, &options.owner, &options.group];
            for option in set.into_iter().flatten() {
                let message = "only a unix: socket has mode, owner and group";
                findings.push(Finding::error(option.span, message));
            }
        }
        match endpoint {
            Ok(endpoint) if findings.is_empty() => {
                Ok(ListenPlan { endpoint, permissions: Permissions { mode, owner, group } })
            }
            _ => Err(findings),
        }
    }
}

fn understood<T>(
    option: Option<&Spanned<String>>,
    read: impl Fn(&str) -> Result<T, String>,
    findings: &mut Vec<Finding>,
) -> Option<T> {
    let option = option?;
    read(option.value.trim())
        .map_err(|message| findings.push(Finding::error(option.span, message)))
        .ok()
}

fn parse_mode(text: &str) -> Result<u32, String> {
    match u32::from_str_radix(text, 8) {
        Ok(mode) if mode <= 0o777 => Ok(mode),
        _ => Err(format!("\"{text}\" is not a file mode, such as 0660")),
    }
}
