//! Answers that are kept, in the store that all nodes share, and questions that are asked once
//! however many wait for them.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use mppd_engine::config::Period;
use mppd_engine::options;
use mppd_state::{Change, Reader, Record, Space, StateError, Writer};
use tokio::sync::watch;

use super::source::{Answer, Verdict};

options! {
    /// `<cache>`: how long answers are kept; not at all for 0s.
    pub(crate) struct KeepOptions: Default {
        /// That an address is valid.
        valid: Period = Period::seconds(86_400),
        /// That it is not.
        invalid: Period = Period::seconds(3_600),
        /// That nobody knows: the source is away, or wants to be asked later.
        unknown: Period = Period::seconds(60),
    }
}

impl KeepOptions {
    fn period(&self, verdict: Verdict) -> Duration {
        match verdict {
            Verdict::Valid => self.valid.0,
            Verdict::Invalid => self.invalid.0,
            Verdict::Unknown => self.unknown.0,
        }
    }
}

/// An answer as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    verdict: Verdict,
    said: String,
}

impl Record for Kept {
    const KIND: u8 = b'V';

    fn write(&self, writer: &mut Writer) {
        writer.number(self.verdict as u64);
        writer.octets(self.said.as_bytes());
    }

    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let number = reader.number()?;
        let verdict = Verdict::ALL.into_iter().find(|verdict| *verdict as u64 == number)?;
        Some(Kept { verdict, said: String::from_utf8(reader.octets()?.to_vec()).ok()? })
    }
}

type Key = Arc<[u8]>;
type Flight = watch::Receiver<Option<Answer>>;

/// What is kept, and what is being asked. A clone has the same.
#[derive(Debug, Clone)]
pub(super) struct Keeper {
    space: Space,
    under_way: Arc<Mutex<HashMap<Key, Flight>>>,
}

impl Keeper {
    pub(super) fn new(space: Space) -> Self {
        Keeper { space, under_way: Arc::default() }
    }

    /// The answer that is kept, or that somebody is waiting for, or else what the future comes to.
    pub(super) async fn ask(
        &self,
        key: Vec<u8>,
        now: Timestamp,
        limits: &KeepOptions,
        ask: impl Future<Output = Answer>,
    ) -> Result<Answer, StateError> {
        if let Some(kept) = self.space.get::<Kept>(&key, now).await? {
            return Ok(Answer { verdict: kept.verdict, said: kept.said });
        }
        let key: Key = key.into();
        let landing = loop {
            match self.board(&key) {
                Ok(landing) => break landing,
                Err(mut flight) => {
                    if let Ok(answer) = flight.wait_for(Option::is_some).await
                        && let Some(answer) = answer.clone()
                    {
                        return Ok(answer);
                    }
                    // Who asked has gone before there was an answer; somebody else has to.
                }
            }
        };
        let answer = ask.await;
        // Those who wait have it whether or not it can be kept; else each would ask in turn.
        landing.sender.send_replace(Some(answer.clone()));
        self.keep(&key, now, limits, &answer).await?;
        Ok(answer)
    }

    async fn keep(
        &self,
        key: &[u8],
        now: Timestamp,
        limits: &KeepOptions,
        answer: &Answer,
    ) -> Result<(), StateError> {
        let period = limits.period(answer.verdict);
        if period.is_zero() {
            return Ok(());
        }
        let until = now.checked_add(period).unwrap_or(Timestamp::MAX);
        let kept = Kept { verdict: answer.verdict, said: answer.said.clone() };
        let put = move |_: Option<Kept>| Change::Put(kept.clone(), until, ());
        self.space.update(key, now, put).await
    }

    /// Takes the lead with a question, or says where its answer will be.
    fn board(&self, key: &Key) -> Result<Landing, Flight> {
        let mut under_way = self.lock();
        if let Some(flight) = under_way.get(key) {
            return Err(flight.clone());
        }
        let (sender, flight) = watch::channel(None);
        under_way.insert(key.clone(), flight);
        Ok(Landing { keeper: self.clone(), key: key.clone(), sender })
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Flight>> {
        // An insertion or removal leaves no map half-way, so a poisoned lock is as good as any.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A question that is under way; when this is dropped, it is so no more.
struct Landing {
    keeper: Keeper,
    key: Key,
    sender: watch::Sender<Option<Answer>>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        self.keeper.lock().remove(&self.key);
    }
}
