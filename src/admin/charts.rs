//! Charts over time, and the same as tables.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use jiff::Timestamp;
use serde::Deserialize;

use super::history::{Chart, Range, Sample, charts, gathered};
use super::page::{Page, PageError, escaped, html};
use super::visitor::{Visitor, console};

/// Rows of a table: more are put together.
const MOST_ROWS: usize = 24;

/// How often is looked, in seconds.
const LOOKED: u64 = 10;

/// What is asked for.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct ChartsForm {
    #[serde(default)]
    range: Range,
}

/// A chart as a table.
struct Table {
    chart: Chart,
    rows: Vec<Row>,
}

/// A while.
struct Row {
    /// When it ended.
    time: String,
    /// Where its requests are.
    link: String,
    /// A value for each line.
    values: Vec<String>,
}

#[derive(Template)]
#[template(path = "charts.html")]
struct ChartsPage {
    page: Page,
    is_hour: bool,
    tables: Vec<Table>,
    is_empty: bool,
}

/// The page.
///
/// # Errors
/// It can't be made.
pub async fn page(
    request: HttpRequest,
    visitor: Visitor,
    form: web::Query<ChartsForm>,
) -> Result<HttpResponse, PageError> {
    let samples = console(&request)?.history.samples(form.range);
    let size = samples.len().div_ceil(MOST_ROWS).max(1);
    let gathered: Vec<Sample> = samples.chunks(size).map(gathered).collect();
    html(&ChartsPage {
        page: Page::new("/charts", "Charts", visitor),
        is_hour: form.range == Range::Hour,
        is_empty: samples.is_empty(),
        tables: charts(&gathered).into_iter().map(table).collect(),
    })
}

/// What the script draws.
///
/// # Errors
/// It can't be made.
pub async fn data(
    request: HttpRequest,
    _: Visitor,
    form: web::Query<ChartsForm>,
) -> Result<HttpResponse, PageError> {
    let samples = console(&request)?.history.samples(form.range);
    Ok(HttpResponse::Ok().json(charts(&samples)))
}

fn table(chart: Chart) -> Table {
    let times = &chart.times;
    let row = |(place, time): (usize, &u64)| {
        let value = |values: &Vec<Option<f64>>| {
            values.get(place).copied().flatten().map(|value| format!("{value:.2}"))
        };
        let values = chart.series.iter().map(|series| value(&series.values).unwrap_or_default());
        Row { time: clock(*time), link: link(times, place), values: values.collect() }
    };
    let rows: Vec<Row> = times.iter().enumerate().map(row).collect();
    Table { chart, rows }
}

/// A search for the requests between a time and the one before.
fn link(times: &[u64], place: usize) -> String {
    let at = |place: usize| times.get(place).copied();
    let end = at(place).unwrap_or_default();
    let begin = place.checked_sub(1).and_then(at);
    // The first one took as long as the next.
    let step = at(place + 1).map_or(LOOKED, |next| next.saturating_sub(end));
    let begin = begin.unwrap_or_else(|| end.saturating_sub(step));
    let time = |seconds: u64| {
        let time = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
        time.map(|time| escaped(&time.to_string())).unwrap_or_default()
    };
    format!("/search?since={}&until={}", time(begin), time(end))
}

fn clock(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
    let zoned = time.map(|time| time.to_zoned(jiff::tz::TimeZone::system()));
    zoned.map(|zoned| zoned.strftime("%a %H:%M:%S").to_string()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_leads_to_the_requests_since_the_one_before() {
        let expected = "/search?since=1970-01-01T00%3A00%3A10Z&until=1970-01-01T00%3A00%3A20Z";
        assert_eq!(link(&[10, 20], 1), expected);
        assert_eq!(link(&[20, 30], 0), expected);
        assert_eq!(link(&[20], 0), expected);
    }
}
