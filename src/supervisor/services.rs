//! What the server shares with all engines of one configuration.

use std::sync::Arc;

use mppd_database::Pools;
use mppd_dns::{Dns, Resolver};
use mppd_engine::config::Services;
use mppd_engine::slog::Logger;
use mppd_engine::{Finding, Spanned};
use mppd_state::StateStore;

use crate::config::settings::CommonOptions;
use crate::config::traces_settings::TracesOptions;

/// What engines share, and what is wrong with its options. Nobody is asked anything yet.
pub(super) fn services(
    common: Option<&CommonOptions>,
    state_store: &Arc<StateStore>,
    logger: &Logger,
) -> (Services, Vec<Finding>) {
    let options = common.map(|common| common.dns.clone()).unwrap_or_default();
    let (resolver, mut findings) = options.resolver_options();
    let mut services = Services::default()
        .with(Arc::new(Dns::new(Resolver::with_logger(resolver, logger))))
        .with(state_store.clone())
        .with(Arc::<Pools>::default());
    if let Some(traces) = common.and_then(|common| common.traces.as_ref()) {
        match with_traces(services.clone(), traces, logger) {
            Ok(with_traces) => services = with_traces,
            Err(finding) => findings.push(finding),
        }
    }
    (services, findings)
}

#[cfg(feature = "otel")]
fn with_traces(
    services: Services,
    options: &Spanned<TracesOptions>,
    logger: &Logger,
) -> Result<Services, Finding> {
    Ok(services.with(Arc::new(crate::traces::Tracer::new(options, logger)?)))
}

#[cfg(not(feature = "otel"))]
fn with_traces(
    _: Services,
    options: &Spanned<TracesOptions>,
    _: &Logger,
) -> Result<Services, Finding> {
    let finding = Finding::error(options.span, "this mppd was built without traces");
    Err(finding.with_help("build it with --features otel, or leave <traces> out"))
}
