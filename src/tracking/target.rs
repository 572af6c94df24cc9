//! Where rows go: the embedded store, or a database with its spool.

use tokio::time::Instant;

use super::database::Database;
use super::embedded::Embedded;
use super::spool::{Spool, Unkept};
use super::status::{Place, TrackerStatus};
use super::store::{RowWrite, Store, StoreError};

/// Where rows go.
pub(super) enum Target {
    /// The embedded store.
    Embedded(Box<Embedded>),
    /// A database, or its spool.
    Database(Box<Database>),
}

impl Target {
    /// Writes rows durably; gives back those for which there is no room.
    pub(super) async fn write(&mut self, writes: &[RowWrite]) -> Result<Unkept, StoreError> {
        match self {
            Target::Embedded(embedded) => embedded.write(writes).await,
            Target::Database(database) => database.write(writes).await,
        }
    }

    /// Does what is to be done beside writing, apart from moving a spool.
    pub(super) async fn attend(&mut self) {
        match self {
            Target::Embedded(embedded) => embedded.attend().await,
            Target::Database(database) => database.attend().await,
        }
    }

    /// Ready when [`Target::attend`] has something to do.
    pub(super) async fn changed(&mut self) {
        match self {
            Target::Embedded(embedded) => until(embedded.next_look()).await,
            Target::Database(database) => database.changed().await,
        }
    }

    /// Moves a few rows out of a spool; whether there were any.
    pub(super) async fn move_some(&mut self) -> bool {
        match self {
            Target::Database(database) if database.can_move() => {
                database.move_some().await;
                true
            }
            _ => false,
        }
    }

    /// The store that holds the records, when it is there and nothing waits to be moved into it.
    pub(super) fn at_rest(&mut self) -> Option<&mut dyn Store> {
        match self {
            Target::Embedded(embedded) => Some(embedded.store()),
            Target::Database(database) => database.at_rest(),
        }
    }

    /// Says that [`Target::at_rest`] did not do what it was asked for.
    pub(super) fn failed(&mut self, error: &StoreError) {
        if let Target::Database(database) = self {
            database.failed(error);
        }
    }

    fn spool(&self) -> Option<&Spool> {
        match self {
            Target::Embedded(embedded) => embedded.refused(),
            Target::Database(database) => Some(database.spool()),
        }
    }

    /// Whether new rows find no room, or only in place of others.
    pub(super) fn is_at_bound(&self) -> bool {
        match self {
            Target::Embedded(_) => false,
            Target::Database(database) => database.is_at_bound(),
        }
    }

    /// How many rows were removed that were not moved.
    pub(super) fn dropped(&self) -> u64 {
        self.spool().map_or(0, Spool::dropped)
    }

    /// Tells how it is.
    pub(super) fn describe(&self, status: &mut TrackerStatus) {
        status.at_bound = self.is_at_bound();
        if let Some(spool) = self.spool() {
            let oldest = spool.oldest();
            status.spooled = spool.rows();
            status.spooled_octets = spool.octets();
            status.refused = spool.refused();
            status.oldest = oldest.and_then(|at| jiff::Timestamp::from_microsecond(at).ok());
        }
        let Target::Database(database) = self else { return };
        (status.absences, status.attempts) = database.absences_and_attempts();
        match (database.absence(), &status.place) {
            (None, Place::Connected) => {}
            (None, _) => status.place = Place::Connected,
            (Some((since, reason)), _) => {
                status.place = Place::Away { since, reason: reason.to_owned() };
            }
        }
    }

    /// Ends the connection.
    pub(super) async fn close(self) {
        if let Target::Database(database) = self {
            database.close().await;
        }
    }
}

/// Ready at this time, or never.
pub(super) async fn until(time: Option<Instant>) {
    match time {
        Some(time) => tokio::time::sleep_until(time).await,
        None => std::future::pending().await,
    }
}
