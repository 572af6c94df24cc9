//! File descriptors: every connection takes one, and the system allows a process so many only.

use mppd_engine::slog::{Logger, info, warn};
use nix::sys::resource::{Resource, getrlimit, setrlimit};

use super::MAX_TURNING_AWAY;

/// For all that is no connection of a peer: databases, engines, stores, lists that are read.
const OTHERS: u64 = 1_000;

/// Sees to it that the process may have so many connections, as far as the system lets it; says so
/// where it does not.
pub fn make_room(max_connections: u32, logger: &Logger) {
    let wanted = u64::from(max_connections) + u64::from(MAX_TURNING_AWAY) + OTHERS;
    let (soft, hard) = match getrlimit(Resource::RLIMIT_NOFILE) {
        Ok(limits) => limits,
        Err(error) => {
            warn!(logger, "can't find out how many files may be open"; "reason" => %error);
            return;
        }
    };
    if soft >= wanted {
        return;
    }
    // Only root can go beyond the hard limit.
    let raised = [wanted.max(hard), hard].into_iter().find(|most| {
        let soft = wanted.min(*most);
        setrlimit(Resource::RLIMIT_NOFILE, soft, *most).is_ok()
    });
    match raised {
        Some(most) if most >= wanted => {
            info!(logger, "limit of open files raised"; "from" => soft, "to" => wanted);
        }
        _ => {
            warn!(logger, "the system allows fewer open files than max_connections may need; raise \
            it (LimitNOFILE of systemd, ulimit -n) or lower max_connections";
            "wanted" => wanted, "allowed" => raised.unwrap_or(soft),
            "max_connections" => max_connections);
        }
    }
}
