//! `mppd track stats`: what requests came to, with small charts.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use jiff::{Timestamp, Zoned};
use mppd_engine::Escaped;
use mppd_engine::config::nearest;
use serde_json::json;

use super::cells::{local_time, plain};
use super::filter::{Filter, Patience, Period, question};
use super::paint::Paint;
use super::{Output, TrackError, report};
use crate::tracking::row::Cell;
use crate::tracking::search::{Place, bounded_always};
use crate::tracking::stats::{
    By, Counts, EngineStats, Limits, Series, Split, counts, engines, series,
};
use crate::tracking::store::{Condition, Query};
use crate::tracking::table::{COLUMNS, Source};

/// The widest bar.
const BAR: u64 = 40;

/// Widest chart of time, in characters.
const CHART: i64 = 72;

/// What to count. Without a time: the last 24 hours
#[derive(Debug, Args)]
pub(super) struct StatsArguments {
    /// By what; several may be given. Without: time, decision, reason and engine
    #[arg(long, value_enum, value_delimiter = ',')]
    by: Vec<What>,
    /// By what the engine of this ID said; several may be given
    #[arg(long, value_name = "ID")]
    status: Vec<String>,
    #[command(flatten)]
    filter: Filter,
    #[command(flatten)]
    period: Period,
    /// At most so many values
    #[arg(long, default_value_t = 10, value_name = "NUMBER")]
    top: usize,
    /// Prints one JSON object a line for each of --by
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    patience: Patience,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum What {
    /// Decision
    Decision,
    /// Decision with its text, or the exception
    Reason,
    /// Each engine, its statuses, and its times
    Engine,
    /// Client's address
    Client,
    /// Client's network, of 24 bits (IPv4) or 64 (IPv6)
    Network,
    /// Client's name
    ClientName,
    /// Sender
    Sender,
    /// Sender's domain
    SenderDomain,
    /// Recipient
    Recipient,
    /// Recipient's domain
    RecipientDomain,
    /// Who was logged in
    SaslUser,
    /// SMTP command
    Stage,
    /// Policy group
    Group,
    /// Node
    Node,
    /// Hour
    Hour,
    /// Day
    Day,
    /// A chart over the whole time
    Time,
}

/// What is printed: a title and what is behind it.
enum Part {
    Counts(String, Counts),
    Engines(EngineStats),
    Time(String, Series),
}

pub(super) async fn run(
    arguments: &StatsArguments,
    places: &[Place],
    output: &mut Output<'_>,
) -> Result<ExitCode, TrackError> {
    let now = Zoned::now();
    let query = question(&arguments.filter, Some(&arguments.period)).query(&now)?;
    let (query, _) = bounded_always(query, now.timestamp());
    let statuses: Vec<&'static str> =
        arguments.status.iter().map(|id| status_column(id)).collect::<Result<_, _>>()?;
    let mut wanted = arguments.by.clone();
    if wanted.is_empty() && statuses.is_empty() {
        wanted = vec![What::Time, What::Decision, What::Reason, What::Engine];
    }
    let period = period(&query, now.timestamp());
    if !arguments.json {
        let [begin, end] = [period.0, period.1].map(|time| local_time(Cell::Time(time)));
        writeln!(output.out, "from {begin} to {end}")?;
    }
    let mut code = ExitCode::SUCCESS;
    for what in wanted {
        let part = part(arguments, places, &query, period, what).await;
        code = print(&part, arguments.json, output)?.unwrap_or(code);
    }
    for id in statuses {
        let counts = counts(places, &query.condition, By::Status(id), limits(arguments)).await;
        let part = Part::Counts(format!("status of {id}"), counts);
        code = print(&part, arguments.json, output)?.unwrap_or(code);
    }
    Ok(code)
}

fn limits(arguments: &StatsArguments) -> Limits {
    Limits { time: arguments.patience.time(), top: arguments.top, ..Limits::default() }
}

async fn part(
    arguments: &StatsArguments,
    places: &[Place],
    query: &Query,
    period: (i64, i64),
    what: What,
) -> Part {
    let limits = limits(arguments);
    let steps = |step: Duration, title: &str| {
        let title = title.to_owned();
        async move {
            let condition = &query.condition;
            let period = whole_steps(period, step);
            Part::Time(title, series(places, condition, period, step, Split::None, limits).await)
        }
    };
    let by = match what {
        What::Engine => return Part::Engines(engines(places, &query.condition, limits).await),
        What::Hour => return steps(Duration::from_hours(1), "hour").await,
        What::Day => return steps(Duration::from_hours(24), "day").await,
        What::Time => {
            let condition = &query.condition;
            let (step, title) = (chart_step(period), "time".to_owned());
            let split = Split::Decision;
            return Part::Time(title, series(places, condition, period, step, split, limits).await);
        }
        What::Decision => By::Decision,
        What::Reason => By::Reason,
        What::Client => By::Client,
        What::Network => By::Network,
        What::ClientName => By::ClientName,
        What::Sender => By::Sender,
        What::SenderDomain => By::SenderDomain,
        What::Recipient => By::Recipient,
        What::RecipientDomain => By::RecipientDomain,
        What::SaslUser => By::SaslUser,
        What::Stage => By::Stage,
        What::Group => By::Group,
        What::Node => By::Node,
    };
    let title = what.to_possible_value().map(|value| value.get_name().to_owned());
    let counts = counts(places, &query.condition, by, limits).await;
    Part::Counts(title.unwrap_or_default(), counts)
}

fn status_column(id: &str) -> Result<&'static str, TrackError> {
    let of_engines = COLUMNS.iter().filter_map(|column| match column.source {
        Source::Status(engine) => Some(engine),
        _ => None,
    });
    let known: Vec<&'static str> = of_engines.collect();
    known.iter().find(|known| **known == id).copied().ok_or_else(|| TrackError::Engine {
        id: id.to_owned(),
        near: nearest(id, known.iter().copied()).map(ToOwned::to_owned),
    })
}

/// The time that a query is bound to.
fn period(query: &Query, now: Timestamp) -> (i64, i64) {
    let Condition::All(parts) = &query.condition else { return (0, now.as_microsecond()) };
    let begin = parts.iter().filter_map(|part| match part {
        Condition::Since(time) => Some(*time),
        _ => None,
    });
    let end = parts.iter().filter_map(|part| match part {
        Condition::Before(time) => Some(*time),
        _ => None,
    });
    (begin.max().unwrap_or(0), end.min().unwrap_or_else(|| now.as_microsecond()))
}

/// The same time, with its beginning moved back to where a step begins in the local time zone.
fn whole_steps((begin, end): (i64, i64), step: Duration) -> (i64, i64) {
    let step = i64::try_from(step.as_micros()).unwrap_or(i64::MAX);
    let offset = Timestamp::from_microsecond(begin).map_or(0, |time| {
        i64::from(jiff::tz::TimeZone::system().to_offset(time).seconds()) * 1_000_000
    });
    let local = begin.saturating_add(offset);
    (local - local.rem_euclid(step) - offset, end)
}

fn chart_step((begin, end): (i64, i64)) -> Duration {
    let seconds = ((end - begin) / 1_000_000 / CHART).max(1);
    let nice = [1, 5, 10, 30, 60, 300, 600, 1_200, 1_800, 3_600, 7_200, 14_400, 43_200, 86_400];
    let step = nice.into_iter().find(|step| *step >= seconds).unwrap_or(seconds);
    Duration::from_secs(step.unsigned_abs())
}

/// Prints a part; the exit code where something could not be looked at.
fn print(part: &Part, as_json: bool, output: &mut Output<'_>) -> io::Result<Option<ExitCode>> {
    if as_json {
        let value = match part {
            Part::Counts(by, counts) => json!({"by": by, "counts": counts}),
            Part::Engines(stats) => json!({"by": "engine", "engines": stats}),
            Part::Time(by, series) => json!({"by": by, "series": series}),
        };
        writeln!(output.out, "{}", plain(&value.to_string()))?;
    } else {
        let paint = Paint::new(output.is_terminal);
        writeln!(output.out)?;
        match part {
            Part::Counts(by, counts) => print_counts(by, counts, paint, output)?,
            Part::Engines(stats) => print_engines(stats, paint, output)?,
            Part::Time(by, series) if by == "time" => print_chart(series, paint, output)?,
            Part::Time(by, series) => print_steps(by, series, paint, output)?,
        }
    }
    let failures = match part {
        Part::Counts(_, Counts { failures, .. })
        | Part::Engines(EngineStats { failures, .. })
        | Part::Time(_, Series { failures, .. }) => failures,
    };
    let code = report(failures, output)?;
    Ok((!failures.is_empty()).then_some(code))
}

fn print_counts(
    by: &str,
    counts: &Counts,
    paint: Paint,
    output: &mut Output<'_>,
) -> io::Result<()> {
    let values = counts.values;
    writeln!(output.out, "{}  ({values} of {} requests)", paint.strong(by), counts.total)?;
    let most = counts.top.first().map_or(0, |count| count.requests).max(counts.others);
    let mut lines: Vec<(String, u64)> =
        counts.top.iter().map(|count| (shown(&count.value), count.requests)).collect();
    if counts.others > 0 {
        let rest = values - counts.top.len() as u64;
        lines.push((format!("({rest} others)"), counts.others));
    }
    print_bars(&lines, most, counts.total, paint, output)
}

fn print_steps(by: &str, series: &Series, paint: Paint, output: &mut Output<'_>) -> io::Result<()> {
    let totals = series.totals();
    let (most, total) = (totals.iter().copied().max().unwrap_or(0), totals.iter().sum());
    writeln!(output.out, "{}  ({total} requests)", paint.strong(by))?;
    let begins = (0_i64..).map(|place| local_time(Cell::Time(series.begin + place * series.step)));
    // Seconds say nothing of hours, hours nothing of days.
    let digits = if by == "day" { 10 } else { 16 };
    let lines: Vec<(String, u64)> =
        begins.map(|time| time.chars().take(digits).collect()).zip(totals).collect();
    print_bars(&lines, most, total, paint, output)
}

fn print_bars(
    lines: &[(String, u64)],
    most: u64,
    total: u64,
    paint: Paint,
    output: &mut Output<'_>,
) -> io::Result<()> {
    let width = lines.iter().map(|(value, _)| value.chars().count()).max().unwrap_or(0).min(60);
    let digits = most.to_string().len();
    for (value, requests) in lines {
        let share = requests * 1_000 / total.max(1);
        let (percent, bar) = (format!("{}.{}", share / 10, share % 10), bar(*requests, most));
        let line = format!("{value:width$}  {requests:digits$}  {percent:>5} %  ");
        writeln!(output.out, "  {line}{}", paint.bar(bar))?;
    }
    Ok(())
}

fn print_engines(stats: &EngineStats, paint: Paint, output: &mut Output<'_>) -> io::Result<()> {
    let EngineStats { total, sample, .. } = stats;
    let note = if sample < total {
        format!("estimated from {sample} of {total} requests")
    } else {
        format!("{total} requests")
    };
    writeln!(output.out, "{}  ({note})", paint.strong("engine"))?;
    for engine in &stats.engines {
        let (p50, p99) = (engine.p50, engine.p99);
        let times = format!("half within {p50:.3} ms, 99 % within {p99:.3} ms");
        writeln!(output.out, "  {}  {}", paint.strong(shown(&engine.id)), paint.dim(times))?;
        let most = engine.statuses.first().map_or(0, |count| count.requests);
        let sum = engine.statuses.iter().map(|count| count.requests).sum();
        let lines: Vec<(String, u64)> =
            engine.statuses.iter().map(|count| (shown(&count.value), count.requests)).collect();
        print_bars(&lines, most, sum, paint, output)?;
    }
    Ok(())
}

fn print_chart(series: &Series, paint: Paint, output: &mut Output<'_>) -> io::Result<()> {
    let totals = series.totals();
    let (total, most) = (totals.iter().sum::<u64>(), totals.iter().copied().max().unwrap_or(0));
    let step = series.step / 1_000_000;
    let step = match step {
        86_400.. => format!("{} d", step / 86_400),
        3_600.. => format!("{} h", step / 3_600),
        60.. => format!("{} min", step / 60),
        _ => format!("{step} s"),
    };
    let title = paint.strong("time");
    writeln!(output.out, "{title}  ({total} requests; each column {step}, the highest {most})")?;
    let lines = series.lines.iter().map(|line| (named(&line.value), line));
    let width = lines.clone().map(|(name, _)| name.chars().count()).max().unwrap_or(0).max(3);
    writeln!(output.out, "  {:width$}  {}", "all", paint.bar(sparkline(&totals)))?;
    for (name, line) in lines {
        let chart = sparkline(&line.requests);
        let most = line.requests.iter().max().unwrap_or(&0);
        writeln!(output.out, "  {name:width$}  {}  {most}", paint.bar(chart))?;
    }
    Ok(())
}

fn named(decision: &str) -> String {
    if decision.is_empty() { "(none)".to_owned() } else { shown(decision) }
}

fn shown(value: &str) -> String {
    if value.is_empty() { "(none)".to_owned() } else { Escaped(value.as_bytes()).to_string() }
}

/// A bar of eighths of characters.
fn bar(value: u64, most: u64) -> String {
    const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
    let eighths = (value.saturating_mul(BAR * 8)).div_ceil(most.max(1));
    let whole = usize::try_from(eighths / 8).unwrap_or(0);
    let part = usize::try_from(eighths % 8).unwrap_or(0);
    "█".repeat(whole) + PARTS[part]
}

/// A line of columns, each as high as its value; a point where there is none.
fn sparkline(values: &[u64]) -> String {
    const HEIGHTS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    let most = values.iter().copied().max().unwrap_or(0).max(1);
    let height = |value: &u64| match value {
        0 => '·',
        value => HEIGHTS[usize::try_from((value * 8 - 1) / most).unwrap_or(0).min(7)],
    };
    values.iter().map(height).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_its_share() {
        assert_eq!(bar(8, 8).chars().count(), 40);
        assert_eq!(bar(4, 8).chars().count(), 20);
        assert_eq!(bar(1, 1_000), "▏");
        assert_eq!(bar(0, 0), "");
    }

    #[test]
    fn columns_are_as_high_as_their_values() {
        assert_eq!(sparkline(&[0, 1, 4, 8]), "·▁▄█");
        assert_eq!(sparkline(&[]), "");
    }

    #[test]
    fn an_engine_without_a_column_is_told_with_the_nearest_one() {
        let error = status_column("greylst").unwrap_err().to_string();
        assert!(error.contains("did you mean \"greylist\"?"), "{error}");
    }
}
