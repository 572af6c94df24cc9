//! What an engine connects to, and whether it can be reached: so that an administrator is told of a
//! wrong password before mail depends on it.

use std::fmt;
use std::pin::Pin;

use crate::engine::Failure;

/// A try to reach something: what was found, in a few words.
pub type Attempt = Pin<Box<dyn Future<Output = Result<String, Unreached>>>>;

/// Something that is connected to, and a try to reach it. The try reads at most: nothing is changed
/// by it, however it ends, and no connection stays. Whoever makes the try bounds its time.
pub struct Probe {
    target: String,
    attempt: Attempt,
}

impl Probe {
    /// A try to reach what is described; the description holds no secret. The future does nothing
    /// before it is polled.
    pub fn new(
        target: impl Into<String>,
        attempt: impl Future<Output = Result<String, Unreached>> + 'static,
    ) -> Self {
        Probe { target: target.into(), attempt: Box::pin(attempt) }
    }

    /// What is to be reached: `mysql://mppd@192.0.2.1:3306/lists`.
    #[must_use]
    pub fn target(&self) -> &str {
        &self.target
    }

    /// Tries.
    ///
    /// # Errors
    /// Why it is out of reach, or of no use.
    pub async fn attempt(self) -> Result<String, Unreached> {
        self.attempt.await
    }
}

impl fmt::Debug for Probe {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Probe").field("target", &self.target).finish_non_exhaustive()
    }
}

/// Why something can't be reached, or is of no use.
#[derive(Debug, thiserror::Error)]
#[error("{}", .failure.whole())]
pub struct Unreached {
    failure: Failure,
    help: Option<String>,
}

impl Unreached {
    /// A reason in words.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Failure::new(message).into()
    }

    /// A connection could not be made, with what may help.
    #[must_use]
    pub fn no_connection(error: std::io::Error) -> Self {
        let help = help_with(&error);
        let failure = Failure::new("no connection").with_source(error);
        Unreached { failure, help: help.map(str::to_owned) }
    }

    /// With the error behind it.
    #[must_use]
    pub fn with_source(
        mut self,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        self.failure = self.failure.with_source(source);
        self
    }

    /// With what may help.
    #[must_use]
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// What may help.
    #[must_use]
    pub fn help(&self) -> Option<&str> {
        self.help.as_deref()
    }
}

impl From<Failure> for Unreached {
    fn from(failure: Failure) -> Self {
        Unreached { failure, help: None }
    }
}

/// What may help where a connection fails for this reason; none for one that speaks for itself.
#[must_use]
pub fn help_with(error: &std::io::Error) -> Option<&'static str> {
    use std::io::ErrorKind;
    match error.kind() {
        ErrorKind::ConnectionRefused => Some("start the server, or correct host and port"),
        ErrorKind::NotFound => Some("start the server, or correct the path of its socket"),
        ErrorKind::PermissionDenied => Some("let the user that mppd runs as use the socket"),
        ErrorKind::HostUnreachable | ErrorKind::NetworkUnreachable => {
            Some("correct the host, or see to the route to it")
        }
        // The resolver's failures have no kind of their own.
        _ if error.to_string().contains("failed to lookup address") => {
            Some("correct the name of the host, or see to the name servers of this machine")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_that_is_behind_a_failure_is_told() {
        let cause = std::io::Error::other("connection refused");
        let unreached = Unreached::new("no connection").with_source(cause).with_help("start it");
        assert_eq!(unreached.to_string(), "no connection: connection refused");
        assert_eq!(unreached.help(), Some("start it"));
    }
}
