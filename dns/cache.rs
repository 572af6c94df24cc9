//! Answers that are still good, bounded in memory.

use std::mem::size_of;
use std::time::{Duration, Instant};

use quick_cache::Weighter;
use quick_cache::sync::Cache as Entries;

use crate::answer::{Answer, Question, Record};

/// The longest that an answer is kept, whatever its owner says.
const LONGEST: Duration = Duration::from_hours(24);

/// About what an entry takes besides its name and records.
const ENTRY: usize = size_of::<Question>() + size_of::<Entry>() + 64;

#[derive(Debug, Clone)]
struct Entry {
    answer: Answer,
    good_until: Instant,
}

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<Question, Entry> for Weight {
    fn weight(&self, question: &Question, entry: &Entry) -> u64 {
        let records = match &entry.answer {
            Answer::Records(records) => &records[..],
            _ => &[],
        };
        let of_records = records.iter().map(|record| size_of::<Record>() + record.weight());
        let octets = ENTRY + question.name.as_bytes().len() + of_records.sum::<usize>();
        u64::try_from(octets).unwrap_or(u64::MAX)
    }
}

/// Answers by question. What was asked least and longest ago goes first when there is no room.
#[derive(Debug)]
pub(crate) struct Cache {
    entries: Entries<Question, Entry, Weight>,
}

impl Cache {
    /// A cache that takes about so many octets of memory.
    pub(crate) fn new(octets: u64) -> Self {
        let expected = usize::try_from(octets / 512).unwrap_or(usize::MAX);
        Cache { entries: Entries::with_weighter(expected, octets, Weight) }
    }

    /// The answer, as long as it is good.
    pub(crate) fn get(&self, question: &Question) -> Option<Answer> {
        let entry = self.entries.get(question)?;
        (entry.good_until > Instant::now()).then_some(entry.answer)
    }

    /// Keeps an answer for so long; a failure, or one that lasts no time, not at all.
    pub(crate) fn put(&self, question: Question, answer: Answer, lasts: Duration) {
        if lasts.is_zero() || matches!(answer, Answer::Temporary(_)) {
            return;
        }
        let good_until = Instant::now() + lasts.min(LONGEST);
        self.entries.insert(question, Entry { answer, good_until });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::{RecordKind, TemporaryFailure};
    use crate::name::Name;

    fn question(number: usize) -> Question {
        let name = Name::parse(format!("n{number}.example").as_bytes()).unwrap();
        Question::new(RecordKind::Txt, name)
    }

    fn text(length: usize) -> Answer {
        Answer::of(vec![Record::Txt(vec![b'x'; length].into())])
    }

    #[test]
    fn an_answer_is_kept_as_long_as_its_owner_says() {
        let cache = Cache::new(1 << 20);
        cache.put(question(1), text(1), Duration::from_hours(1));
        cache.put(question(2), text(1), Duration::ZERO);
        cache.put(question(3), Answer::NoSuchName, Duration::from_nanos(1));
        std::thread::yield_now();
        assert_eq!(cache.get(&question(1)), Some(text(1)));
        assert_eq!(cache.get(&question(2)), None);
        assert_eq!(cache.get(&question(3)), None);
    }

    #[test]
    fn a_failure_is_not_kept() {
        let cache = Cache::new(1 << 20);
        let failure = Answer::Temporary(TemporaryFailure::TimedOut);
        cache.put(question(1), failure, Duration::from_mins(1));
        assert_eq!(cache.get(&question(1)), None);
    }

    #[test]
    fn the_memory_taken_is_bounded() {
        let cache = Cache::new(1 << 20);
        for number in 0..1_000 {
            cache.put(question(number), text(10_000), Duration::from_hours(1));
        }
        assert!(cache.entries.weight() <= 1 << 20);
        assert!(cache.entries.len() > 10);
    }
}
