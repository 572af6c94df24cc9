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

/// A key: all 128 bits spread evenly, and nobody who makes them can foresee them.
pub(crate) type Digest = [u8; DIGEST];

const DIGEST: usize = 16;

/// A digest, and behind it the number of its value, of four octets.
const SLOT: usize = DIGEST + 4;

/// Whole slots of a line.
const SLOTS: usize = LINE / SLOT;

/// From here on memory is asked for in huge pages: it would fill one.
const HUGE_PAGE: usize = 2 << 20;

/// How many of a hundred slots are taken at most: one line in seven is full then, and a key that
/// belongs there is in the next.
const MOST_IN_HUNDRED: usize = 70;

/// Digests, each with a value.
pub(crate) struct Lines<V> {
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

impl<V> Default for Lines<V> {
    fn default() -> Self {
        Lines { memory: Memory::Few(Vec::new()), values: Vec::new() }
    }
}

impl<V> fmt::Debug for Lines<V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl<V> Lines<V> {
    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether there is none.
    pub(crate) fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &Digest) -> Option<&V> {
        if self.is_empty() {
            return None;
        }
        match self.seek(key) {
            Slot::Taken(number) => self.values.get(number),
            Slot::Free(..) => None,
        }
    }

    /// Where the value of a key is, with whether there was one before; `value` is put there if not.
    pub(crate) fn get_or_insert(&mut self, key: &Digest, value: V) -> (&mut V, bool) {
        match self.seek_to_write(key) {
            Slot::Taken(number) => (&mut self.values[number], true),
            Slot::Free(line, at) => (self.add(line, at, key, value), false),
        }
    }

    /// Gives a key a value, in the place of the one that it had.
    pub(crate) fn insert(&mut self, key: &Digest, value: V) {
        match self.seek_to_write(key) {
            Slot::Taken(number) => self.values[number] = value,
            Slot::Free(line, at) => {
                self.add(line, at, key, value);
            }
        }
    }

    /// Where a key is, or where there is room for it.
    fn seek_to_write(&mut self, key: &Digest) -> Slot {
        if self.len() >= self.room() {
            self.move_into((2 * self.memory.lines()).max(1));
        }
        self.seek(key)
    }

    fn add(&mut self, line: usize, at: usize, key: &Digest, value: V) -> &mut V {
        let index = self.values.len();
        self.values.push(value);
        self.write(line, at, key, index + 1);
        &mut self.values[index]
    }

    /// Gives back the memory that was kept for more.
    pub(crate) fn settle(&mut self) {
        self.values.shrink_to_fit();
        let slots = (self.len() * 100).div_ceil(MOST_IN_HUNDRED);
        let lines = slots.div_ceil(SLOTS);
        if lines < self.memory.lines() {
            self.move_into(lines);
        }
    }

    /// How many keys may be in the memory that there is; always fewer than it has slots.
    fn room(&self) -> usize {
        self.memory.lines() * SLOTS * MOST_IN_HUNDRED / 100
    }

    /// Where a key is, or where it would be put. There must be memory.
    fn seek(&self, key: &Digest) -> Slot {
        let lines = self.memory.lines();
        let mut line = line_of(key, lines);
        loop {
            for (index, slot) in self.memory.line(line).chunks_exact(SLOT).enumerate() {
                match number(slot) {
                    0 => return Slot::Free(line, index * SLOT),
                    number if slot[..DIGEST] == *key => return Slot::Taken(number - 1),
                    _ => {}
                }
            }
            line = if line + 1 == lines { 0 } else { line + 1 };
        }
    }

    fn write(&mut self, line: usize, at: usize, key: &Digest, number: usize) {
        let slot = &mut self.memory.line_mut(line)[at..at + SLOT];
        slot[..DIGEST].copy_from_slice(key);
        // There is not enough memory for as many as could not be counted.
        let number = u32::try_from(number).unwrap_or(u32::MAX);
        slot[DIGEST..].copy_from_slice(&number.to_le_bytes());
    }

    fn move_into(&mut self, lines: usize) {
        let before = std::mem::replace(&mut self.memory, Memory::new(lines));
        for line in 0..before.lines() {
            for slot in before.line(line).chunks_exact(SLOT) {
                let Some(key) = slot.first_chunk().filter(|_| number(slot) > 0) else { break };
                if let Slot::Free(line, at) = self.seek(key) {
                    self.write(line, at, key, number(slot));
                }
            }
        }
    }
}

/// The line in which a key is looked for first.
fn line_of(key: &Digest, lines: usize) -> usize {
    // As if it were a fraction of one: any number of lines will do, not only powers of two.
    let place = key.first_chunk().map_or(0, |half| u64::from_le_bytes(*half));
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

    use proptest::prelude::*;

    use super::*;

    /// Of a number, spread as digests are.
    fn spread(number: u64) -> Digest {
        let place = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (u128::from(number) << u64::BITS | u128::from(place)).to_le_bytes()
    }

    /// All in the last line, and in the one before it.
    fn crowded(number: u64) -> Digest {
        let place = u64::MAX - (number & 1) * (u64::MAX / 8);
        (u128::from(number) << u64::BITS | u128::from(place)).to_le_bytes()
    }

    fn check(steps: &[(u8, u16, bool)], digest: fn(u64) -> Digest) {
        let (mut lines, mut naive) = (Lines::default(), HashMap::new());
        for &(number, value, replaces) in steps {
            let key = digest(number.into());
            if replaces {
                lines.insert(&key, value);
                naive.insert(key, value);
                continue;
            }
            let was_there = naive.contains_key(&key);
            let expected = naive.entry(key).or_insert(value);
            assert_eq!(lines.get_or_insert(&key, value), (expected, was_there));
        }
        for is_settled in [false, true] {
            for number in 0..=0xff {
                let key = digest(number);
                assert_eq!(lines.get(&key), naive.get(&key), "settled: {is_settled}");
            }
            assert_eq!(lines.len(), naive.len());
            lines.settle();
        }
    }

    proptest! {
        #[test]
        fn it_is_a_map(steps in proptest::collection::vec(any::<(u8, u16, bool)>(), 0..400)) {
            check(&steps, spread);
        }

        #[test]
        fn keys_of_a_full_line_are_found_in_those_behind_it(
            steps in proptest::collection::vec(any::<(u8, u16, bool)>(), 0..200),
        ) {
            check(&steps, crowded);
        }
    }

    #[test]
    fn a_table_of_many_huge_pages_has_all_that_was_put_in() {
        let mut lines = Lines::default();
        for number in 0..200_000 {
            lines.insert(&spread(number), number);
        }
        assert!(matches!(lines.memory, Memory::Many(_)));
        lines.settle();
        for number in 0..200_000 {
            assert_eq!(lines.get(&spread(number)), Some(&number));
        }
        assert_eq!(lines.get(&spread(200_000)), None);
    }

    #[test]
    fn a_settled_table_has_little_more_memory_than_its_keys_need() {
        let mut lines = Lines::default();
        for number in 0..1_000 {
            lines.insert(&spread(number), ());
        }
        lines.settle();
        assert_eq!(lines.memory.lines(), 477);
    }

    #[test]
    fn nothing_is_found_where_nothing_is() {
        let mut lines = Lines::<()>::default();
        assert_eq!(lines.get(&spread(7)), None);
        lines.settle();
        assert!(lines.is_empty());
    }
}
