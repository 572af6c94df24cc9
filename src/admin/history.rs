//! What the charts show: how the counters grew, every 10 seconds for an hour and every 5 minutes for
//! two days. It is kept in memory, bounded, and begins anew with the server.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::Serialize;

use super::Console;
use crate::metrics::{HistogramReading, Reading};
use crate::status::ServerStatus;
use crate::tracking::status::Place;

/// How often the counters are looked at.
pub const STEP: Duration = Duration::from_secs(10);

/// Samples of one step: an hour.
const FINE: usize = 360;

/// Steps in one coarse sample: 5 minutes.
const STEPS: usize = 30;

/// Coarse samples: two days.
const COARSE: usize = 576;

/// How the counters grew in a while, and how things stood at its end.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sample {
    /// When it ended, in seconds since 1970.
    pub time: u64,
    /// How long it was, in seconds.
    pub seconds: f64,
    /// Requests by what was answered.
    pub decisions: BTreeMap<&'static str, u64>,
    /// How long requests took.
    pub times: Option<HistogramReading>,
    /// The engines, by ID.
    pub engines: BTreeMap<Arc<str>, EngineSample>,
    /// Connections.
    pub connections: u64,
    /// Rows in the spools.
    pub spooled: u64,
    /// Rows that wait for their transaction.
    pub waiting: u64,
    /// Rows that were written.
    pub rows: u64,
    /// Databases that are away.
    pub away: u64,
}

/// The same of one engine.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct EngineSample {
    /// Runs by the status that they came to.
    pub statuses: BTreeMap<&'static str, u64>,
    /// How long they took.
    pub times: Option<HistogramReading>,
}

/// The counters as they stood.
#[derive(Debug, Clone)]
struct Stand {
    at: SystemTime,
    reading: Reading,
    status: Option<ServerStatus>,
}

impl Stand {
    fn rows(&self) -> u64 {
        let trackers = self.status.iter().flat_map(|status| &status.trackers);
        trackers.map(|tracker| tracker.rows).sum()
    }

    /// What has come since another one.
    fn since(&self, before: &Stand) -> Sample {
        let trackers = || self.status.iter().flat_map(|status| &status.trackers);
        let is_away = |place: &Place| matches!(place, Place::Away { .. });
        let waiting = trackers().map(|tracker| tracker.waiting as u64).sum();
        let seconds = self.at.duration_since(before.at).unwrap_or(STEP).as_secs_f64();
        Sample {
            time: self.at.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs(),
            seconds,
            decisions: grown(decisions(&self.reading), &decisions(&before.reading)),
            times: Some(times_since(&self.reading.times, &before.reading.times)),
            engines: engines(&self.reading, &before.reading),
            connections: self.status.as_ref().map_or(0, |s| u64::from(s.traffic.connections)),
            spooled: trackers().map(|tracker| tracker.spooled).sum(),
            waiting,
            rows: self.rows().saturating_sub(before.rows()),
            away: trackers().filter(|tracker| is_away(&tracker.place)).count() as u64,
        }
    }
}

/// What was answered, over all groups; what never was is left out.
fn decisions(reading: &Reading) -> BTreeMap<&'static str, u64> {
    let mut sums = BTreeMap::new();
    for (word, count) in reading.groups.iter().flat_map(|group| &group.decisions) {
        if *count > 0 {
            *sums.entry(*word).or_default() += count;
        }
    }
    sums
}

fn grown(
    now: BTreeMap<&'static str, u64>,
    before: &BTreeMap<&'static str, u64>,
) -> BTreeMap<&'static str, u64> {
    let since = |word: &str, count: u64| {
        // A group that a reload took away has taken its counts with it.
        count.saturating_sub(before.get(word).copied().unwrap_or_default())
    };
    now.into_iter().map(|(word, count)| (word, since(word, count))).collect()
}

fn times_since(now: &HistogramReading, before: &HistogramReading) -> HistogramReading {
    let mut since = now.clone();
    for (bucket, before) in since.buckets.iter_mut().zip(&before.buckets) {
        *bucket = bucket.saturating_sub(*before);
    }
    since.sum = since.sum.saturating_sub(before.sum);
    since
}

fn engines(now: &Reading, before: &Reading) -> BTreeMap<Arc<str>, EngineSample> {
    let engines = now.engines.iter().map(|engine| {
        let known = before.engines.iter().find(|known| known.id == engine.id);
        let statuses = |statuses: &[(&'static str, u64)]| {
            statuses.iter().copied().filter(|(_, count)| *count > 0).collect()
        };
        let old: BTreeMap<_, _> = known.map(|known| statuses(&known.statuses)).unwrap_or_default();
        let times = known
            .map_or_else(|| engine.times.clone(), |known| times_since(&engine.times, &known.times));
        let sample =
            EngineSample { statuses: grown(statuses(&engine.statuses), &old), times: Some(times) };
        (engine.id.clone(), sample)
    });
    engines.collect()
}

impl Sample {
    /// Adds what came after it.
    fn add(&mut self, later: &Sample) {
        self.time = later.time;
        self.seconds += later.seconds;
        add_counts(&mut self.decisions, &later.decisions);
        add_times(&mut self.times, later.times.as_ref());
        for (id, engine) in &later.engines {
            let own = self.engines.entry(id.clone()).or_default();
            add_counts(&mut own.statuses, &engine.statuses);
            add_times(&mut own.times, engine.times.as_ref());
        }
        self.connections = later.connections;
        self.spooled = later.spooled;
        self.waiting = later.waiting;
        self.rows += later.rows;
        self.away = later.away;
    }

    /// Requests in this while.
    #[must_use]
    pub fn requests(&self) -> u64 {
        self.decisions.values().sum()
    }
}

fn add_counts(counts: &mut BTreeMap<&'static str, u64>, more: &BTreeMap<&'static str, u64>) {
    for (word, count) in more {
        *counts.entry(word).or_default() += count;
    }
}

fn add_times(times: &mut Option<HistogramReading>, more: Option<&HistogramReading>) {
    match (times.as_mut(), more) {
        (Some(times), Some(more)) => times.add(more),
        (None, Some(more)) => *times = Some(more.clone()),
        _ => {}
    }
}

/// Samples together, in order.
#[must_use]
pub fn gathered(samples: &[Sample]) -> Sample {
    let mut all = Sample::default();
    for sample in samples {
        all.add(sample);
    }
    all
}

/// What a chart goes back over.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Range {
    /// An hour, in steps of 10 seconds.
    #[default]
    Hour,
    /// Two days, in steps of 5 minutes.
    Days,
}

#[derive(Debug, Default)]
struct Kept {
    last: Option<Stand>,
    fine: VecDeque<Sample>,
    coarse: VecDeque<Sample>,
    gathering: Vec<Sample>,
}

/// The samples that are kept.
#[derive(Debug, Default)]
pub struct History(Mutex<Kept>);

impl History {
    /// Looks at the counters.
    fn look(&self, stand: Stand) {
        let mut kept = self.lock();
        let sample = kept.last.as_ref().map(|before| stand.since(before));
        kept.last = Some(stand);
        let Some(sample) = sample else { return };
        push(&mut kept.fine, sample.clone(), FINE);
        kept.gathering.push(sample);
        if kept.gathering.len() >= STEPS {
            let gathered = gathered(&std::mem::take(&mut kept.gathering));
            push(&mut kept.coarse, gathered, COARSE);
        }
    }

    /// The samples of a range, the oldest first.
    #[must_use]
    pub fn samples(&self, range: Range) -> Vec<Sample> {
        let kept = self.lock();
        match range {
            Range::Hour => kept.fine.iter().cloned().collect(),
            Range::Days => {
                let last = (!kept.gathering.is_empty()).then(|| gathered(&kept.gathering));
                kept.coarse.iter().cloned().chain(last).collect()
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        // No panic can leave it half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn push(samples: &mut VecDeque<Sample>, sample: Sample, most: usize) {
    if samples.len() >= most {
        samples.pop_front();
    }
    samples.push_back(sample);
}

/// Looks at the counters every now and then, as long as somebody could look at the charts.
pub async fn keep(console: Arc<Console>) {
    let mut ticks = tokio::time::interval(STEP);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if console.in_force().admin.listen.is_empty() {
            continue;
        }
        let status = console.inquiries.status().await.ok();
        let reading = console.monitor.read();
        console.history.look(Stand { at: SystemTime::now(), reading, status });
    }
}

/// A line of a chart.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Series {
    /// Its name.
    pub name: String,
    /// Its values; `None` where there is none.
    pub values: Vec<Option<f64>>,
}

/// A chart: its lines over the times.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Chart {
    /// Where on the page it is.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// What the values are.
    pub unit: &'static str,
    /// Seconds since 1970.
    pub times: Vec<u64>,
    /// The lines.
    pub series: Vec<Series>,
}

/// Nanoseconds that so great a share did not exceed, in milliseconds.
#[expect(clippy::cast_precision_loss, reason = "times are far below 2^53 nanoseconds")]
fn milliseconds(times: Option<&HistogramReading>, share: f64) -> Option<f64> {
    times?.quantile(share).map(|nanoseconds| nanoseconds as f64 / 1e6)
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
fn number(count: u64) -> f64 {
    count as f64
}

fn series(samples: &[Sample], name: &str, value: impl Fn(&Sample) -> Option<f64>) -> Series {
    Series { name: name.to_owned(), values: samples.iter().map(value).collect() }
}

fn rate(count: u64, sample: &Sample) -> f64 {
    if sample.seconds > 0.0 { number(count) / sample.seconds } else { 0.0 }
}

fn rates<'a>(
    samples: &[Sample],
    counts: impl Fn(&Sample) -> Option<&BTreeMap<&'static str, u64>> + 'a,
) -> Vec<Series> {
    let words: std::collections::BTreeSet<&str> = samples
        .iter()
        .filter_map(&counts)
        .flat_map(|counts| counts.iter().filter(|(_, count)| **count > 0).map(|(word, _)| *word))
        .collect();
    let of = |word: &str| {
        series(samples, word, |sample| {
            let count = counts(sample)?.get(word).copied().unwrap_or_default();
            Some(rate(count, sample))
        })
    };
    words.into_iter().map(of).collect()
}

/// Every chart of some samples.
#[must_use]
pub fn charts(samples: &[Sample]) -> Vec<Chart> {
    let times: Vec<u64> = samples.iter().map(|sample| sample.time).collect();
    let chart = |id: &str, title: &str, unit: &'static str, series: Vec<Series>| Chart {
        id: id.to_owned(),
        title: title.to_owned(),
        unit,
        times: times.clone(),
        series,
    };
    let quantiles = |times: &dyn Fn(&Sample) -> Option<HistogramReading>| {
        let of = |share| move |times: Option<HistogramReading>| milliseconds(times.as_ref(), share);
        vec![
            series(samples, "median", |sample| of(0.5)(times(sample))),
            series(samples, "99 %", |sample| of(0.99)(times(sample))),
        ]
    };
    let gauge = |name: &str, value: fn(&Sample) -> u64| {
        series(samples, name, move |sample| Some(number(value(sample))))
    };
    let mut charts = vec![
        chart("decisions", "Decisions", "per second", rates(samples, |s| Some(&s.decisions))),
        chart("times", "Time to a decision", "ms", quantiles(&|sample| sample.times.clone())),
        chart("connections", "Connections", "", vec![gauge("open", |s| s.connections)]),
        chart(
            "records",
            "Records written",
            "rows per second",
            vec![series(samples, "written", |sample| Some(rate(sample.rows, sample)))],
        ),
        chart(
            "spool",
            "Rows that wait",
            "rows",
            vec![gauge("in the spool", |s| s.spooled), gauge("in memory", |s| s.waiting)],
        ),
        chart("away", "Databases away", "", vec![gauge("away", |s| s.away)]),
    ];
    let engines: std::collections::BTreeSet<&Arc<str>> =
        samples.last().iter().flat_map(|sample| sample.engines.keys()).collect();
    for (place, id) in engines.into_iter().enumerate() {
        let statuses = rates(samples, |sample| Some(&sample.engines.get(id)?.statuses));
        let title = format!("{id}: statuses");
        charts.push(chart(&format!("engine-{place}-statuses"), &title, "per second", statuses));
        let times = quantiles(&|sample| sample.engines.get(id)?.times.clone());
        let title = format!("{id}: time of a run");
        charts.push(chart(&format!("engine-{place}-times"), &title, "ms", times));
    }
    charts
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::supervisor::blueprint::{Blueprint, Chains, GroupPlan};

    fn stand(seconds: u64, count: u64) -> Stand {
        let group = GroupPlan::new("default", Chains::default());
        let blueprint = Blueprint::new(Vec::new(), vec![group]);
        let mut reading = crate::metrics::Counters::default().read(&blueprint);
        let reject = reading.groups[0].decisions.iter_mut().find(|(word, _)| *word == "REJECT");
        reject.unwrap().1 = count;
        reading.times.buckets[3] = count;
        let at = UNIX_EPOCH + Duration::from_secs(seconds);
        Stand { at, reading, status: None }
    }

    #[test]
    fn a_sample_is_what_has_come_since_the_one_before() {
        let history = History::default();
        history.look(stand(10, 5));
        assert!(history.samples(Range::Hour).is_empty(), "there is nothing to compare with");
        history.look(stand(20, 25));
        history.look(stand(30, 25));
        let samples = history.samples(Range::Hour);
        assert_eq!(samples.iter().map(Sample::requests).collect::<Vec<_>>(), [20, 0]);
        let charts = charts(&samples);
        assert_eq!(charts[0].series[0].name, "REJECT");
        assert_eq!(charts[0].series[0].values, [Some(2.0), Some(0.0)]);
        assert!(charts[1].series[1].values[0].is_some());
        assert_eq!(charts[1].series[1].values[1], None, "no request took any time");
    }

    #[test]
    fn counts_that_begin_anew_are_no_huge_growth() {
        let history = History::default();
        history.look(stand(10, 100));
        history.look(stand(20, 3));
        assert_eq!(history.samples(Range::Hour)[0].requests(), 0);
    }

    #[test]
    fn an_hour_is_kept_in_short_steps_and_two_days_in_long_ones() {
        let history = History::default();
        for step in 0..=(FINE + STEPS) as u64 {
            history.look(stand(step * 10, step));
        }
        assert_eq!(history.samples(Range::Hour).len(), FINE);
        let coarse = history.samples(Range::Days);
        assert_eq!(coarse.len(), 13);
        assert!(coarse.iter().all(|sample| sample.requests() == STEPS as u64));
        assert!((coarse[0].seconds - 300.0).abs() < 1e-6);
    }
}
