//! Records in memory: a table in many parts, each with a lock of its own that is held for
//! microseconds.
//!
//! An entry is one allocation for key and record beside 24 octets in the table. Its number is
//! bounded: one more takes the place of that which expires first of a hundred, so that a flood of
//! records that wait for something can't push out those that have proved themselves. What has
//! expired is removed in small steps, a few places of the table with each new entry, and a few more
//! whenever [`Table::sweep`] is called; nothing ever walks through the whole of it at once.

mod entry;
#[cfg(test)]
mod tests;

use std::collections::BinaryHeap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;
use jiff::Timestamp;

use self::entry::Entry;
pub(crate) use self::entry::Packed;
use crate::backend::{Step, Stored};
use crate::counted::StateStatus;

/// Entries that one part is meant to hold: to double its table takes less than a millisecond.
const ENTRIES_OF_PART: usize = 4_096;

const FEWEST_PARTS: usize = 16;
const MOST_PARTS: usize = 4_096;

/// How many entries are compared for the one that gives way. Where one in twenty is short-lived, it
/// is a long-lived one in one case of a thousand.
const CANDIDATES: usize = 128;

/// How many places of the table are looked at for them at most.
const PLACES: usize = 1_024;

/// How many entries give way to a new one at most: where the bound has been lowered, there are more
/// than there may be, and their number must fall.
const EVICTED_AT_INSERT: usize = 4;

/// How many places are swept with each new entry: faster than entries can come.
const SWEPT_AT_INSERT: usize = 8;

/// How many places are swept while a lock is held.
const SWEPT_AT_ONCE: usize = 4_096;

/// How many changes are taken while a lock is held.
const TAKEN_AT_ONCE: usize = 1_024;

/// A time as it is kept: milliseconds since 1970.
pub(crate) type Millis = i64;

/// The time to the millisecond; one before 1970 counts as 1970.
pub(crate) fn millis(time: Timestamp) -> Millis {
    time.as_millisecond().max(0)
}

/// The time of these milliseconds.
pub(crate) fn timestamp(millis: Millis) -> Timestamp {
    Timestamp::from_millisecond(millis).unwrap_or(Timestamp::MAX)
}

/// The records of all spaces.
#[derive(Debug)]
pub(crate) struct Table {
    parts: Box<[Mutex<Part>]>,
    hasher: RandomState,
    count: AtomicUsize,
    max_entries: AtomicUsize,
    evicted: AtomicU64,
    /// Whether somebody takes the changes and writes them down.
    notes_changes: bool,
}

#[derive(Debug, Default)]
struct Part {
    entries: HashTable<Entry>,
    /// The time that was given last. Not the greatest: a clock that was ahead for a moment must not
    /// have everything swept out that comes after it was set right.
    now: Millis,
    /// The place where sweeping goes on.
    cursor: usize,
    /// The hashes of the entries that have changed and are not yet written.
    changed: Vec<u64>,
    /// What has been removed, and may be written somewhere.
    removed: Vec<Packed>,
}

/// What has changed in one part: removals come first.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// What is no more.
    pub(crate) removed: Vec<Packed>,
    /// What there is now.
    pub(crate) put: Vec<(Packed, Millis)>,
    /// Whether there are more.
    pub(crate) has_more: bool,
}

impl Changes {
    /// With the removal of this key.
    pub(crate) fn note_removed(&mut self, key: &[u8]) {
        self.removed.push(Packed::new(key, b""));
    }

    /// How many.
    pub(crate) fn len(&self) -> usize {
        self.removed.len() + self.put.len()
    }
}

impl Table {
    /// A table of at most so many entries.
    pub(crate) fn new(max_entries: usize, notes_changes: bool) -> Self {
        let parts = (max_entries / ENTRIES_OF_PART).next_power_of_two();
        let parts = parts.clamp(FEWEST_PARTS, MOST_PARTS);
        Table {
            parts: (0..parts).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            count: AtomicUsize::new(0),
            max_entries: AtomicUsize::new(max_entries),
            evicted: AtomicU64::new(0),
            notes_changes,
        }
    }

    /// Changes the bound. Where there are more, they give way as new ones come.
    pub(crate) fn set_max_entries(&self, max_entries: usize) {
        self.max_entries.store(max_entries, Ordering::Relaxed);
    }

    /// How many there are, expired ones included.
    pub(crate) fn len(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }

    /// How it stands.
    pub(crate) fn status(&self) -> StateStatus {
        let records = u64::try_from(self.len()).unwrap_or(u64::MAX);
        let (records, evicted) = (Some(records), Some(self.evicted()));
        StateStatus { records, evicted, ..StateStatus::default() }
    }

    /// How many had to give way so far.
    pub(crate) fn evicted(&self) -> u64 {
        self.evicted.load(Ordering::Relaxed)
    }

    /// How many parts there are.
    pub(crate) fn parts(&self) -> usize {
        self.parts.len()
    }

    fn hash(&self, key: &[u8]) -> u64 {
        self.hasher.hash_one(key)
    }

    fn part_of(&self, hash: u64) -> MutexGuard<'_, Part> {
        // The lowest bits say where in its part an entry is, the highest seven are its tag.
        let number = usize::try_from(hash >> 32 & 0xffff).unwrap_or_default();
        self.part(number & (self.parts.len() - 1))
    }

    fn part(&self, number: usize) -> MutexGuard<'_, Part> {
        self.parts[number].lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Applies a change.
    pub(crate) fn update(
        &self,
        key: &[u8],
        now: Millis,
        change: &mut dyn FnMut(Option<&[u8]>) -> Step,
    ) {
        let hash = self.hash(key);
        let mut guard = self.part_of(hash);
        let part = &mut *guard;
        part.now = now;
        let mut held = part.entries.find_mut(hash, |entry| entry.packed.key() == key);
        let alive = held.as_deref().filter(|entry| entry.until() > now);
        match change(alive.map(|entry| entry.packed.octets())) {
            Step::Keep => {}
            Step::Put(octets, until) => {
                let (until, is_change) = (millis(until), self.notes_changes);
                match &mut held {
                    Some(entry) => {
                        if entry.exchange(&octets, until, is_change) {
                            part.changed.push(hash);
                        }
                    }
                    None => self.add(part, hash, key, &octets, until, is_change),
                }
            }
            Step::Remove => drop(self.take_out(part, hash, key)),
        }
    }

    /// Puts a record in place of any other.
    pub(crate) fn insert(&self, key: &[u8], octets: &[u8], until: Millis) {
        let hash = self.hash(key);
        self.put(&mut self.part_of(hash), hash, key, octets, until, self.notes_changes);
    }

    /// Puts a record that is written already; one that is there already stays.
    pub(crate) fn load(&self, key: &[u8], octets: &[u8], until: Millis) {
        let hash = self.hash(key);
        let mut part = self.part_of(hash);
        if part.entries.find(hash, |entry| entry.packed.key() == key).is_none() {
            self.put(&mut part, hash, key, octets, until, false);
        }
    }

    /// Forgets a record; whether there was one at the time that was given last.
    pub(crate) fn remove(&self, key: &[u8]) -> bool {
        let hash = self.hash(key);
        let mut part = self.part_of(hash);
        let now = part.now;
        self.take_out(&mut part, hash, key).is_some_and(|until| until > now)
    }

    fn put(
        &self,
        part: &mut Part,
        hash: u64,
        key: &[u8],
        octets: &[u8],
        until: Millis,
        is_change: bool,
    ) {
        let Part { entries, changed, .. } = &mut *part;
        match entries.find_mut(hash, |entry| entry.packed.key() == key) {
            Some(entry) => {
                if entry.exchange(octets, until, is_change) {
                    changed.push(hash);
                }
            }
            None => self.add(part, hash, key, octets, until, is_change),
        }
    }

    /// Puts a record where there is none.
    fn add(
        &self,
        part: &mut Part,
        hash: u64,
        key: &[u8],
        octets: &[u8],
        until: Millis,
        is_change: bool,
    ) {
        self.sweep_part(part, part.now, SWEPT_AT_INSERT);
        for _ in 0..EVICTED_AT_INSERT {
            if self.len() < self.max_entries.load(Ordering::Relaxed) {
                break;
            }
            self.evict(part);
        }
        let mut entry = Entry { packed: Packed::new(key, octets), meta: 0 };
        entry.set(until, is_change);
        part.entries.insert_unique(hash, entry, |entry| self.hash(entry.packed.key()));
        if is_change {
            part.changed.push(hash);
        }
        self.count.fetch_add(1, Ordering::Relaxed);
    }

    /// Until when there was one.
    fn take_out(&self, part: &mut Part, hash: u64, key: &[u8]) -> Option<Millis> {
        let found = part.entries.find_entry(hash, |entry| entry.packed.key() == key);
        let (entry, _) = found.ok()?.remove();
        let until = entry.until();
        self.forget(part, entry);
        Some(until)
    }

    fn forget(&self, part: &mut Part, entry: Entry) {
        self.count.fetch_sub(1, Ordering::Relaxed);
        if self.notes_changes {
            part.removed.push(entry.packed);
        }
    }

    /// Removes the entry that expires first of a few. Those of a part are as good as any: which part
    /// an entry is in says nothing about it.
    fn evict(&self, part: &mut Part) {
        let places = part.entries.num_buckets();
        let mut first: Option<(usize, Millis)> = None;
        let mut seen = 0;
        for _ in 0..places.min(PLACES) {
            part.cursor = (part.cursor + 1) % places;
            let Some(entry) = part.entries.get_bucket(part.cursor) else { continue };
            if first.is_none_or(|(_, until)| entry.until() < until) {
                first = Some((part.cursor, entry.until()));
            }
            seen += 1;
            if seen == CANDIDATES {
                break;
            }
        }
        let Some((place, _)) = first else { return };
        if let Ok(entry) = part.entries.get_bucket_entry(place) {
            let (entry, _) = entry.remove();
            self.forget(part, entry);
            self.evicted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn sweep_part(&self, part: &mut Part, now: Millis, places: usize) {
        let count = part.entries.num_buckets();
        for _ in 0..places.min(count) {
            part.cursor = (part.cursor + 1) % count;
            let expired = |entry: &Entry| entry.until() <= now;
            if part.entries.get_bucket(part.cursor).is_some_and(expired)
                && let Ok(entry) = part.entries.get_bucket_entry(part.cursor)
            {
                let (entry, _) = entry.remove();
                self.forget(part, entry);
            }
        }
    }

    /// Removes what has expired at this time from one part.
    pub(crate) fn sweep(&self, number: usize, now: Millis) {
        let mut places = self.part(number).entries.num_buckets();
        while places > 0 {
            self.sweep_part(&mut self.part(number), now, SWEPT_AT_ONCE.min(places));
            places = places.saturating_sub(SWEPT_AT_ONCE);
        }
    }

    /// Some of what has changed in one part, and the time that was given there last.
    ///
    /// What is there is told only when all removals have been: one of them may be of the same key,
    /// and came before. So whoever writes one answer after the other, and of each the removals
    /// first, has in the end what is in the table.
    pub(crate) fn take_changes(&self, number: usize) -> (Changes, Millis) {
        let mut part = self.part(number);
        let Part { entries, changed, removed, now, .. } = &mut *part;
        let mut changes = Changes::default();
        let count = removed.len().min(TAKEN_AT_ONCE);
        changes.removed.extend(removed.drain(..count));
        let count = if removed.is_empty() { changed.len().min(TAKEN_AT_ONCE) } else { 0 };
        for hash in changed.drain(..count) {
            for entry in entries.iter_hash_mut(hash).filter(|entry| entry.is_changed()) {
                entry.set(entry.until(), false);
                changes.put.push((entry.packed.clone(), entry.until()));
            }
        }
        changes.has_more = !removed.is_empty() || !changed.is_empty();
        (changes, *now)
    }

    /// Takes back changes that could not be written.
    pub(crate) fn take_back(&self, changes: Changes) {
        for (packed, _) in &changes.put {
            self.mark_changed(packed.key());
        }
        for packed in changes.removed {
            let hash = self.hash(packed.key());
            let mut part = self.part_of(hash);
            if part.entries.find(hash, |entry| entry.packed.key() == packed.key()).is_none() {
                part.removed.push(packed);
            }
        }
    }

    fn mark_changed(&self, key: &[u8]) {
        let hash = self.hash(key);
        let mut part = self.part_of(hash);
        let Part { entries, changed, .. } = &mut *part;
        let Some(entry) = entries.find_mut(hash, |entry| entry.packed.key() == key) else { return };
        if !entry.is_changed() {
            entry.set(entry.until(), true);
            changed.push(hash);
        }
    }

    /// Keeps what is remembered for a file that can't be written from growing: drops what is known
    /// of removals, of all but so many, and of changes to entries that have been removed since.
    pub(crate) fn bound_changes(&self, number: usize, most: usize) {
        let mut part = self.part(number);
        let Part { entries, changed, removed, .. } = &mut *part;
        let surplus = removed.len().saturating_sub(most);
        removed.drain(..surplus);
        if changed.len() > entries.len() {
            let still = entries.iter().filter(|entry| entry.is_changed());
            *changed = still.map(|entry| self.hash(entry.packed.key())).collect();
        }
    }

    /// Marks every entry as changed, because nothing is written any more.
    pub(crate) fn mark_all_changed(&self) {
        for number in 0..self.parts.len() {
            let mut part = self.part(number);
            let Part { entries, changed, .. } = &mut *part;
            changed.clear();
            for entry in entries.iter_mut() {
                entry.set(entry.until(), true);
                changed.push(self.hasher.hash_one(entry.packed.key()));
            }
        }
    }

    /// A page of the records whose keys begin so, in the order of their keys.
    pub(crate) fn list(
        &self,
        prefix: &[u8],
        behind: Option<&[u8]>,
        limit: usize,
        now: Millis,
    ) -> Vec<Stored> {
        // The greatest of the smallest keys stands at the top.
        let mut page: BinaryHeap<(Vec<u8>, Vec<u8>, Millis)> = BinaryHeap::new();
        for number in 0..self.parts.len() {
            for entry in &self.part(number).entries {
                let key = entry.packed.key();
                let is_wanted = key.starts_with(prefix)
                    && behind.is_none_or(|behind| behind < key)
                    && entry.until() > now;
                let is_full = page.len() >= limit;
                let is_behind_page = is_full && page.peek().is_none_or(|last| *last.0 <= *key);
                if !is_wanted || is_behind_page {
                    continue;
                }
                if is_full {
                    page.pop();
                }
                page.push((key.to_vec(), entry.packed.octets().to_vec(), entry.until()));
            }
        }
        let stored = |(key, octets, until)| Stored { key, octets, until: timestamp(until) };
        page.into_sorted_vec().into_iter().map(stored).collect()
    }
}
