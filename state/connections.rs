//! How many connections a store has, for whoever watches over the server from another thread.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The number of connections that are open.
#[derive(Debug, Clone, Default)]
pub(crate) struct Connections(Arc<AtomicU64>);

/// A connection that counts, for as long as this lives.
#[derive(Debug)]
pub(crate) struct Connected(Connections);

impl Connections {
    /// Counts one that was just opened.
    pub(crate) fn opened(&self) -> Connected {
        self.0.fetch_add(1, Ordering::Relaxed);
        Connected(self.clone())
    }

    pub(crate) fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Drop for Connected {
    fn drop(&mut self) {
        self.0.0.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_connection_counts_until_it_is_gone() {
        let connections = Connections::default();
        let (one, other) = (connections.opened(), connections.opened());
        assert_eq!(connections.count(), 2);
        drop(one);
        assert_eq!(connections.count(), 1);
        drop(other);
        assert_eq!(connections.count(), 0);
    }
}
