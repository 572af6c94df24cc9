//! Requests as they come: looks again and again for rows that were not there before.
//!
//! Keys are in the order in which requests came, rows appear in the order in which they are
//! decided and, from several nodes, committed or moved out of a spool: a row may appear behind
//! others that were shown already. So every look goes back over a while, and the keys of that while
//! are remembered. A row that appears later than that is not shown.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use mppd_engine::RequestKey;
use tokio::time::Instant;

use super::key;
use super::query::{Route, Statement, keys};
use super::reader::{Reader, is_without_table, readers};
use super::row::PROCESSED;
use super::search::{Found, Place, unique};
use super::store::{Condition, Query, StoreError};

/// Most rows that one statement asks for by their keys.
const TOGETHER: usize = 500;

/// Most keys of one look; there are more only after a long absence.
const MOST_KEYS: u32 = 200_000;

/// How far back most looks go.
const SHORT: Duration = Duration::from_secs(10);

/// How long an absence may be so that all is shown that was committed meanwhile: as many keys must
/// be remembered.
const LONGEST_ABSENCE: Duration = Duration::from_hours(1);

/// Every which look goes back all the way.
const LONG_EVERY: u32 = 5;

/// How requests are followed.
#[derive(Debug, Clone)]
pub struct TailOptions {
    /// How late a row may appear, counted from when its request came.
    pub look_back: Duration,
    /// How long one look at one place may take.
    pub patience: Duration,
}

impl Default for TailOptions {
    fn default() -> Self {
        TailOptions { look_back: Duration::from_mins(3), patience: Duration::from_secs(10) }
    }
}

/// Follows the decisions in some places.
#[derive(Debug)]
pub struct Tail {
    places: Vec<Watched>,
    condition: Condition,
    options: TailOptions,
    looks: u32,
    /// The keys of rows that were there already.
    seen: BTreeSet<RequestKey>,
}

#[derive(Debug)]
struct Watched {
    reader: Reader,
    /// When the place was last looked at with success, in microseconds since 1970.
    looked: i64,
    /// When it was last looked at all the way back.
    looked_back: i64,
    is_away: bool,
}

/// What a look gave.
#[derive(Debug, Default)]
pub struct News {
    /// The new rows, in the order of their keys.
    pub rows: Vec<Found>,
    /// Places that can't be looked at any more, and why.
    pub lost: Vec<(String, StoreError)>,
    /// Places that can be looked at again.
    pub back: Vec<String>,
}

impl Tail {
    /// Begins to follow decisions of which this holds.
    #[must_use]
    pub fn new(places: &[Place], condition: Condition, options: TailOptions) -> Self {
        let now = Timestamp::now().as_microsecond();
        let watch = |reader| Watched { reader, looked: now, looked_back: now, is_away: false };
        let places = readers(places, Instant::now()).into_iter().map(watch).collect();
        let is_decided = Condition::Equals("state", PROCESSED.to_owned());
        let condition = condition.and(is_decided);
        Tail { places, condition, options, looks: 0, seen: BTreeSet::new() }
    }

    /// Looks for what is new. The first look gives the last `most` rows of the while that it goes
    /// back, later ones whatever is new.
    pub async fn look(&mut self, most: usize) -> News {
        let now = Timestamp::now().as_microsecond();
        let is_first = self.looks == 0;
        let is_long = self.looks.is_multiple_of(LONG_EVERY);
        self.looks = self.looks.wrapping_add(1);
        let mut news = News::default();
        let mut all = Vec::new();
        for place in &mut self.places {
            place.reader.extend(Instant::now() + self.options.patience);
            let begin = place.begin(is_long, now, &self.options);
            let found = place.unseen(&self.condition, begin, &self.seen).await;
            match found {
                Ok(rows) => {
                    if std::mem::take(&mut place.is_away) {
                        news.back.push(place.reader.name.clone());
                    }
                    place.looked = now;
                    place.looked_back = if is_long { now } else { place.looked_back };
                    all.extend(rows);
                }
                Err(error) => {
                    place.reader.close();
                    if !std::mem::replace(&mut place.is_away, true) {
                        news.lost.push((place.reader.name.clone(), error));
                    }
                }
            }
        }
        unique(&mut all);
        self.seen.extend(all.iter().filter_map(|found| found.row.key()));
        self.forget(now);
        if is_first {
            all.drain(..all.len().saturating_sub(most));
        }
        news.rows = all;
        news
    }

    /// Keys that no look goes back to.
    fn forget(&mut self, now: i64) {
        let Some(earliest) = self.places.iter().map(|place| place.earliest(now)).min() else {
            return;
        };
        self.seen = self.seen.split_off(&back(earliest, self.options.look_back));
    }

    /// Ends the connections politely.
    pub async fn end(self) {
        for place in self.places {
            place.reader.end().await;
        }
    }
}

impl Watched {
    /// Until when it was last looked at all the way back, or as long ago as it may be.
    fn earliest(&self, now: i64) -> i64 {
        let absence = i64::try_from(LONGEST_ABSENCE.as_micros()).unwrap_or(i64::MAX);
        self.looked_back.min(self.looked).max(now.saturating_sub(absence))
    }

    /// Where a look begins. After an absence it goes back to before that.
    fn begin(&self, is_long: bool, now: i64, options: &TailOptions) -> RequestKey {
        if is_long || self.is_away {
            return back(self.earliest(now), options.look_back);
        }
        back(self.looked, SHORT.min(options.look_back))
    }

    async fn unseen(
        &mut self,
        condition: &Condition,
        begin: RequestKey,
        seen: &BTreeSet<RequestKey>,
    ) -> Result<Vec<Found>, StoreError> {
        let condition = condition.clone().and(Condition::From(begin));
        let query = Query { condition, limit: MOST_KEYS, newest_first: true };
        let keys: Statement = keys(self.reader.dialect(), Route::Time, &query);
        let found = match self.reader.fields(keys).await {
            Err(error) if is_without_table(&error) => Vec::new(),
            found => found?,
        };
        let keys = found.iter().filter_map(|row| row.first()?.key());
        let new: Vec<RequestKey> = keys.filter(|key| !seen.contains(key)).collect();
        let mut rows = Vec::new();
        for keys in new.chunks(TOGETHER) {
            rows.extend(self.rows(keys).await?);
        }
        let spooled = self.reader.is_spool;
        Ok(rows.into_iter().map(|row| Found { row, spooled }).collect())
    }

    async fn rows(&mut self, keys: &[RequestKey]) -> Result<Vec<super::Row>, StoreError> {
        let one = |key: &RequestKey| Condition::IsKey("id", *key);
        let condition = Condition::Any(keys.iter().map(one).collect());
        let query = Query { condition, limit: u32::MAX, newest_first: false };
        let statement = super::query::routed(self.reader.dialect(), Route::Time, &query);
        self.reader.rows(statement).await
    }
}

fn back(from: i64, time: Duration) -> RequestKey {
    let microseconds = i64::try_from(time.as_micros()).unwrap_or(i64::MAX);
    key::floor(from.saturating_sub(microseconds))
}
