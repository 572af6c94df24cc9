//! Latencies, counted in buckets that are 1/32 apart: enough for a percentile, and cheap to fill.

use std::time::Duration;

const STEPS: u64 = 32;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// One more than the bucket of the greatest number.
const BUCKETS: usize = 60 * 32;

/// Counted latencies.
#[derive(Debug, Clone)]
pub struct Histogram {
    buckets: Vec<u64>,
    count: u64,
    longest: Duration,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram { buckets: vec![0; BUCKETS], count: 0, longest: Duration::ZERO }
    }
}

impl Histogram {
    /// Counts one latency.
    pub fn add(&mut self, latency: Duration) {
        let nanoseconds = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.buckets[bucket(nanoseconds)] += 1;
        self.count += 1;
        self.longest = self.longest.max(latency);
    }

    /// Adds what another one counted.
    pub fn merge(&mut self, other: &Histogram) {
        for (own, others) in self.buckets.iter_mut().zip(&other.buckets) {
            *own += others;
        }
        self.count += other.count;
        self.longest = self.longest.max(other.longest);
    }

    /// How many were counted.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The longest of all.
    #[must_use]
    pub fn longest(&self) -> Duration {
        self.longest
    }

    /// What `per_mille` of the latencies do not exceed, give or take 1/32.
    #[must_use]
    pub fn percentile(&self, per_mille: u64) -> Duration {
        let wanted = (self.count * per_mille).div_ceil(1_000).max(1);
        let mut seen = 0;
        for (index, count) in self.buckets.iter().enumerate() {
            seen += count;
            if seen >= wanted {
                return Duration::from_nanos(upper_end(index)).min(self.longest);
            }
        }
        self.longest
    }
}

fn bucket(value: u64) -> usize {
    let octave = value.checked_ilog2().unwrap_or(0).saturating_sub(STEP_BITS);
    let index = u64::from(octave) * STEPS + (value >> octave);
    usize::try_from(index).map_or(BUCKETS - 1, |index| index.min(BUCKETS - 1))
}

fn upper_end(index: usize) -> u64 {
    let index = index as u64;
    if index < 2 * STEPS {
        return index;
    }
    let octave = index / STEPS - 1;
    let step = index % STEPS + STEPS;
    (step << octave) + ((1 << octave) - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_in_the_bucket_that_ends_next_above_it() {
        for value in (0..200).chain([1_000, 65_535, 65_536, 1 << 40, (1 << 40) + 1]) {
            let index = bucket(value);
            assert!(upper_end(index) >= value, "{value}");
            assert!(index == 0 || upper_end(index - 1) < value, "{value}");
        }
    }

    #[test]
    fn percentiles_are_near_the_real_ones() {
        let mut histogram = Histogram::default();
        for microseconds in 1..=1_000 {
            histogram.add(Duration::from_micros(microseconds));
        }
        let median = histogram.percentile(500).as_micros();
        assert!((500..=516).contains(&median), "{median}");
        assert_eq!(histogram.percentile(1_000), Duration::from_millis(1));
        assert_eq!(histogram.count(), 1_000);
    }

    #[test]
    fn the_greatest_number_is_in_the_last_bucket() {
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(upper_end(BUCKETS - 1), u64::MAX);
    }
}
