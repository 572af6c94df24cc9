//! A table whose look costs the same however much is in it.
//!
//! What makes a look into a long table dear is memory that no cache holds: a table of control octets
//! beside one of slots is two places, each with a page of its own whose address must be translated
//! first. Here a look is one line of 64 octets, which has whole slots only, and a long table asks
//! for huge pages, so that a thousand times as much memory needs no more translations. Asked for
//! 4,096 entries of a million in turn, a table of `hashbrown` takes 200 ns longer than for those of
//! a thousand; this one takes 10 to 30.

use std::fmt;
use std::iter::repeat_n;

use memmap2::MmapMut;

/// Octets of a line of the cache.
const LINE: usize = 64;

/// Octets of the number behind each key.
const NUMBER: usize = 4;

/// From here on memory is asked for in huge pages: it would fill one.
const HUGE_PAGE: usize = 2 << 20;

/// How many of a hundred slots are taken at most: one line in seven is full then, and a key that
/// belongs there is in the next.
const MOST_IN_HUNDRED: usize = 70;

/// Keys of `KEY` octets, each with a value. Whoever asks knows where a key is to be looked for: its
/// place, 64 bits that are spread evenly and that nobody who makes keys can foresee.
pub(crate) struct Lines<const KEY: usize, V> {
    memory: Memory,
    values: Vec<V>,
}

/// Lines of memory. A slot is a key, and behind it the number of its value counted from one; zeros
/// where there is none, for that is what fresh memory has.
enum Memory {
    Few(Vec<Line>),
    Many(MmapMut),
}

#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u8; LINE]);

impl Memory {
    /// So many lines that have nothing in them.
    fn new(lines: usize) -> Self {
        let octets = lines.saturating_mul(LINE);
        if octets >= HUGE_PAGE
            && let Ok(map) = MmapMut::map_anon(octets)
        {
            ask_for_huge_pages(&map);
            return Memory::Many(map);
        }
        Memory::Few(repeat_n(Line([0; LINE]), lines).collect())
    }

    fn lines(&self) -> usize {
        match self {
            Memory::Few(lines) => lines.len(),
            Memory::Many(map) => map.len() / LINE,
        }
    }

    fn line(&self, at: usize) -> &[u8; LINE] {
        match self {
            Memory::Few(lines) => &lines[at].0,
            Memory::Many(map) => &map.as_chunks().0[at],
        }
    }

    fn line_mut(&mut self, at: usize) -> &mut [u8; LINE] {
        match self {
            Memory::Few(lines) => &mut lines[at].0,
            Memory::Many(map) => &mut map.as_chunks_mut().0[at],
        }
    }
}

/// A system that has none, or none left, gives small ones: a look costs more then, and no more.
fn ask_for_huge_pages(map: &MmapMut) {
    #[cfg(target_os = "linux")]
    let _small_ones_do = map.advise(memmap2::Advice::HugePage);
    #[cfg(not(target_os = "linux"))]
    let _ = map;
}

/// What is where a key would be.
enum Slot {
    /// The key, with the number of its value.
    Taken(usize),
    /// Nothing; in this line from this octet on.
    Free(usize, usize),
}

impl<const KEY: usize, V> Default for Lines<KEY, V> {
    fn default() -> Self {
        Lines { memory: Memory::Few(Vec::new()), values: Vec::new() }
    }
}

impl<const KEY: usize, V> fmt::Debug for Lines<KEY, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<const KEY: usize, V> Lines<KEY, V> {
    const SLOT: usize = KEY + NUMBER;
    const SLOTS: usize = LINE / Self::SLOT;

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &[u8; KEY], place: u64) -> Option<&V> {
        if self.is_empty() {
            return None;
        }
        match self.seek(key, place) {
            Slot::Taken(number) => self.values.get(number),
            Slot::Free(..) => None,
        }
    }

    /// Where the value of a key is, with whether there was one before; `value` is put there if not.
    /// `place_of` tells the place of any key.
    pub(crate) fn get_or_insert(
        &mut self,
        key: &[u8; KEY],
        value: V,
        place_of: impl Fn(&[u8; KEY]) -> u64,
    ) -> (&mut V, bool) {
        match self.seek_to_write(key, place_of) {
            Slot::Taken(number) => (&mut self.values[number], true),
            Slot::Free(line, at) => (self.add(line, at, key, value), false),
        }
    }

    /// Gives a key a value, in the place of the one that it had. `place_of` tells the place of any
    /// key.
    pub(crate) fn insert(
        &mut self,
        key: &[u8; KEY],
        value: V,
        place_of: impl Fn(&[u8; KEY]) -> u64,
    ) {
        match self.seek_to_write(key, place_of) {
            Slot::Taken(number) => self.values[number] = value,
            Slot::Free(line, at) => {
                self.add(line, at, key, value);
            }
        }
    }

    /// Where a key is, or where there is room for it.
    fn seek_to_write(&mut self, key: &[u8; KEY], place_of: impl Fn(&[u8; KEY]) -> u64) -> Slot {
        if self.len() >= self.room() {
            self.move_into((2 * self.memory.lines()).max(1), &place_of);
        }
        self.seek(key, place_of(key))
    }

    fn add(&mut self, line: usize, at: usize, key: &[u8; KEY], value: V) -> &mut V {
        let index = self.values.len();
        self.values.push(value);
        self.write(line, at, key, index + 1);
        &mut self.values[index]
    }

    /// Gives back the memory that was kept for more.
    pub(crate) fn settle(&mut self, place_of: impl Fn(&[u8; KEY]) -> u64) {
        self.values.shrink_to_fit();
        let slots = (self.len() * 100).div_ceil(MOST_IN_HUNDRED);
        let lines = slots.div_ceil(Self::SLOTS);
        if lines < self.memory.lines() {
            self.move_into(lines, &place_of);
        }
    }

    /// How many keys may be in the memory that there is; always fewer than it has slots.
    fn room(&self) -> usize {
        self.memory.lines() * Self::SLOTS * MOST_IN_HUNDRED / 100
    }

    /// Where a key is, or where it would be put. There must be memory.
    fn seek(&self, key: &[u8; KEY], place: u64) -> Slot {
        let lines = self.memory.lines();
        let mut line = line_of(place, lines);
        loop {
            for (index, slot) in self.memory.line(line).chunks_exact(Self::SLOT).enumerate() {
                match number(slot) {
                    0 => return Slot::Free(line, index * Self::SLOT),
                    number if slot[..KEY] == *key => return Slot::Taken(number - 1),
                    _ => {}
                }
            }
            line = if line + 1 == lines { 0 } else { line + 1 };
        }
    }

    fn write(&mut self, line: usize, at: usize, key: &[u8; KEY], number: usize) {
        let slot = &mut self.memory.line_mut(line)[at..at + Self::SLOT];
        slot[..KEY].copy_from_slice(key);
        // There is not enough memory for as many as could not be counted.
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        slot[KEY..].copy_from_slice(&number.to_le_bytes());
    }

    fn move_into(&mut self, lines: usize, place_of: &impl Fn(&[u8; KEY]) -> u64) {
        let before = std::mem::replace(&mut self.memory, Memory::new(lines));
        for line in 0..before.lines() {
            for slot in before.line(line).chunks_exact(Self::SLOT) {
                let Some(key) = slot.first_chunk().filter(|_| number(slot) > 0) else { break };
                if let Slot::Free(line, at) = self.seek(key, place_of(key)) {
                    self.write(line, at, key, number(slot));
                }
            }
        }
    }
}

/// The line in which a key of this place is looked for first.
fn line_of(place: u64, lines: usize) -> usize {
    // As if the place were a fraction of one: any number of lines will do, not only powers of two.
    let line = (u128::from(place) * lines as u128) >> u64::BITS;
    usize::try_from(line).unwrap_or_default()
}

/// The number in a slot, counted from one; zero where the slot is free.
fn number(slot: &[u8]) -> usize {
    slot.last_chunk().map_or(0, |octets| u32::from_le_bytes(*octets) as usize)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::hash::{BuildHasher as _, RandomState};

    use proptest::prelude::*;

    use super::*;

    /// All in one line, and in the one before it.
    fn crowded(key: &[u8; 4]) -> u64 {
        u64::MAX - (u64::from(key[0]) & 1) * (u64::MAX / 8)
    }

    fn check(steps: &[([u8; 4], u16)], place_of: impl Fn(&[u8; 4]) -> u64 + Copy) {
        let (mut lines, mut naive) = (Lines::<4, u16>::default(), HashMap::new());
        for (key, value) in steps {
            let (found, was_there) = lines.get_or_insert(key, *value, place_of);
            assert_eq!(was_there, naive.contains_key(key));
            assert_eq!(found, naive.entry(*key).or_insert(*value));
        }
        for settled in [false, true] {
            for (key, value) in &naive {
                assert_eq!(lines.get(key, place_of(key)), Some(value), "settled: {settled}");
                let other = [key[0], key[1], key[2], !key[3]];
                assert_eq!(lines.get(&other, place_of(&other)), naive.get(&other));
            }
            assert_eq!(lines.len(), naive.len());
            lines.settle(place_of);
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec(any::<([u8; 4], u16)>(), 0..400)) {
            let hasher = RandomState::new();
            check(&steps, |key| hasher.hash_one(key));
        }

        #[test]
        fn keys_of_one_line_are_found_in_those_behind_it(
            steps in proptest::collection::vec(any::<([u8; 4], u16)>(), 0..100),
        ) {
            check(&steps, crowded);
        }
    }

    #[test]
    fn a_table_of_many_huge_pages_has_all_that_was_put_in() {
        let hasher = RandomState::new();
        let place_of = |key: &[u8; 16]| hasher.hash_one(key);
        let key = |number: u32| u128::from(number).to_be_bytes();
        let mut lines = Lines::<16, u32>::default();
        for number in 0..200_000 {
            lines.get_or_insert(&key(number), number, place_of);
        }
        assert!(matches!(lines.memory, Memory::Many(_)));
        lines.settle(place_of);
        for number in 0..200_000 {
            let key = key(number);
            assert_eq!(lines.get(&key, place_of(&key)), Some(&number));
        }
        let absent = key(200_000);
        assert_eq!(lines.get(&absent, place_of(&absent)), None);
    }

    #[test]
    fn a_settled_table_has_little_more_memory_than_its_keys_need() {
        let hasher = RandomState::new();
        let place_of = |key: &[u8; 16]| hasher.hash_one(key);
        let mut lines = Lines::<16, ()>::default();
        for number in 0..1_000_u128 {
            lines.get_or_insert(&number.to_be_bytes(), (), place_of);
        }
        lines.settle(place_of);
        assert_eq!(lines.memory.lines(), 477);
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let mut lines = Lines::<4, ()>::default();
        assert_eq!(lines.get(b"abcd", 7), None);
        lines.settle(|_| 7);
        assert!(lines.is_empty());
    }
}
