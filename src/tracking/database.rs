//! A database that may be away: rows go to it, or into its spool; the spool moves when it is back.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use mppd_database::ResolvedConnection;
use mppd_engine::RequestKey;
use slog::{Logger, crit, error, info, warn};
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::batch::State;
use super::mysql::MySqlStore;
use super::row::Row;
use super::spool::{Spool, Unkept};
use super::store::{RowWrite, Store, StoreError, rewrites};

/// A store that is connected to.
pub(super) type Connecting = Pin<Box<dyn Future<Output = Result<Box<dyn Store>, StoreError>>>>;

/// How a database is connected to.
pub(super) trait Connect {
    /// Connects; afterwards rows can be written.
    fn connect(&self) -> Connecting;
}

impl Connect for ResolvedConnection {
    fn connect(&self) -> Connecting {
        let to = self.clone();
        Box::pin(async move {
            let mut store = MySqlStore::connect(&to).await?;
            store.prepare().await?;
            Ok(Box::new(store) as Box<dyn Store>)
        })
    }
}

const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
const REMINDED_EVERY: Duration = Duration::from_mins(1);

/// Writes rows; of a batch that holds one the store does not accept, the others.
///
/// Gives back those that were refused, with the reason.
pub(super) async fn write_acceptable(
    store: &mut dyn Store,
    writes: &[RowWrite],
) -> Result<Vec<(RowWrite, String)>, StoreError> {
    let mut refused = Vec::new();
    let mut parts = vec![writes.to_vec()];
    while let Some(mut part) = parts.pop() {
        let reason = match store.write(&part).await {
            Ok(()) => continue,
            Err(StoreError::Duplicate) if part.iter().any(|write| write.fresh) => {
                for write in &mut part {
                    write.fresh = false;
                }
                parts.push(part);
                continue;
            }
            Err(error @ (StoreError::Refused(_) | StoreError::Duplicate)) => error.to_string(),
            Err(error) => return Err(error),
        };
        let half = part.split_off(part.len() / 2);
        match (part.is_empty(), half.len()) {
            (true, 1) => refused.extend(half.into_iter().map(|write| (write, reason.clone()))),
            _ => parts.extend([half, part]),
        }
    }
    Ok(refused)
}

/// How often a spool in which only refused rows are left is looked at: somebody may want them to be
/// tried again.
const LOOKED_AT_EVERY: Duration = Duration::from_secs(5);

/// How long a spool is left alone that could not be read or emptied.
const SPOOL_REST: Duration = Duration::from_secs(10);

/// How often rows that have waited too long are looked for.
const EXPIRED_EVERY: Duration = Duration::from_secs(1);

type Attempt = JoinHandle<Result<Box<dyn Store>, StoreError>>;

struct Absence {
    since: Timestamp,
    reason: String,
    began: Instant,
    reminded: Instant,
    pause: Duration,
    next: Instant,
    attempt: Option<Attempt>,
    result: Option<Result<Box<dyn Store>, StoreError>>,
}

impl Absence {
    fn new(reason: String) -> Self {
        let now = Instant::now();
        Absence {
            since: Timestamp::now(),
            reason,
            began: now,
            reminded: now,
            pause: FIRST_PAUSE,
            next: now + FIRST_PAUSE,
            attempt: None,
            result: None,
        }
    }

    // The result of the attempt under way, when it has one.
    async fn attempted(&mut self) {
        let Some(attempt) = &mut self.attempt else { return };
        let result = attempt.await;
        self.attempt = None;
        self.result = Some(result.unwrap_or_else(|ended| Err(StoreError::Away(ended.into()))));
    }
}

impl Drop for Absence {
    fn drop(&mut self) {
        if let Some(attempt) = &self.attempt {
            attempt.abort();
        }
    }
}

enum Link {
    Up(Box<dyn Store>),
    Away(Absence),
}

/// What a database is taken for that is there and says no while it is opened: somebody must mend
/// that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denial {
    /// For one that is away: mail does not wait for whoever mends it.
    Absence,
    /// For a mistake in a configuration that can be refused, since another one is in force.
    Mistake,
}

/// A database and its spool.
pub(super) struct Database {
    connector: Rc<dyn Connect>,
    spool: Spool,
    link: Link,
    /// Until when the spool is left alone after it could not be read or emptied.
    resting: Option<Instant>,
    /// When the spool was looked at last.
    looked: Instant,
    /// When rows that have waited too long were looked for last.
    expired: Option<Instant>,
    moved: u64,
    /// How often it went away, and how often it was tried to come back.
    absences: u64,
    attempts: u64,
    logger: Logger,
}

impl Database {
    /// Connects, or begins without the database where it is away.
    pub(super) async fn open(
        connector: Rc<dyn Connect>,
        spool: Spool,
        denial: Denial,
        logger: Logger,
    ) -> Result<Self, StoreError> {
        let link = match connector.connect().await {
            Ok(store) => Link::Up(store),
            Err(error) if is_away(&error, denial) => {
                say_away(&logger, &error);
                Link::Away(Absence::new(error.to_string()))
            }
            Err(error) => return Err(error),
        };
        let absences = u64::from(matches!(link, Link::Away(_)));
        if spool.rows() > 0 {
            warn!(logger, "rows of an earlier run wait in the spool"; "rows" => spool.rows());
        }
        Ok(Database {
            connector,
            spool,
            link,
            resting: None,
            looked: Instant::now(),
            expired: None,
            moved: 0,
            absences,
            attempts: 0,
            logger,
        })
    }

    /// Since when the database is away, and why.
    pub(super) fn absence(&self) -> Option<(Timestamp, &str)> {
        match &self.link {
            Link::Up(_) => None,
            Link::Away(absence) => Some((absence.since, &absence.reason)),
        }
    }

    /// The rows that wait.
    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// Whether new rows find no room, or only in place of others.
    pub(super) fn is_at_bound(&self) -> bool {
        matches!(self.link, Link::Away(_)) && self.spool.is_full()
    }

    /// The database, when it is there and nothing waits to be moved into it.
    pub(super) fn at_rest(&mut self) -> Option<&mut dyn Store> {
        if self.can_move() {
            return None;
        }
        match &mut self.link {
            Link::Up(store) => Some(&mut **store),
            Link::Away(_) => None,
        }
    }

    /// Says what became of something asked of [`Database::at_rest`].
    pub(super) fn failed(&mut self, error: &StoreError) {
        self.go_away(error);
    }

    /// Writes rows durably: into the database, else into the spool; gives back those for which
    /// there is no room.
    pub(super) async fn write(&mut self, writes: &[RowWrite]) -> Result<Unkept, StoreError> {
        let Link::Up(store) = &mut self.link else { return self.spool.keep(writes) };
        match write_acceptable(&mut **store, writes).await {
            Ok(refused) => Ok(self.keep_refused(&refused)),
            Err(error) => {
                self.go_away(&error);
                self.spool.keep(writes)
            }
        }
    }

    fn keep_refused(&mut self, refused: &[(RowWrite, String)]) -> Unkept {
        if refused.is_empty() {
            return Unkept::new();
        }
        for (write, reason) in refused {
            error!(self.logger, "the tracking database refuses a row; it is set aside in the spool";
                "id" => %write.key, "reason" => reason);
        }
        // They must not hold up the others.
        self.spool.keep_refused(refused).unwrap_or_else(|error| {
            crit!(self.logger, "rows that were refused cannot be set aside"; "reason" => %error);
            refused.iter().map(|(write, _)| write.key).collect()
        })
    }

    fn go_away(&mut self, reason: &StoreError) {
        say_away(&self.logger, reason);
        self.absences += 1;
        self.link = Link::Away(Absence::new(reason.to_string()));
    }

    /// How often it went away, and how often it was tried to connect to it since.
    pub(super) fn absences_and_attempts(&self) -> (u64, u64) {
        (self.absences, self.attempts)
    }

    /// Whether [`Database::move_some`] has something to do.
    pub(super) fn can_move(&self) -> bool {
        matches!(self.link, Link::Up(_)) && self.resting.is_none() && self.spool.has_rows_to_move()
    }

    /// Moves a few rows from the spool into the database.
    pub(super) async fn move_some(&mut self) {
        let Link::Up(store) = &mut self.link else { return };
        let rows = match self.spool.next() {
            Ok(rows) if rows.is_empty() => return self.say_moved(),
            Ok(rows) => rows,
            Err(error) => return self.leave_spool_alone(&error),
        };
        match write_spooled(&mut **store, rows).await {
            Ok((moved, last, refused)) => {
                self.say_refused(&refused);
                self.moved += moved.len() as u64;
                let aside = self.spool.set_aside(&refused);
                if let Err(error) = aside.and_then(|()| self.spool.moved(&moved, last)) {
                    self.leave_spool_alone(&error);
                }
            }
            Err(error) => self.go_away(&error),
        }
    }

    /// Live rows must not wait for a spool that can't be read, or not be emptied (its disk is
    /// full): that is tried again after a while.
    fn leave_spool_alone(&mut self, reason: &StoreError) {
        error!(self.logger, "the spool cannot be moved for now; what comes is written all the same";
            "reason" => %reason, "spooled" => self.spool.rows());
        self.resting = Some(Instant::now() + SPOOL_REST);
    }

    fn say_moved(&mut self) {
        if self.moved > 0 {
            info!(self.logger, "the spool has been moved into the tracking database";
                "rows" => self.moved, "left" => self.spool.rows());
        }
        self.moved = 0;
    }

    fn say_refused(&self, refused: &[(RowWrite, String)]) {
        for (write, reason) in refused {
            error!(self.logger, "the tracking database refuses a row of the spool; it is set aside";
                "id" => %write.key, "reason" => reason);
        }
    }

    /// Ready when something is to be done about an absence, or about a spool that was left alone.
    pub(super) async fn changed(&mut self) {
        let Link::Away(absence) = &mut self.link else {
            return match self.resting.or(self.next_look()) {
                Some(end) => tokio::time::sleep_until(end).await,
                None => std::future::pending().await,
            };
        };
        match absence.attempt {
            Some(_) => absence.attempted().await,
            None => tokio::time::sleep_until(absence.next).await,
        }
    }

    /// When the spool is to be looked at, if rows are left in it.
    fn next_look(&self) -> Option<Instant> {
        (self.spool.rows() > 0).then(|| self.looked + LOOKED_AT_EVERY)
    }

    fn expire(&mut self) {
        if self.expired.is_some_and(|last| last.elapsed() < EXPIRED_EVERY) {
            return;
        }
        self.expired = Some(Instant::now());
        let before = self.spool.dropped();
        let expired = self.spool.expire(SystemTime::now());
        if let Err(error) = expired {
            error!(self.logger, "rows that have waited too long cannot be removed";
                "reason" => %error);
            self.expired = Some(Instant::now() + SPOOL_REST);
        }
        let dropped = self.spool.dropped() - before;
        if dropped > 0 {
            error!(self.logger, "rows have waited too long in the spool and are lost";
                "rows" => dropped, "left" => self.spool.rows());
        }
    }

    fn look_into_spool(&mut self) {
        if self.next_look().is_none_or(|look| Instant::now() < look) {
            return;
        }
        self.looked = Instant::now();
        if let Err(error) = self.spool.look_again() {
            self.leave_spool_alone(&error);
        }
    }

    /// Does what is to be done about an absence: tries to connect, in the background, or takes
    /// over the connection that was made.
    pub(super) async fn attend(&mut self) {
        self.expire();
        if self.resting.is_some_and(|end| Instant::now() >= end) {
            self.resting = None;
            self.spool.rewind();
        }
        let Link::Away(absence) = &mut self.link else { return self.look_into_spool() };
        if absence.attempt.as_ref().is_some_and(JoinHandle::is_finished) {
            absence.attempted().await;
        }
        if let Some(result) = absence.result.take() {
            self.finish(result);
        } else if absence.attempt.is_none() && Instant::now() >= absence.next {
            self.spool.rewind();
            // Without rows to try, the database is believed when it lets one in.
            let rows = self.spool.next().unwrap_or_default();
            self.attempts += 1;
            absence.attempt = Some(actix_rt::spawn(prove(self.connector.connect(), rows)));
        }
    }

    fn finish(&mut self, result: Result<Box<dyn Store>, StoreError>) {
        let Link::Away(absence) = &mut self.link else { return };
        match result {
            Ok(store) => {
                let seconds = absence.began.elapsed().as_secs_f32();
                warn!(self.logger, "the tracking database is back"; "away_seconds" => seconds,
                    "spooled" => self.spool.rows());
                self.link = Link::Up(store);
                self.spool.rewind();
            }
            Err(error) => {
                absence.reason = error.to_string();
                absence.pause = (absence.pause * 2).min(LONGEST_PAUSE);
                absence.next = Instant::now() + absence.pause;
                if absence.reminded.elapsed() >= REMINDED_EVERY {
                    absence.reminded = Instant::now();
                    error!(self.logger, "the tracking database is still away";
                        "reason" => %error, "spooled" => self.spool.rows());
                }
            }
        }
    }

    /// Ends the connection.
    pub(super) async fn close(self) {
        if let Link::Up(store) = self.link {
            store.end().await;
        }
    }
}

/// Whether rows can wait for this to pass.
fn is_away(error: &StoreError, denial: Denial) -> bool {
    match error {
        StoreError::Away(_) | StoreError::Timeout(_) => true,
        StoreError::Denied(_) | StoreError::Schema { .. } => denial == Denial::Absence,
        _ => false,
    }
}

fn say_away(logger: &Logger, reason: &StoreError) {
    error!(logger, "the tracking database is away; rows go into the spool"; "reason" => %reason);
}

// A server that lets one in may still be read-only or full, so the first spooled rows are written
// before live ones are trusted to it. They stay in the spool until they are moved in earnest:
// what is known of them may have grown in the meantime.
async fn prove(connecting: Connecting, rows: Vec<Row>) -> Result<Box<dyn Store>, StoreError> {
    let mut store = connecting.await?;
    write_spooled(&mut *store, rows).await?;
    Ok(store)
}

type Spooled = (Vec<(RequestKey, State)>, Option<RequestKey>, Vec<(RowWrite, String)>);

async fn write_spooled(store: &mut dyn Store, rows: Vec<Row>) -> Result<Spooled, StoreError> {
    let writes = rewrites(rows);
    let last = writes.last().map(|write| write.key);
    let refused = write_acceptable(store, &writes).await?;
    let is_moved = |(key, _): &(RequestKey, State)| refused.iter().all(|(w, _)| w.key != *key);
    let moved = writes.iter().map(|write| (write.key, write.state)).filter(is_moved).collect();
    Ok((moved, last, refused))
}
