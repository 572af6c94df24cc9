//! The text format of Prometheus, version 0.0.4: families, each with what it says and of what kind
//! it is, and a line for each value.

use std::fmt::{Display, Write as _};

use super::count::HistogramReading;
use super::declared::Metric;

/// What a page is, for whoever reads it.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The page, as far as it is written.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

/// Appends to a text, which can't fail.
macro_rules! put {
    ($text:expr, $($argument:tt)*) => {{
        let _infallible = write!($text, $($argument)*);
    }};
}

impl Page {
    /// A metric; its values follow.
    pub(super) fn family(&mut self, metric: &'static Metric) -> Family<'_> {
        let (name, help, kind) = (metric.name, metric.help(), metric.kind.name());
        let help = help.replace('\\', "\\\\");
        put!(self.text, "# HELP {name} {help}\n# TYPE {name} {kind}\n");
        Family { page: self, metric }
    }

    /// A metric with one value and no labels.
    pub(super) fn single(&mut self, metric: &'static Metric, value: impl Display) {
        self.family(metric).value(&[], value);
    }

    /// The same where the value may not be known.
    pub(super) fn values(&mut self, metric: &'static Metric, value: Option<impl Display>) {
        let mut family = self.family(metric);
        if let Some(value) = value {
            family.value(&[], value);
        }
    }

    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// A metric whose values are written.
#[derive(Debug)]
pub(super) struct Family<'a> {
    page: &'a mut Page,
    metric: &'static Metric,
}

impl Family<'_> {
    /// A value with these labels, in the order of their declaration.
    pub(super) fn value(&mut self, labels: &[&str], value: impl Display) {
        self.line("", labels, None, value);
    }

    /// A histogram; what it counts is so many times the unit of the metric.
    pub(super) fn histogram(&mut self, labels: &[&str], reading: &HistogramReading, scale: Scale) {
        let mut below = 0;
        for (bound, count) in reading.bounds.iter().zip(&reading.buckets) {
            below += count;
            self.line("_bucket", labels, Some(&scale.of(*bound).to_string()), below);
        }
        let count = reading.count();
        self.line("_bucket", labels, Some("+Inf"), count);
        self.sum(labels, scale.of(reading.sum), count);
    }

    /// The sum of so many numbers.
    pub(super) fn sum(&mut self, labels: &[&str], sum: f64, count: u64) {
        self.line("_sum", labels, None, sum);
        self.line("_count", labels, None, count);
    }

    fn line(&mut self, suffix: &str, labels: &[&str], bound: Option<&str>, value: impl Display) {
        let text = &mut self.page.text;
        put!(text, "{}{suffix}", self.metric.name);
        let named = self.metric.labels.iter().copied().zip(labels.iter().copied());
        let mut between = '{';
        for (name, value) in named.chain(bound.map(|bound| ("le", bound))) {
            put!(text, "{between}{name}=\"");
            escape(text, value);
            text.push('"');
            between = ',';
        }
        if between == ',' {
            text.push('}');
        }
        put!(text, " {value}\n");
    }
}

/// What the numbers of a histogram are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scale {
    /// As they are shown.
    One,
    /// Nanoseconds; they are shown in seconds.
    Nanoseconds,
}

impl Scale {
    #[expect(clippy::cast_precision_loss, reason = "a nanosecond in a hundred days is no loss")]
    fn of(self, number: u64) -> f64 {
        match self {
            Scale::One => number as f64,
            Scale::Nanoseconds => number as f64 / 1e9,
        }
    }
}

fn escape(text: &mut String, value: &str) {
    for character in value.chars() {
        match character {
            '\\' => text.push_str("\\\\"),
            '"' => text.push_str("\\\""),
            '\n' => text.push_str("\\n"),
            other => text.push(other),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::count::{Histogram, ROWS};
    use super::super::declared;
    use super::*;

    #[test]
    fn values_of_labels_are_escaped() {
        let mut page = Page::default();
        page.family(declared::QUEUE).value(&["a\"b\\c\nd"], 7);
        let text = page.into_text();
        assert!(text.ends_with("mppd_tracker_queue{records=\"a\\\"b\\\\c\\nd\"} 7\n"), "{text}");
    }

    #[test]
    fn a_histogram_adds_up_and_ends_with_the_sum_and_the_count() {
        let histogram = Histogram::new(ROWS);
        for rows in [1, 3, 9_999] {
            histogram.observe(rows);
        }
        let mut page = Page::default();
        page.family(declared::BATCH_ROWS).histogram(&["db"], &histogram.read(), Scale::One);
        let text = page.into_text();
        for line in [
            "mppd_tracker_batch_rows_bucket{records=\"db\",le=\"1\"} 1\n",
            "mppd_tracker_batch_rows_bucket{records=\"db\",le=\"5\"} 2\n",
            "mppd_tracker_batch_rows_bucket{records=\"db\",le=\"5000\"} 2\n",
            "mppd_tracker_batch_rows_bucket{records=\"db\",le=\"+Inf\"} 3\n",
            "mppd_tracker_batch_rows_sum{records=\"db\"} 10003\n",
            "mppd_tracker_batch_rows_count{records=\"db\"} 3\n",
        ] {
            assert!(text.contains(line), "{text}");
        }
    }

    #[test]
    fn nanoseconds_are_shown_in_seconds() {
        let histogram = Histogram::of_times();
        histogram.observe(1_500_000);
        let mut page = Page::default();
        let reading = histogram.read();
        page.family(declared::REQUEST_DURATION).histogram(&[], &reading, Scale::Nanoseconds);
        let text = page.into_text();
        assert!(text.contains("mppd_request_duration_seconds_bucket{le=\"0.00005\"} 0\n"));
        assert!(text.contains("mppd_request_duration_seconds_sum 0.0015\n"), "{text}");
    }
}
