//! Records as they were read: a domain that sends much mail publishes the same text for weeks, which
//! need not be read for each mail.

use std::sync::Arc;

use quick_cache::Weighter;
use quick_cache::sync::Cache;

use super::record::{Directive, Record, SyntaxError};

/// About how many octets of memory they may take.
const MEMORY: u64 = 16 << 20;

/// About what one takes at least: the most that there can be are so many of these.
const LEAST: usize = 1 << 10;

/// About how many octets of memory one of a text takes, as text and as macros.
const BY_OCTET: usize = 16;

/// About what a directive takes besides its own size.
const BESIDES: usize = 32;

/// Sound records by their text, so that it does not matter whose they are, nor when they change.
#[derive(Debug)]
pub(super) struct KnownRecords {
    records: Cache<Box<[u8]>, Arc<Record>, Weight>,
}

#[derive(Debug, Clone)]
struct Weight;

impl Weighter<Box<[u8]>, Arc<Record>> for Weight {
    fn weight(&self, text: &Box<[u8]>, record: &Arc<Record>) -> u64 {
        let directives = record.directives.len() * (size_of::<Directive>() + BESIDES);
        let octets = LEAST + text.len() * BY_OCTET + directives;
        u64::try_from(octets).unwrap_or(u64::MAX)
    }
}

impl Default for KnownRecords {
    fn default() -> Self {
        let most = usize::try_from(MEMORY).unwrap_or(usize::MAX) / LEAST;
        KnownRecords { records: Cache::with_weighter(most, MEMORY, Weight) }
    }
}

impl KnownRecords {
    /// The record that a text is, as [`Record::parse`] reads it.
    pub(super) fn read(&self, text: &[u8]) -> Result<Arc<Record>, SyntaxError> {
        if let Some(record) = self.records.get(text) {
            return Ok(record);
        }
        let record = Arc::new(Record::parse(text)?);
        self.records.insert(text.into(), record.clone());
        Ok(record)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_is_read_once() {
        let known = KnownRecords::default();
        let first = known.read(b"v=spf1 a -all").unwrap();
        assert!(Arc::ptr_eq(&first, &known.read(b"v=spf1 a -all").unwrap()));
        assert_ne!(first, known.read(b"v=spf1 a ~all").unwrap());
    }

    #[test]
    fn a_record_with_an_error_has_it_each_time() {
        let known = KnownRecords::default();
        for _ in 0..2 {
            assert!(known.read(b"v=spf1 nothing").is_err());
        }
    }

    #[test]
    fn the_memory_taken_is_bounded() {
        let known = KnownRecords::default();
        for number in 0..1_000 {
            let text = format!("v=spf1{} a:n{number}.example", " a".repeat(1_000));
            known.read(text.as_bytes()).unwrap();
        }
        assert!(known.records.weight() <= MEMORY);
        assert!(known.records.len() > 10);
    }
}
