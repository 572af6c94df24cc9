//! Transitions that wait to be written. What meets here is written once: a `received` waits a
//! little for its decision, and rows that were written before are written whole again.
//!
//! Pure bookkeeping: no clock, no store, no channel. `T` is what becomes a row, `A` is told when
//! it is written.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use mppd_engine::RequestKey;

/// How far a request is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    /// It came.
    Received,
    /// It is decided.
    Processed,
}

/// One row to be written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write<T> {
    /// The request's key.
    pub key: RequestKey,
    /// How far it is.
    pub state: State,
    /// Whether no row of this key can have been written, so that a plain INSERT will do.
    pub fresh: bool,
    /// What becomes the row.
    pub content: T,
}

#[derive(Debug)]
struct Waiting<T, A> {
    state: State,
    fresh: bool,
    queued: bool,
    content: T,
    acknowledgements: Vec<A>,
}

/// The transitions that wait.
#[derive(Debug)]
pub struct Batch<T, A> {
    delay: Duration,
    rows: HashMap<RequestKey, Waiting<T, A>>,
    ready: VecDeque<RequestKey>,
    delayed: VecDeque<(Instant, RequestKey)>,
}

/// Rows that were taken out to be written, with those who wait for them.
#[derive(Debug)]
pub struct Taken<T, A> {
    /// The rows.
    pub writes: Vec<Write<T>>,
    acknowledgements: Vec<Vec<A>>,
}

impl<T, A> Taken<T, A> {
    /// The same with something else for each row.
    pub fn map<U>(self, content: impl Fn(T) -> U) -> Taken<U, A> {
        let map = |write: Write<T>| {
            let Write { key, state, fresh, content: of } = write;
            Write { key, state, fresh, content: content(of) }
        };
        let writes = self.writes.into_iter().map(map).collect();
        Taken { writes, acknowledgements: self.acknowledgements }
    }

    /// Each row with those who wait for it.
    pub fn into_parts(self) -> impl Iterator<Item = (Write<T>, Vec<A>)> {
        self.writes.into_iter().zip(self.acknowledgements)
    }

    /// Those who wait, once the rows are written.
    pub fn into_acknowledgements(self) -> impl Iterator<Item = A> {
        self.acknowledgements.into_iter().flatten()
    }

    /// Those who wait for each row, to be told of a failure; the rows stay.
    pub fn take_waiting(&mut self) -> impl Iterator<Item = (State, Vec<A>)> {
        let states = self.writes.iter().map(|write| write.state);
        states.zip(self.acknowledgements.iter_mut().map(std::mem::take))
    }
}

impl<T, A> Batch<T, A> {
    /// Nothing waits yet; a `received` will wait for its decision for this long.
    #[must_use]
    pub fn new(delay: Duration) -> Self {
        Batch { delay, rows: HashMap::new(), ready: VecDeque::new(), delayed: VecDeque::new() }
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// How many rows wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Whether a row of this key waits.
    #[must_use]
    pub fn contains(&self, key: RequestKey) -> bool {
        self.rows.contains_key(&key)
    }

    /// Adds a transition.
    pub fn push(
        &mut self,
        key: RequestKey,
        state: State,
        content: T,
        acknowledgement: Option<A>,
        now: Instant,
    ) {
        // Of a decision without its `received` nothing is known: that may have been written.
        let fresh = state == State::Received;
        let waiting = Waiting {
            state,
            fresh,
            queued: false,
            content,
            acknowledgements: acknowledgement.into_iter().collect(),
        };
        self.merge(key, waiting);
        self.line_up(key, now);
    }

    fn merge(&mut self, key: RequestKey, mut newer: Waiting<T, A>) {
        match self.rows.entry(key) {
            Entry::Vacant(place) => {
                place.insert(newer);
            }
            Entry::Occupied(mut place) => {
                let waiting = place.get_mut();
                waiting.acknowledgements.append(&mut newer.acknowledgements);
                // A late `received` says nothing that a decision does not.
                if newer.state >= waiting.state {
                    waiting.state = newer.state;
                    waiting.content = newer.content;
                }
            }
        }
    }

    fn line_up(&mut self, key: RequestKey, now: Instant) {
        let Some(waiting) = self.rows.get_mut(&key) else { return };
        if waiting.queued {
            return;
        }
        if waiting.state == State::Received && !self.delay.is_zero() {
            self.delayed.push_back((now + self.delay, key));
            return;
        }
        waiting.queued = true;
        self.ready.push_back(key);
    }

    /// When the next row that only waits for its decision has waited long enough.
    #[must_use]
    pub fn due(&self) -> Option<Instant> {
        self.delayed.front().map(|(due, _)| *due)
    }

    /// Whether a row is ready to be written.
    pub fn is_ready(&mut self, now: Instant) -> bool {
        self.release(|due| due <= now);
        !self.ready.is_empty()
    }

    /// How many rows are ready to be written, as of the last look.
    #[must_use]
    pub fn ready(&self) -> usize {
        self.ready.len()
    }

    /// Makes every row ready, however short it has waited.
    pub fn release_all(&mut self) {
        self.release(|_| true);
    }

    fn release(&mut self, is_due: impl Fn(Instant) -> bool) {
        while let Some((due, key)) = self.delayed.front().copied() {
            let waiting = self.rows.get_mut(&key).filter(|waiting| !waiting.queued);
            match waiting {
                Some(waiting) if is_due(due) => {
                    waiting.queued = true;
                    self.ready.push_back(key);
                }
                Some(_) => return,
                None => {}
            }
            self.delayed.pop_front();
        }
    }

    /// Takes out at most so many of the rows that are ready.
    pub fn take(&mut self, most: usize) -> Taken<T, A> {
        let count = most.min(self.ready.len());
        let mut taken = Taken {
            writes: Vec::with_capacity(count),
            acknowledgements: Vec::with_capacity(count),
        };
        for key in self.ready.drain(..count) {
            let Some(waiting) = self.rows.remove(&key) else { continue };
            let Waiting { state, fresh, content, acknowledgements, .. } = waiting;
            taken.writes.push(Write { key, state, fresh, content });
            taken.acknowledgements.push(acknowledgements);
        }
        taken
    }

    /// Forgets the row that became ready first; how far it was, if there was one.
    pub fn drop_oldest(&mut self) -> Option<State> {
        let key = self.ready.pop_front()?;
        self.rows.remove(&key).map(|waiting| waiting.state)
    }

    /// Puts back rows that could not be written, or may have been: nobody knows.
    pub fn put_back(&mut self, taken: Taken<T, A>) {
        let rows = taken.writes.into_iter().zip(taken.acknowledgements);
        for (Write { key, state, content, .. }, acknowledgements) in rows.rev() {
            let older = Waiting { state, fresh: false, queued: true, content, acknowledgements };
            self.put_back_one(key, older);
        }
    }

    fn put_back_one(&mut self, key: RequestKey, mut older: Waiting<T, A>) {
        if let Some(newer) = self.rows.remove(&key) {
            older.queued = newer.queued;
            older.acknowledgements.extend(newer.acknowledgements);
            if newer.state >= older.state {
                older.state = newer.state;
                older.content = newer.content;
            }
        } else {
            self.ready.push_front(key);
            self.rows.insert(key, older);
            return;
        }
        if !older.queued {
            older.queued = true;
            self.ready.push_front(key);
        }
        self.rows.insert(key, older);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    type Rows = Batch<u32, u32>;

    const DELAY: Duration = Duration::from_millis(50);

    fn key(number: u8) -> RequestKey {
        RequestKey([number; 16])
    }

    fn states(taken: &Taken<u32, u32>) -> Vec<(u8, State, bool)> {
        taken.writes.iter().map(|write| (write.key.0[0], write.state, write.fresh)).collect()
    }

    #[test]
    fn a_received_and_its_decision_that_meet_are_one_fresh_row() {
        let (mut batch, now) = (Rows::new(DELAY), Instant::now());
        batch.push(key(1), State::Received, 1, None, now);
        assert!(!batch.is_ready(now));
        batch.push(key(1), State::Processed, 2, Some(7), now);
        assert!(batch.is_ready(now));
        let taken = batch.take(10);
        assert_eq!(states(&taken), [(1, State::Processed, true)]);
        assert_eq!(taken.writes[0].content, 2);
        assert_eq!(taken.into_acknowledgements().collect::<Vec<_>>(), [7]);
        assert!(batch.is_empty());
    }

    #[test]
    fn a_received_waits_for_its_decision_only_so_long() {
        let (mut batch, now) = (Rows::new(DELAY), Instant::now());
        batch.push(key(1), State::Received, 1, None, now);
        assert_eq!(batch.due(), Some(now + DELAY));
        assert!(batch.is_ready(now + DELAY));
        assert_eq!(states(&batch.take(10)), [(1, State::Received, true)]);
        batch.push(key(1), State::Processed, 2, None, now + DELAY);
        assert!(batch.is_ready(now + DELAY));
        assert_eq!(states(&batch.take(10)), [(1, State::Processed, false)]);
    }

    #[test]
    fn without_delay_a_received_is_ready_at_once() {
        let (mut batch, now) = (Rows::new(Duration::ZERO), Instant::now());
        batch.push(key(1), State::Received, 1, None, now);
        assert!(batch.is_ready(now));
    }

    #[test]
    fn a_late_received_does_not_overwrite_a_decision() {
        let (mut batch, now) = (Rows::new(DELAY), Instant::now());
        batch.push(key(1), State::Processed, 2, None, now);
        batch.push(key(1), State::Received, 1, Some(3), now);
        let taken = batch.take(10);
        assert_eq!(states(&taken), [(1, State::Processed, false)]);
        assert_eq!(taken.writes[0].content, 2);
        assert_eq!(taken.into_acknowledgements().count(), 1);
    }

    #[test]
    fn what_is_put_back_comes_first_and_is_no_longer_fresh() {
        let (mut batch, now) = (Rows::new(Duration::ZERO), Instant::now());
        for number in 1..=3 {
            batch.push(key(number), State::Received, 0, None, now);
        }
        let taken = batch.take(2);
        batch.push(key(2), State::Processed, 9, None, now);
        batch.put_back(taken);
        let taken = batch.take(10);
        assert_eq!(
            states(&taken),
            [(1, State::Received, false), (3, State::Received, true), (2, State::Processed, false)]
        );
        assert_eq!(taken.writes[2].content, 9);
    }

    #[derive(Debug, Clone)]
    enum Step {
        Push(u8, State),
        Pass(u64),
        Begin(usize),
        Written,
        Failed,
        FailedUnknown,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let state = prop_oneof![Just(State::Received), Just(State::Processed)];
        let step = prop_oneof![
            4 => (0..12_u8, state).prop_map(|(key, state)| Step::Push(key, state)),
            1 => (0..80_u64).prop_map(Step::Pass),
            2 => (1..6_usize).prop_map(Step::Begin),
            2 => Just(Step::Written),
            1 => Just(Step::Failed),
            1 => Just(Step::FailedUnknown),
        ];
        proptest::collection::vec(step, 0..120)
    }

    // The simplest thing that can be said about the outcome: a map of what was last said.
    #[derive(Default)]
    struct Model {
        said: HashMap<RequestKey, (State, u32)>,
        stored: HashMap<RequestKey, (State, u32)>,
        waits_for: HashMap<u32, (RequestKey, State)>,
    }

    impl Model {
        fn say(&mut self, key: RequestKey, state: State, content: u32) {
            let said = self.said.entry(key).or_insert((state, content));
            if state >= said.0 {
                *said = (state, content);
            }
            self.waits_for.insert(content, (key, state));
        }

        // As the stores do it: a fresh row must not be there, nothing goes back to `received`.
        fn store(&mut self, writes: &[Write<u32>]) -> bool {
            if writes.iter().any(|write| write.fresh && self.stored.contains_key(&write.key)) {
                return false;
            }
            for write in writes {
                let row = (write.state, write.content);
                let stored = self.stored.entry(write.key).or_insert(row);
                if write.state == State::Processed {
                    *stored = row;
                }
            }
            true
        }

        fn acknowledge(&mut self, content: u32) {
            let (key, state) = self.waits_for.remove(&content).unwrap();
            assert!(self.stored[&key].0 >= state, "told before it was written");
        }
    }

    fn finish(batch: &mut Rows, model: &mut Model, taken: Taken<u32, u32>) {
        if !model.store(&taken.writes) {
            return batch.put_back(taken);
        }
        taken.into_acknowledgements().for_each(|content| model.acknowledge(content));
    }

    proptest! {
        #[test]
        fn every_key_ends_once_in_its_last_state(steps in steps(), delay in 0..60_u64) {
            let mut batch = Rows::new(Duration::from_millis(delay));
            let mut model = Model::default();
            let (mut now, mut content) = (Instant::now(), 0);
            let mut under_way: Option<Taken<u32, u32>> = None;
            for step in steps {
                match step {
                    Step::Push(number, state) => {
                        content += 1;
                        // What is said twice of one state is the same.
                        model.say(key(number), state, content);
                        batch.push(key(number), state, content, Some(content), now);
                    }
                    Step::Pass(milliseconds) => now += Duration::from_millis(milliseconds),
                    Step::Begin(most) => {
                        if under_way.is_none() && batch.is_ready(now) {
                            under_way = Some(batch.take(most));
                        }
                    }
                    Step::Written => {
                        if let Some(taken) = under_way.take() {
                            finish(&mut batch, &mut model, taken);
                        }
                    }
                    Step::Failed => {
                        if let Some(taken) = under_way.take() {
                            batch.put_back(taken);
                        }
                    }
                    Step::FailedUnknown => {
                        if let Some(taken) = under_way.take() {
                            model.store(&taken.writes);
                            batch.put_back(taken);
                        }
                    }
                }
            }
            if let Some(taken) = under_way.take() {
                finish(&mut batch, &mut model, taken);
            }
            for _ in 0..100 {
                batch.release_all();
                let taken = batch.take(3);
                finish(&mut batch, &mut model, taken);
            }
            prop_assert!(batch.is_empty());
            prop_assert!(model.waits_for.is_empty());
            for (key, (state, content)) in &model.said {
                prop_assert_eq!(model.stored[key].0, *state);
                if *state == State::Processed {
                    prop_assert_eq!(model.stored[key].1, *content);
                }
            }
            prop_assert_eq!(model.stored.len(), model.said.len());
        }
    }
}
