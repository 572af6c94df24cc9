//! How a question is put to a table of millions of rows.
//!
//! Newest first, a value that many rows have is soon found in the order of time, and one that few
//! have over its secondary key; which of both it is nobody knows beforehand, and the statistics of
//! a database often do not tell. So the newest rows are looked at first. If they are not enough,
//! they tell how frequent the value is, and so how the rest is to be asked for.

use jiff::{SignedDuration, Timestamp};
use mppd_engine::RequestKey;

use super::query::{Condition, Query, Route, Statement, count_some, key_after, routed};
use super::table::{Dialect, INDEXES};

/// So few rows of a secondary key are read and sorted sooner than anything else is found out.
pub(super) const FEW: u32 = 1_000;

/// How many of the newest rows are looked at first, unless few rows have what is asked for. A value that is not so frequent that these
/// have enough of it has few rows among all.
pub(super) const NEWEST: u32 = 50_000;

/// Where one of so many of the newest rows has what a secondary key answers, the key has too many
/// rows to be of help: each of these is somewhere else, rows in the order of time lie together.
pub(super) const FREQUENT: i64 = 250;

/// How far back a question goes that no key answers, unless it says itself.
const UNBOUNDED: SignedDuration = SignedDuration::from_hours(24);

/// A question that no key answers would read the whole table: unless it says since when, it is
/// bound to the last 24 hours before its end, or before `now`. Gives the question, and since when
/// it was bound.
#[must_use]
pub fn bounded(query: Query, now: Timestamp) -> (Query, Option<Timestamp>) {
    if is_only_an_end(&query.condition) || is_answered_by_a_key(&query.condition) {
        return (query, None);
    }
    since(query, now)
}

/// Binds a question that does not say since when to the last 24 hours before its end, or before
/// `now`, whatever it is.
#[must_use]
pub fn bounded_always(query: Query, now: Timestamp) -> (Query, Option<Timestamp>) {
    if is_bound_in_time(&query.condition) {
        return (query, None);
    }
    since(query, now)
}

fn since(query: Query, now: Timestamp) -> (Query, Option<Timestamp>) {
    let Query { condition, limit, newest_first } = query;
    let end = end(&condition).and_then(|end| Timestamp::from_microsecond(end).ok());
    let end = end.map_or(now, |end| end.min(now));
    let since = end.checked_sub(UNBOUNDED).unwrap_or(Timestamp::MIN);
    let condition = condition.and(Condition::Since(since.as_microsecond()));
    (Query { condition, limit, newest_first }, Some(since))
}

/// Whether nothing is asked but that requests came before something: the newest of them are read,
/// and no more.
fn is_only_an_end(condition: &Condition) -> bool {
    match condition {
        Condition::Before(_) | Condition::Below(_) => true,
        Condition::All(parts) => parts.iter().all(is_only_an_end),
        _ => false,
    }
}

/// Before which time the requests came, as far as it is said as a time.
fn end(condition: &Condition) -> Option<i64> {
    match condition {
        Condition::Before(time) => Some(*time),
        Condition::All(parts) => parts.iter().filter_map(end).min(),
        _ => None,
    }
}

/// Whether a key leaves over only a part of the table.
pub(super) fn is_answered_by_a_key(condition: &Condition) -> bool {
    is_bound_in_time(condition) || branches(condition).is_some()
}

fn is_bound_in_time(condition: &Condition) -> bool {
    match condition {
        Condition::Since(_) | Condition::From(_) => true,
        Condition::IsKey(column, _) => *column == "id",
        Condition::All(parts) => parts.iter().any(is_bound_in_time),
        _ => false,
    }
}

/// The question as questions that one secondary key each answers; none where there is no key. A
/// row may answer several of them.
pub(super) fn branches(condition: &Condition) -> Option<Vec<Condition>> {
    if index(condition).is_some() {
        return Some(vec![condition.clone()]);
    }
    let Condition::All(parts) = condition else {
        return by_index(condition);
    };
    let (place, choices) =
        parts.iter().enumerate().find_map(|(place, part)| Some((place, by_index(part)?)))?;
    let with = |choice: Condition| {
        let mut parts = parts.clone();
        parts[place] = choice;
        Condition::All(parts)
    };
    Some(choices.into_iter().map(with).collect())
}

/// A choice, split by the keys that answer its parts.
fn by_index(condition: &Condition) -> Option<Vec<Condition>> {
    let Condition::Any(parts) = condition else { return None };
    let mut choices: Vec<(&str, Vec<Condition>)> = Vec::new();
    for part in parts {
        let index = index(part)?;
        match choices.iter_mut().find(|(known, _)| *known == index) {
            Some((_, parts)) => parts.push(part.clone()),
            None => choices.push((index, vec![part.clone()])),
        }
    }
    Some(choices.into_iter().map(|(_, parts)| Condition::Any(parts)).collect())
}

/// The secondary key that answers a condition, by its first column.
fn index(condition: &Condition) -> Option<&'static str> {
    match condition {
        Condition::Equals(column, _) | Condition::Begins(column, _) => leading(column),
        Condition::Any(parts) => {
            let first = index(parts.first()?)?;
            parts.iter().all(|part| index(part) == Some(first)).then_some(first)
        }
        Condition::All(parts) => parts.iter().find_map(index).or_else(|| without_domain(parts)),
        _ => None,
    }
}

fn leading(column: &str) -> Option<&'static str> {
    let first = |index: &'static super::table::Index| index.columns.first().map(|(name, _)| *name);
    INDEXES.iter().filter_map(first).find(|name| *name == column)
}

/// An address that has no domain is found by both columns of its key.
fn without_domain(parts: &[Condition]) -> Option<&'static str> {
    INDEXES.iter().find_map(|index| {
        let [(domain, _), (local, _)] = index.columns else { return None };
        let is_local =
            |part: &Condition| matches!(part, Condition::Equals(column, _) if column == local);
        (parts.contains(&Condition::Absent(domain)) && parts.iter().any(is_local))
            .then_some(*domain)
    })
}

/// What of a condition the secondary keys answer, where they answer any of it.
pub(super) fn keyed(condition: &Condition) -> Condition {
    let parts = match condition {
        Condition::All(parts) => parts.as_slice(),
        part => std::slice::from_ref(part),
    };
    let is_keyed = |part: &&Condition| {
        index(part).is_some() || by_index(part).is_some() || is_of_two_columns(part, parts)
    };
    let keyed: Vec<Condition> = parts.iter().filter(is_keyed).cloned().collect();
    if keyed.is_empty() { condition.clone() } else { Condition::All(keyed) }
}

/// Whether a part is one of two that a key of two columns answers together: an address, whose
/// domain alone may be that of millions.
fn is_of_two_columns(part: &Condition, parts: &[Condition]) -> bool {
    let has = |name: &str| {
        parts.iter().any(|part| match part {
            Condition::Equals(column, _) | Condition::Absent(column) => *column == name,
            _ => false,
        })
    };
    INDEXES.iter().any(|index| {
        let [(first, _), (second, _)] = index.columns else { return false };
        match part {
            Condition::Equals(column, _) => column == second && has(first),
            Condition::Absent(column) => column == first && has(second),
            _ => false,
        }
    })
}

/// Whether few rows can answer it, however many there are.
pub(super) fn is_rare(condition: &Condition) -> bool {
    match condition {
        Condition::Equals(column, _) => *column == "instance",
        Condition::IsKey(column, _) => *column == "id",
        Condition::All(parts) => parts.iter().any(is_rare),
        _ => false,
    }
}

/// The steps in which a question is asked.
#[derive(Debug)]
pub(super) enum Step {
    /// Counts what the secondary keys have, as far as [`FEW`]: if it is less, the newest rows need
    /// not be looked at.
    Few(Statement),
    /// Asks in the order of time, only for the newest rows: those that are not before the key
    /// that the first statement gives. Where it gives none these are all.
    Newest(Statement),
    /// Asks in the order of time.
    Time(Query),
    /// Asks over a secondary key; for what the newest rows did not give, and in the order of time
    /// where these have shown that the value is frequent.
    Secondary(Query),
}

/// The steps of a question.
pub(super) fn steps(dialect: Dialect, query: &Query, newest: u32) -> Vec<Step> {
    let Some(branches) = branches(&query.condition) else { return vec![Step::Time(query.clone())] };
    let over_key = |condition| Step::Secondary(Query { condition, ..query.clone() });
    let mut steps: Vec<Step> = Vec::new();
    if query.newest_first && !is_rare(&query.condition) {
        let keyed: Vec<Condition> = branches.iter().map(keyed).collect();
        steps.push(Step::Few(count_some(dialect, Route::Secondary, &keyed, FEW)));
        steps.push(Step::Newest(edge(dialect, query, newest)));
    }
    steps.extend(branches.into_iter().map(over_key));
    steps
}

/// Whether more is asked than from when on and until when.
pub(super) fn is_selective(condition: &Condition) -> bool {
    match condition {
        Condition::All(parts) => parts.iter().any(is_selective),
        part => part.keys().is_none(),
    }
}

/// What a question is about before a key.
pub(super) fn before(query: &Query, from: Option<RequestKey>) -> Query {
    let condition = query.condition.clone();
    let condition = match from {
        Some(key) => condition.and(Condition::Below(key)),
        None => condition,
    };
    Query { condition, ..query.clone() }
}

/// The statement that gives the key so many rows further on, whatever else is asked of them.
pub(super) fn edge(dialect: Dialect, query: &Query, length: u32) -> Statement {
    let by_time = Query { condition: keys_only(&query.condition), ..query.clone() };
    key_after(dialect, &by_time, length)
}

/// What a condition says about times and keys, as keys; the rest is left out.
fn keys_only(condition: &Condition) -> Condition {
    let parts = match condition {
        Condition::All(parts) => parts.as_slice(),
        part => std::slice::from_ref(part),
    };
    Condition::All(parts.iter().filter_map(Condition::keys).collect())
}

/// The statement of a step that asks for rows.
pub(super) fn statement(dialect: Dialect, step: &Step) -> Statement {
    match step {
        Step::Few(statement) | Step::Newest(statement) => statement.clone(),
        Step::Time(query) => routed(dialect, Route::Time, query),
        Step::Secondary(query) => routed(dialect, Route::Secondary, query),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOMAIN: &str = "sender_reverse_domain";
    const LOCAL: &str = "sender_local";

    fn equals(column: &'static str, text: &str) -> Condition {
        Condition::Equals(column, text.to_owned())
    }

    #[test]
    fn an_address_is_as_frequent_as_both_of_its_columns_say() {
        let address = Condition::All(vec![equals(DOMAIN, "com.example"), equals(LOCAL, "alice")]);
        let rest = Condition::All(vec![equals("decision", "REJECT"), Condition::Since(0)]);
        let Condition::All(mut parts) = address.clone() else { panic!() };
        parts.push(equals("decision", "REJECT"));
        assert_eq!(keyed(&Condition::All(parts)), address);
        assert_eq!(keyed(&rest), rest);
        let local = Condition::All(vec![equals(LOCAL, "alice"), Condition::Absent(DOMAIN)]);
        assert_eq!(keyed(&local), local);
        let domain = Condition::All(vec![equals(DOMAIN, "com.example"), equals("spf", "fail")]);
        assert_eq!(keyed(&domain), Condition::All(vec![equals(DOMAIN, "com.example")]));
    }
}
