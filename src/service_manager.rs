//! What systemd, or whoever else started mppd as a service, is told (`sd_notify(3)`): when it is
//! ready, reloads or stops, how it is in a line, and, for its watchdog, that it still lives.
//! Without a `NOTIFY_SOCKET` in the environment nobody is told anything.

use std::time::Duration;

use mppd_engine::slog::{Logger, debug};
use sd_notify::NotifyState;

/// Tells the service manager.
#[derive(Debug, Clone)]
pub struct ServiceManager {
    logger: Logger,
}

impl ServiceManager {
    /// Failures to tell it go to this logger.
    #[must_use]
    pub fn new(logger: Logger) -> Self {
        ServiceManager { logger }
    }

    /// mppd answers, and this is how it is.
    pub fn ready(&self, status: &str) {
        self.tell(&[NotifyState::Ready, NotifyState::Status(status)]);
    }

    /// The configuration is read again. [`ServiceManager::ready`] must follow.
    pub fn reloading(&self) {
        match NotifyState::monotonic_usec_now() {
            Ok(now) => self.tell(&[NotifyState::Reloading, now]),
            Err(error) => debug!(self.logger, "the clock can't be read"; "reason" => %error),
        }
    }

    /// mppd is about to end.
    pub fn stopping(&self) {
        self.tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
    }

    /// Tells, for ever, that the thread lives on which this runs, if anybody wants to know.
    pub async fn keep_watchdog_quiet(self) {
        let Some(period) = sd_notify::watchdog_enabled() else { return };
        loop {
            self.tell(&[NotifyState::Watchdog]);
            // Twice in the time after which mppd counts as dead.
            tokio::time::sleep((period / 2).max(Duration::from_millis(1))).await;
        }
    }

    fn tell(&self, what: &[NotifyState<'_>]) {
        if let Err(error) = sd_notify::notify(what) {
            debug!(self.logger, "the service manager can't be told"; "reason" => %error);
        }
    }
}
