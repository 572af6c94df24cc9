//! Numbers that only grow, made for the way of a request: each has one writer, the thread of its
//! worker or of its tracker, so that to count is a load and a store, without a locked instruction
//! and without a cache line that threads fight for. Anybody may read.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// A number that only grows. Only one thread at a time may add to it: of two that do at once, what
/// one of them adds may be lost.
#[derive(Debug, Default)]
pub struct Count(AtomicU64);

impl Count {
    /// Adds to it.
    #[inline]
    pub fn add(&self, more: u64) {
        self.0.store(self.get().wrapping_add(more), Ordering::Relaxed);
    }

    /// How much it is.
    #[must_use]
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Upper bounds of times, in nanoseconds: 50 µs to 30 s.
pub const TIMES: &[u64] = &[
    50_000,
    100_000,
    250_000,
    500_000,
    1_000_000,
    2_500_000,
    5_000_000,
    10_000_000,
    25_000_000,
    50_000_000,
    100_000_000,
    250_000_000,
    500_000_000,
    1_000_000_000,
    2_500_000_000,
    5_000_000_000,
    10_000_000_000,
    30_000_000_000,
];

/// Upper bounds of sizes of batches, in rows.
pub const ROWS: &[u64] = &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000];

/// How often a number lay between which bounds. Has one writer, as a [`Count`] has.
#[derive(Debug)]
pub struct Histogram {
    bounds: &'static [u64],
    /// One for each bound, and one for what lies beyond the last.
    buckets: Box<[Count]>,
    sum: Count,
}

impl Histogram {
    /// Nothing yet, between these bounds, which must rise.
    #[must_use]
    pub fn new(bounds: &'static [u64]) -> Self {
        let buckets = (0..=bounds.len()).map(|_| Count::default()).collect();
        Histogram { bounds, buckets, sum: Count::default() }
    }

    /// Nothing yet, of times.
    #[must_use]
    pub fn of_times() -> Self {
        Histogram::new(TIMES)
    }

    /// Counts a number.
    #[inline]
    pub fn observe(&self, number: u64) {
        // Most numbers are small.
        let place = self.bounds.iter().position(|bound| number <= *bound);
        self.buckets[place.unwrap_or(self.bounds.len())].add(1);
        self.sum.add(number);
    }

    /// Counts a time.
    #[inline]
    pub fn observe_time(&self, time: Duration) {
        self.observe(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts what another one has counted between the same bounds.
    pub(super) fn absorb(&self, other: &Histogram) {
        for (bucket, more) in self.buckets.iter().zip(&other.buckets) {
            bucket.add(more.get());
        }
        self.sum.add(other.sum.get());
    }

    /// How it stands.
    #[must_use]
    pub fn read(&self) -> HistogramReading {
        HistogramReading {
            bounds: self.bounds,
            buckets: self.buckets.iter().map(Count::get).collect(),
            sum: self.sum.get(),
        }
    }
}

/// A histogram at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistogramReading {
    /// Upper bounds: nanoseconds, or rows.
    pub bounds: &'static [u64],
    /// How many lay below each bound and above the one before; the last beyond all.
    pub buckets: Vec<u64>,
    /// All numbers together.
    pub sum: u64,
}

impl HistogramReading {
    /// Nothing between these bounds.
    #[must_use]
    pub fn nothing(bounds: &'static [u64]) -> Self {
        HistogramReading { bounds, buckets: vec![0; bounds.len() + 1], sum: 0 }
    }

    /// Adds what was counted between the same bounds elsewhere.
    pub fn add(&mut self, other: &HistogramReading) {
        for (bucket, more) in self.buckets.iter_mut().zip(&other.buckets) {
            *bucket += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
    }

    /// How many numbers were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.buckets.iter().sum()
    }

    /// The bound that so great a share of the numbers (0 to 1) does not exceed; the last bound
    /// where they lie beyond it, `None` where nothing was counted.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "shares of counts below 2^53")]
    pub fn quantile(&self, share: f64) -> Option<u64> {
        let count = self.count();
        let wanted = count as f64 * share.clamp(0.0, 1.0);
        let mut seen = 0;
        let place = self.buckets.iter().position(|bucket| {
            seen += bucket;
            seen > 0 && seen as f64 >= wanted
        })?;
        self.bounds.get(place).or(self.bounds.last()).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(numbers: &[u64]) -> HistogramReading {
        let histogram = Histogram::new(ROWS);
        for number in numbers {
            histogram.observe(*number);
        }
        histogram.read()
    }

    #[test]
    fn a_number_at_a_bound_lies_below_it_and_one_beyond_the_last_is_counted_too() {
        let reading = of(&[1, 2, 3, 5_000, 5_001]);
        assert_eq!(reading.buckets, [1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((reading.count(), reading.sum), (5, 10_007));
    }

    #[test]
    fn a_quantile_is_the_bound_that_is_not_exceeded() {
        let mut numbers = vec![4; 98];
        numbers.extend([900, 900]);
        let reading = of(&numbers);
        assert_eq!(reading.quantile(0.5), Some(5));
        assert_eq!(reading.quantile(0.98), Some(5));
        assert_eq!(reading.quantile(0.99), Some(1_000));
        assert_eq!(of(&[9_999]).quantile(0.5), Some(5_000));
        assert_eq!(of(&[]).quantile(0.5), None);
    }

    #[test]
    fn bounds_rise() {
        assert!(TIMES.is_sorted() && ROWS.is_sorted());
    }

    #[test]
    fn what_was_counted_elsewhere_is_added() {
        let mut reading = of(&[1]);
        reading.add(&of(&[1, 7]));
        assert_eq!(reading, of(&[1, 1, 7]));
        let (one, other) = (Histogram::new(ROWS), Histogram::new(ROWS));
        one.observe(1);
        other.observe(7);
        one.absorb(&other);
        assert_eq!(one.read(), of(&[1, 7]));
    }
}
