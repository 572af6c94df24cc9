//! What the server shares with all engines of one configuration.

use std::sync::Arc;

use mppd_dns::{Dns, Resolver};
use mppd_engine::Finding;
use mppd_engine::config::Services;
use mppd_engine::slog::Logger;
use mppd_state::StateStore;

use crate::config::settings::CommonOptions;

/// What engines share, and what is wrong with its options. Nobody is asked anything yet.
pub(super) fn services(
    common: Option<&CommonOptions>,
    state_store: &Arc<StateStore>,
    logger: &Logger,
) -> (Services, Vec<Finding>) {
    let options = common.map(|common| common.dns.clone()).unwrap_or_default();
    let (resolver, findings) = options.resolver_options();
    let services = Services::default()
        .with(Arc::new(Dns::new(Resolver::with_logger(resolver, logger))))
        .with(state_store.clone());
    (services, findings)
}
