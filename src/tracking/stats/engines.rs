//! What engines said: how many requests had which status, and how long the engines took.
//!
//! Most engines have no column; what they said stands in `checks`, a text that must be read whole.
//! From few rows all of them are read, from many a sample: the last octet of a key is random, so
//! the rows whose last octet is below a bound are an even share of all.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;
use tokio::time::Instant;

use super::{Count, Limits, or_fail, top, unsigned};
use crate::tracking::query::{Bound, Route, Statement, count, from, write};
use crate::tracking::reader::{Field, readers};
use crate::tracking::search::Place;
use crate::tracking::store::{Condition, StoreError};
use crate::tracking::story::read_checks;
use crate::tracking::table::Dialect;

/// How many values of an octet there are.
const OCTETS: u64 = 256;

/// What one request counts while shares of it are summed up.
const WEIGHT: u64 = 1_000;

/// What the engines said.
#[derive(Debug, Default, Serialize)]
pub struct EngineStats {
    /// The engines, in the order in which most requests met them.
    pub engines: Vec<EngineCounts>,
    /// All requests.
    pub total: u64,
    /// How many of these were looked at. Where it is fewer than all, counts are estimated from an
    /// even share of the requests.
    pub sample: u64,
    /// What went wrong, and where.
    #[serde(skip)]
    pub failures: Vec<(String, StoreError)>,
}

/// What an engine said.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EngineCounts {
    /// Its ID.
    pub id: String,
    /// How many requests had which status.
    pub statuses: Vec<Count>,
    /// Half of the requests took no longer, in milliseconds.
    pub p50: f64,
    /// 99 of 100 requests took no longer, in milliseconds.
    pub p99: f64,
}

#[derive(Debug, Default)]
struct Engine {
    place: usize,
    statuses: HashMap<String, u64>,
    milliseconds: Vec<f64>,
}

/// Counts what the engines said about requests. An engine that ran again is counted as one.
pub async fn engines(places: &[Place], condition: &Condition, limits: Limits) -> EngineStats {
    let mut stats = EngineStats::default();
    let mut engines: BTreeMap<String, Engine> = BTreeMap::new();
    for mut reader in readers(places, Instant::now() + limits.time) {
        let all = count(reader.dialect(), Route::Time, std::slice::from_ref(condition));
        let total = or_fail(&mut reader, all, &mut stats.failures).await;
        let total = total.first().and_then(|row| row.first()).map_or(0, unsigned);
        if total == 0 {
            reader.end().await;
            continue;
        }
        let share = share(total, limits.sample);
        let statement = checks(reader.dialect(), condition, share);
        let rows = or_fail(&mut reader, statement, &mut stats.failures).await;
        stats.total += total;
        stats.sample += rows.len() as u64;
        for row in rows {
            let text = row.first().and_then(Field::text).unwrap_or_default();
            add(&mut engines, &text, OCTETS * WEIGHT / share);
        }
        reader.end().await;
    }
    stats.engines = finish(engines);
    stats
}

/// How many of 256 rows are read.
fn share(total: u64, most: u32) -> u64 {
    (OCTETS * u64::from(most) / total).clamp(1, OCTETS)
}

/// What the engines said, in rows whose keys end with one of so many octets.
fn checks(dialect: Dialect, condition: &Condition, share: u64) -> Statement {
    let (condition, mut bound) = write(dialect, Route::Time, condition);
    let table = from(dialect, Route::Time);
    let mut sql = format!("SELECT checks FROM {table} WHERE {condition}");
    if let Ok(octet) = u8::try_from(share) {
        bound.push(Bound::Octets(vec![octet]));
        sql.push_str(" AND substr(id, 16, 1) < ?");
    }
    Statement { sql, bound }
}

fn add(engines: &mut BTreeMap<String, Engine>, checks: &str, weight: u64) {
    for (place, ran) in read_checks(checks).unwrap_or_default().into_iter().enumerate() {
        let id = ran.id.split('#').next().unwrap_or_default();
        // An engine that another one keeps from running says nothing about the order.
        let engine = engines.entry(id.to_owned()).or_default();
        engine.place = engine.place.max(place);
        *engine.statuses.entry(ran.status).or_default() += weight;
        engine.milliseconds.extend(ran.milliseconds);
    }
}

fn finish(engines: BTreeMap<String, Engine>) -> Vec<EngineCounts> {
    let mut all: Vec<(usize, EngineCounts)> = Vec::new();
    for (id, mut engine) in engines {
        engine.milliseconds.sort_by(f64::total_cmp);
        let sums = engine.statuses.into_iter();
        let sums = sums.map(|(status, sum)| (status, (sum + WEIGHT / 2) / WEIGHT)).collect();
        let counts = EngineCounts {
            id,
            statuses: top(sums, usize::MAX).top,
            p50: quantile(&engine.milliseconds, 50),
            p99: quantile(&engine.milliseconds, 99),
        };
        all.push((engine.place, counts));
    }
    all.sort_by_key(|(place, _)| *place);
    all.into_iter().map(|(_, counts)| counts).collect()
}

/// The least of the sorted figures that so many of a hundred do not exceed; 0 of none.
fn quantile(sorted: &[f64], percent: usize) -> f64 {
    let place = (sorted.len() * percent).div_ceil(100).saturating_sub(1);
    sorted.get(place).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn engines_are_counted_in_the_order_in_which_they_run() {
        let mut engines = BTreeMap::new();
        for (status, ms) in [("pass", 1.0), ("pass", 3.0), ("fail", 9.0)] {
            let checks = format!(
                r#"{{"wbl":{{"status":"none","ms":0.5}},"spf":{{"status":"{status}","ms":{ms}}}}}"#
            );
            add(&mut engines, &checks, 2 * WEIGHT);
        }
        let [wbl, spf] = finish(engines).try_into().unwrap();
        assert_eq!((wbl.id.as_str(), spf.id.as_str()), ("wbl", "spf"));
        let told: Vec<(&str, u64)> =
            spf.statuses.iter().map(|count| (count.value.as_str(), count.requests)).collect();
        assert_eq!(told, [("pass", 4), ("fail", 2)]);
        assert!((spf.p50 - 3.0).abs() < 1e-9 && (spf.p99 - 9.0).abs() < 1e-9);
    }

    #[test]
    fn an_engine_that_ran_again_is_counted_as_one() {
        let mut engines = BTreeMap::new();
        let twice = r#"{"a":{"status":"x","ms":1},"a#2":{"status":"y","ms":1}}"#;
        add(&mut engines, twice, WEIGHT);
        let [a] = finish(engines).try_into().unwrap();
        assert_eq!((a.id.as_str(), a.statuses.len()), ("a", 2));
    }

    #[test]
    fn no_more_is_read_than_a_share() {
        assert_eq!(share(1_000, 200_000), 256);
        assert_eq!(share(10_000_000, 200_000), 5);
        assert_eq!(share(u64::MAX / 2, 1), 1);
    }
}
