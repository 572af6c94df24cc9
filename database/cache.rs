//! Answers that are kept for a while, and questions that are asked once however many wait.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use crate::answer::Answer;
use tokio::sync::watch;

use crate::pool::{Asked, Job, Pool, Reply, ReplySender, wait};
use crate::statement::Statement;

/// What an entry costs beside its octets.
const ENTRY: usize = 128;

/// How long answers are kept, and how many.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheLimits {
    /// How long an answer with rows is kept.
    pub found: Duration,
    /// How long one without rows is kept.
    pub empty: Duration,
    /// Octets of all of them together, their parameters included.
    pub octets: usize,
}

/// The answers of one statement, by its parameters. Cloning is cheap; the clones share them.
///
/// Failures are not kept. As long as a question is under way, all who ask the same wait for its
/// answer.
#[derive(Debug, Clone)]
pub struct AnswerCache {
    shared: Arc<Shared>,
}

type Key = Arc<[Vec<u8>]>;

#[derive(Debug)]
struct Shared {
    limits: CacheLimits,
    kept: Cache<Key, Kept, Octets>,
    under_way: Mutex<HashMap<Key, Arc<ReplySender>>>,
}

#[derive(Debug, Clone)]
struct Kept {
    answer: Arc<Answer>,
    until: Instant,
}

#[derive(Debug, Clone)]
struct Octets;

impl Weighter<Key, Kept> for Octets {
    fn weight(&self, key: &Key, kept: &Kept) -> u64 {
        let key: usize = key.iter().map(Vec::len).sum();
        u64::try_from(key + kept.answer.size() + ENTRY).unwrap_or(u64::MAX)
    }
}

impl AnswerCache {
    /// An empty cache.
    #[must_use]
    pub fn new(limits: CacheLimits) -> Self {
        let weight = u64::try_from(limits.octets).unwrap_or(u64::MAX);
        let kept = Cache::with_weighter(limits.octets / (2 * ENTRY) + 1, weight, Octets);
        AnswerCache { shared: Arc::new(Shared { limits, kept, under_way: Mutex::default() }) }
    }

    /// The answer that is kept, if there is one.
    #[must_use]
    pub fn kept(&self, parameters: &[Vec<u8>]) -> Option<Arc<Answer>> {
        self.shared.find(parameters)
    }

    /// The answer that is kept, or else that of the database.
    ///
    /// # Errors
    /// Why there is no answer.
    pub async fn ask(&self, pool: &Pool, statement: &Statement, parameters: Vec<Vec<u8>>) -> Reply {
        let key: Key = parameters.into();
        if let Some(answer) = self.shared.find(&key) {
            return Ok(answer);
        }
        let (receiver, question) = {
            let mut under_way = self.shared.lock();
            // It may have come in the meantime.
            if let Some(answer) = self.shared.find(&key) {
                return Ok(answer);
            }
            if let Some(sender) = under_way.get(&key) {
                (sender.subscribe(), None)
            } else {
                let (sender, receiver) = watch::channel(None);
                let sender = Arc::new(sender);
                under_way.insert(Arc::clone(&key), Arc::clone(&sender));
                let shared = Arc::clone(&self.shared);
                let question = Question { shared, key: Arc::clone(&key), sender };
                (receiver, Some(Box::new(question)))
            }
        };
        if let Some(asked) = question {
            let statement = statement.clone();
            pool.submit(Job { statement, parameters: key.to_vec(), asked })?;
        }
        wait(receiver).await
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, HashMap<Key, Arc<ReplySender>>> {
        // An insertion or removal leaves no map half-way, so a poisoned lock is as good as any.
        self.under_way.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn find(&self, key: &[Vec<u8>]) -> Option<Arc<Answer>> {
        let kept = self.kept.get(key)?;
        (kept.until > Instant::now()).then_some(kept.answer)
    }

    fn keep(&self, key: &Key, answer: &Arc<Answer>) {
        // What is no result set at all tells of a change, and a change must be made each time.
        if !answer.has_rows {
            return;
        }
        let period = if answer.rows > 0 { self.limits.found } else { self.limits.empty };
        if let Some(until) = Instant::now().checked_add(period) {
            self.kept.insert(Arc::clone(key), Kept { answer: Arc::clone(answer), until });
        }
    }
}

/// A question that is under way. When it ends, in whichever way, the next one can be asked.
struct Question {
    shared: Arc<Shared>,
    key: Key,
    sender: Arc<ReplySender>,
}

impl Question {
    fn remove(&self, under_way: &mut HashMap<Key, Arc<ReplySender>>) {
        if under_way.get(&self.key).is_some_and(|sender| Arc::ptr_eq(sender, &self.sender)) {
            under_way.remove(&self.key);
        }
    }
}

impl Asked for Question {
    fn sender(&self) -> &ReplySender {
        &self.sender
    }

    fn is_abandoned(&self) -> bool {
        // Who comes to wait does so under the same lock.
        let mut under_way = self.shared.lock();
        let is_abandoned = self.sender.is_closed();
        if is_abandoned {
            self.remove(&mut under_way);
        }
        is_abandoned
    }

    fn settle(&self, reply: Reply) {
        if let Ok(answer) = &reply {
            self.shared.keep(&self.key, answer);
        }
        self.remove(&mut self.shared.lock());
        self.sender.send_replace(Some(reply));
    }
}

impl Drop for Question {
    fn drop(&mut self) {
        self.remove(&mut self.shared.lock());
    }
}
