//! The memory of the core: which requests were answered already, and which headers were given to
//! which message.
//!
//! Postfix asks the same question up to four times at RCPT when the server stands in several
//! restriction lists, and again on another connection when an answer did not arrive. The answer
//! must be the same, and nothing may be counted twice. PREPEND acts on the whole message though it
//! is asked per recipient, so a header is given once per `instance`.
//!
//! A request that belongs to no mail transaction is taken for a repeat only shortly after the
//! first, and only where it names the client's port: without one, two clients from one address
//! ask the same.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, Hash, Hasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use mppd_engine::{Action, Attribute, Decision, Request, RequestKey};
use tokio::sync::watch;

/// How long a request inside a mail transaction is remembered.
const TRANSACTION_LIFETIME: Duration = Duration::from_mins(10);

/// How long any other request is remembered.
const OTHER_LIFETIME: Duration = Duration::from_secs(5);

/// Locks, so that workers rarely wait for each other.
const SHARDS: usize = 16;

/// Most requests remembered by one shard; beyond it the oldest is forgotten.
const SHARD_CAPACITY: usize = 4_096;

type Answer = Option<Arc<Decision>>;

/// What is remembered, shared by all workers.
#[derive(Debug)]
pub struct Repeats {
    // Keyed by random numbers, so that no peer can make two requests look the same. With 65,536
    // entries of 64 bits a chance match comes once in 10^14 requests.
    hasher: RandomState,
    requests: [Mutex<Memory<Remembered>>; SHARDS],
    headers: [Mutex<Memory<()>>; SHARDS],
}

#[derive(Debug, Clone)]
struct Remembered {
    key: RequestKey,
    answer: watch::Receiver<Answer>,
}

/// What the core knows of a request that has just come.
#[derive(Debug)]
pub enum Asked {
    /// Nothing: it is new.
    First(Claim),
    /// It was asked before; the first may still be under way.
    Again(Original),
}

impl Default for Repeats {
    fn default() -> Self {
        Repeats {
            hasher: RandomState::new(),
            requests: std::array::from_fn(|_| Mutex::default()),
            headers: std::array::from_fn(|_| Mutex::default()),
        }
    }
}

impl Repeats {
    /// Looks a request up and, if it is new, remembers it under its key.
    #[must_use]
    pub fn ask(self: &Arc<Self>, request: &Request, key: RequestKey) -> Asked {
        let Some(lifetime) = lifetime(request) else {
            return Asked::First(Claim { memory: None, answer: watch::Sender::new(None) });
        };
        let hash = self.hasher.hash_one(request.octets());
        let now = Instant::now();
        let mut memory = lock(&self.requests[shard(hash)]);
        if let Some(Remembered { key, answer }) = memory.get(hash, now) {
            return Asked::Again(Original { key: *key, answer: answer.clone() });
        }
        let (sender, answer) = watch::channel(None);
        memory.insert(hash, Remembered { key, answer }, now + lifetime);
        Asked::First(Claim { memory: Some((self.clone(), hash)), answer: sender })
    }

    /// The decision as it may be given to this message: a header that it already has becomes
    /// DUNNO.
    #[must_use]
    pub fn once_per_message(&self, request: &Request, decision: Decision) -> Decision {
        match self.header_hash(request, &decision.action) {
            Some(hash) => {
                let now = Instant::now();
                let mut memory = lock(&self.headers[shard(hash)]);
                if memory.get(hash, now).is_some() {
                    return Decision { action: Action::Dunno, ..decision };
                }
                memory.insert(hash, (), now + TRANSACTION_LIFETIME);
                decision
            }
            None => decision,
        }
    }

    /// Says that an answer did not reach Postfix, which will ask again: its header is still to be
    /// given.
    pub fn not_delivered(&self, request: &Request, decision: &Decision) {
        if let Some(hash) = self.header_hash(request, &decision.action) {
            lock(&self.headers[shard(hash)]).remove(hash);
        }
    }

    fn header_hash(&self, request: &Request, action: &Action) -> Option<u64> {
        let Action::Prepend(header) = action else { return None };
        if request.instance().is_empty() {
            return None;
        }
        let mut hasher = self.hasher.build_hasher();
        request.instance().hash(&mut hasher);
        header.hash(&mut hasher);
        Some(hasher.finish())
    }
}

/// How long a request is remembered; `None` where an equal one may be another question.
fn lifetime(request: &Request) -> Option<Duration> {
    if !request.instance().is_empty() {
        return Some(TRANSACTION_LIFETIME);
    }
    let port = request.get(Attribute::ClientPort);
    let names_port = !port.is_empty() && port.iter().all(u8::is_ascii_digit);
    names_port.then_some(OTHER_LIFETIME)
}

fn shard(hash: u64) -> usize {
    usize::from(hash.to_le_bytes()[0]) % SHARDS
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // No panic can leave the memory inconsistent: at worst an entry is forgotten early.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The first of possibly several equal requests, until it is answered.
#[derive(Debug)]
pub struct Claim {
    memory: Option<(Arc<Repeats>, u64)>,
    answer: watch::Sender<Answer>,
}

impl Claim {
    /// Gives the answer to all who ask the same.
    pub fn answer(mut self, decision: Decision) {
        self.memory = None;
        self.answer.send_replace(Some(Arc::new(decision)));
    }
}

impl Drop for Claim {
    /// A request that came to no answer is forgotten, so that the next one is the first.
    fn drop(&mut self) {
        if let Some((repeats, hash)) = self.memory.take() {
            lock(&repeats.requests[shard(hash)]).remove(hash);
        }
    }
}

/// The request that another one repeats.
#[derive(Debug)]
pub struct Original {
    /// Its key in the records.
    pub key: RequestKey,
    answer: watch::Receiver<Answer>,
}

impl Original {
    /// What it was answered, as soon as it is; `None` if it came to no answer.
    pub async fn answer(mut self) -> Option<Decision> {
        let answered = self.answer.wait_for(Option::is_some).await.ok()?;
        answered.as_deref().cloned()
    }
}

/// Entries by hash, each with an end; bounded.
#[derive(Debug)]
struct Memory<T> {
    entries: HashMap<u64, (T, Instant)>,
    order: VecDeque<(u64, Instant)>,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Memory { entries: HashMap::new(), order: VecDeque::new() }
    }
}

impl<T> Memory<T> {
    fn get(&self, hash: u64, now: Instant) -> Option<&T> {
        let (value, end) = self.entries.get(&hash)?;
        (*end > now).then_some(value)
    }

    fn insert(&mut self, hash: u64, value: T, end: Instant) {
        while self.order.len() >= SHARD_CAPACITY {
            self.forget_oldest();
        }
        self.entries.insert(hash, (value, end));
        self.order.push_back((hash, end));
    }

    fn remove(&mut self, hash: u64) {
        self.entries.remove(&hash);
    }

    fn forget_oldest(&mut self) {
        let Some((hash, end)) = self.order.pop_front() else { return };
        // The entry may have been removed and made anew since; that one has a later end.
        if self.entries.get(&hash).is_some_and(|(_, of_entry)| *of_entry == end) {
            self.entries.remove(&hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(attributes: &[(&str, &str)]) -> Request {
        Request::from_attributes(attributes.iter().copied()).unwrap()
    }

    fn key(number: u8) -> RequestKey {
        RequestKey([number; 16])
    }

    fn reject() -> Decision {
        Decision { action: Action::Reject(None), engine: None }
    }

    #[tokio::test]
    async fn an_equal_request_of_a_transaction_gets_the_first_answer() {
        let repeats = Arc::new(Repeats::default());
        let asked = request(&[("instance", "1.2.3"), ("recipient", "r@example.com")]);
        let Asked::First(claim) = repeats.ask(&asked, key(1)) else { panic!() };
        claim.answer(reject());
        let Asked::Again(original) = repeats.ask(&asked, key(2)) else { panic!() };
        assert_eq!(original.key, key(1));
        assert_eq!(original.answer().await, Some(reject()));
    }

    #[tokio::test]
    async fn a_repeat_waits_while_the_first_is_under_way() {
        let repeats = Arc::new(Repeats::default());
        let asked = request(&[("instance", "1.2.3")]);
        let Asked::First(claim) = repeats.ask(&asked, key(1)) else { panic!() };
        let Asked::Again(original) = repeats.ask(&asked, key(2)) else { panic!() };
        let waiting = tokio::spawn(original.answer());
        tokio::task::yield_now().await;
        claim.answer(reject());
        assert_eq!(waiting.await.unwrap(), Some(reject()));
    }

    #[tokio::test]
    async fn a_request_that_came_to_no_answer_is_forgotten() {
        let repeats = Arc::new(Repeats::default());
        let asked = request(&[("instance", "1.2.3")]);
        let Asked::First(claim) = repeats.ask(&asked, key(1)) else { panic!() };
        let Asked::Again(original) = repeats.ask(&asked, key(2)) else { panic!() };
        drop(claim);
        assert_eq!(original.answer().await, None);
        assert!(matches!(repeats.ask(&asked, key(3)), Asked::First(_)));
    }

    #[test]
    fn any_difference_makes_another_request() {
        let repeats = Arc::new(Repeats::default());
        let one = request(&[("instance", "1.2.3"), ("queue_id", "")]);
        let other = request(&[("instance", "1.2.3"), ("queue_id", "A")]);
        let _claim = repeats.ask(&one, key(1));
        assert!(matches!(repeats.ask(&other, key(2)), Asked::First(_)));
    }

    #[test]
    fn outside_a_transaction_only_a_known_port_makes_a_repeat() {
        let repeats = Arc::new(Repeats::default());
        for (port, repeated) in [("", false), ("unknown", false), ("40025", true)] {
            let asked = request(&[("protocol_state", "CONNECT"), ("client_port", port)]);
            let Asked::First(claim) = repeats.ask(&asked, key(1)) else { panic!("{port}") };
            claim.answer(reject());
            let again = matches!(repeats.ask(&asked, key(2)), Asked::Again(_));
            assert_eq!(again, repeated, "{port}");
        }
    }

    #[test]
    fn a_header_is_given_once_to_each_message() {
        let repeats = Repeats::default();
        let prepend = Decision { action: Action::Prepend("X-A: b".into()), engine: None };
        let (first, second) = (request(&[("instance", "1")]), request(&[("instance", "2")]));
        assert_eq!(repeats.once_per_message(&first, prepend.clone()), prepend);
        assert_eq!(repeats.once_per_message(&first, prepend.clone()).action, Action::Dunno);
        assert_eq!(repeats.once_per_message(&second, prepend.clone()), prepend);
    }

    #[test]
    fn a_header_that_did_not_arrive_is_given_again() {
        let repeats = Repeats::default();
        let prepend = Decision { action: Action::Prepend("X-A: b".into()), engine: None };
        let asked = request(&[("instance", "1")]);
        let given = repeats.once_per_message(&asked, prepend.clone());
        repeats.not_delivered(&asked, &given);
        assert_eq!(repeats.once_per_message(&asked, prepend.clone()), prepend);
    }

    #[test]
    fn the_memory_is_bounded() {
        let mut memory = Memory::default();
        let now = Instant::now();
        for hash in 0..10_000 {
            memory.insert(hash, (), now + Duration::from_secs(1));
        }
        assert_eq!(memory.entries.len(), SHARD_CAPACITY);
        assert!(memory.get(9_999, now).is_some());
        assert!(memory.get(0, now).is_none());
    }
}
