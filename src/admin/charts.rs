//! Charts over time, and the same as tables.

use actix_web::{HttpRequest, HttpResponse, web};
use askama::Template;
use jiff::Timestamp;
use serde::Deserialize;

use super::history::{Chart, Range, Sample, charts, gathered};
use super::page::{Page, PageError, html};
use super::visitor::{Visitor, console};

/// Rows of a table: more are put together.
const MOST_ROWS: usize = 24;

/// What is asked for.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
pub struct ChartsForm {
    #[serde(default)]
    range: Range,
}

/// A chart as a table.
struct Table {
    chart: Chart,
    /// The time, and a value for each line.
    rows: Vec<(String, Vec<String>)>,
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
    let row = |(place, time): (usize, &u64)| {
        let value = |values: &Vec<Option<f64>>| {
            values.get(place).copied().flatten().map(|value| format!("{value:.2}"))
        };
        let values = chart.series.iter().map(|series| value(&series.values).unwrap_or_default());
        (clock(*time), values.collect())
    };
    let rows = chart.times.iter().enumerate().map(row).collect();
    Table { chart, rows }
}

fn clock(seconds: u64) -> String {
    let time = i64::try_from(seconds).ok().and_then(|s| Timestamp::from_second(s).ok());
    let zoned = time.map(|time| time.to_zoned(jiff::tz::TimeZone::system()));
    zoned.map(|zoned| zoned.strftime("%a %H:%M:%S").to_string()).unwrap_or_default()
}
