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

/// Most octets of what one shard remembers, 32 MiB for all together: beyond it the oldest is
/// forgotten. Texts of the usual length never get there; long ones, which a peer may have chosen
/// by way of a macro, do.
const SHARD_OCTETS: usize = 2 << 20;

/// What an entry costs beside its value: the hash, its end, its place in the order, and the room
/// that the tables keep free.
const ENTRY_OCTETS: usize = 128;

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
    answer: First,
}

/// The answer of a request that was asked before.
#[derive(Debug, Clone)]
enum First {
    /// It is under way.
    UnderWay(watch::Receiver<Answer>),
    /// It was given.
    Given(Arc<Decision>),
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
        let remembered = Remembered { key, answer: First::UnderWay(answer) };
        // While it is under way it is one of the requests that `max_requests` bounds.
        memory.insert(hash, remembered, now + lifetime, 0);
        Asked::First(Claim { memory: Some((self.clone(), hash, key)), answer: sender })
    }

    /// Keeps the answer of a request in place of the channel by which it is told.
    fn remember_answer(&self, hash: u64, key: RequestKey, decision: &Arc<Decision>) {
        let octets = octets(decision);
        let given = Remembered { key, answer: First::Given(decision.clone()) };
        lock(&self.requests[shard(hash)]).replace_if(hash, given, octets, |old| old.key == key);
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
                memory.insert(hash, (), now + TRANSACTION_LIFETIME, 0);
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
    memory: Option<(Arc<Repeats>, u64, RequestKey)>,
    answer: watch::Sender<Answer>,
}

impl Claim {
    /// Gives the answer to all who ask the same.
    pub fn answer(mut self, decision: Decision) {
        let decision = Arc::new(decision);
        if let Some((repeats, hash, key)) = self.memory.take() {
            repeats.remember_answer(hash, key, &decision);
        }
        self.answer.send_replace(Some(decision));
    }
}

impl Drop for Claim {
    /// A request that came to no answer is forgotten, so that the next one is the first.
    fn drop(&mut self) {
        if let Some((repeats, hash, _)) = self.memory.take() {
            lock(&repeats.requests[shard(hash)]).remove(hash);
        }
    }
}

/// The request that another one repeats.
#[derive(Debug)]
pub struct Original {
    /// Its key in the records.
    pub key: RequestKey,
    answer: First,
}

impl Original {
    /// What it was answered, as soon as it is; `None` if it came to no answer.
    pub async fn answer(self) -> Option<Decision> {
        match self.answer {
            First::Given(decision) => Some((*decision).clone()),
            First::UnderWay(mut answer) => {
                let answered = answer.wait_for(Option::is_some).await.ok()?;
                answered.as_deref().cloned()
            }
        }
    }
}

/// Octets that a decision takes up on the heap.
fn octets(decision: &Decision) -> usize {
    let text = decision.action.text().map_or(0, str::len);
    let engine = decision.engine.as_deref().map_or(0, str::len);
    size_of::<Decision>() + text + engine
}

/// Entries by hash, each with an end; bounded in number and octets.
#[derive(Debug)]
struct Memory<T> {
    entries: HashMap<u64, Entry<T>>,
    order: VecDeque<(u64, Instant)>,
    /// What the values of all entries take up on the heap.
    octets: usize,
}

#[derive(Debug)]
struct Entry<T> {
    value: T,
    end: Instant,
    /// What the value takes up on the heap.
    octets: usize,
}

impl<T> Default for Memory<T> {
    fn default() -> Self {
        Memory { entries: HashMap::new(), order: VecDeque::new(), octets: 0 }
    }
}

impl<T> Memory<T> {
    fn get(&self, hash: u64, now: Instant) -> Option<&T> {
        let Entry { value, end, .. } = self.entries.get(&hash)?;
        (*end > now).then_some(value)
    }

    fn insert(&mut self, hash: u64, value: T, end: Instant, octets: usize) {
        while self.order.len() >= SHARD_CAPACITY {
            self.forget_oldest();
        }
        self.remove(hash);
        self.entries.insert(hash, Entry { value, end, octets });
        self.order.push_back((hash, end));
        self.grow(octets);
    }

    /// Puts another value in the place of one that is as it should be.
    fn replace_if(&mut self, hash: u64, value: T, octets: usize, is_it: impl Fn(&T) -> bool) {
        let Some(entry) = self.entries.get_mut(&hash).filter(|entry| is_it(&entry.value)) else {
            return;
        };
        self.octets -= entry.octets;
        (entry.value, entry.octets) = (value, octets);
        self.grow(octets);
    }

    fn remove(&mut self, hash: u64) {
        if let Some(entry) = self.entries.remove(&hash) {
            self.octets -= entry.octets;
        }
    }

    /// Forgets the oldest until so many octets more fit.
    fn grow(&mut self, octets: usize) {
        self.octets += octets;
        while self.octets + self.order.len() * ENTRY_OCTETS > SHARD_OCTETS && !self.order.is_empty()
        {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        let Some((hash, end)) = self.order.pop_front() else { return };
        // The entry may have been removed and made anew since; that one has a later end.
        if self.entries.get(&hash).is_some_and(|entry| entry.end == end) {
            self.remove(hash);
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
            memory.insert(hash, (), now + Duration::from_secs(1), 0);
        }
        assert_eq!(memory.entries.len(), SHARD_CAPACITY);
        assert!(memory.get(9_999, now).is_some());
        assert!(memory.get(0, now).is_none());
    }

    #[test]
    fn long_answers_are_bounded_by_their_octets() {
        let mut memory = Memory::default();
        let now = Instant::now();
        for hash in 0..1_000 {
            memory.insert(hash, "under way", now + Duration::from_secs(1), 0);
            memory.replace_if(hash, "given", 64 << 10, |value| *value == "under way");
        }
        let most = SHARD_OCTETS / (64 << 10);
        assert!((most / 2..=most).contains(&memory.entries.len()), "{}", memory.entries.len());
        assert_eq!(memory.octets, memory.entries.len() * (64 << 10));
        assert_eq!(memory.get(999, now), Some(&"given"));
        (0..1_000).for_each(|hash| memory.remove(hash));
        assert_eq!(memory.octets, 0);
    }

    #[tokio::test]
    async fn an_answer_that_was_given_does_not_keep_its_channel() {
        let repeats = Arc::new(Repeats::default());
        let asked = request(&[("instance", "1.2.3")]);
        let Asked::First(claim) = repeats.ask(&asked, key(1)) else { panic!() };
        claim.answer(reject());
        let Asked::Again(original) = repeats.ask(&asked, key(2)) else { panic!() };
        assert!(matches!(original.answer, First::Given(_)));
        assert_eq!(original.answer().await, Some(reject()));
    }
}
