//! Conditions on any column, as people write them: `spf=fail`, `greylist=*`, `size>1000`.

use jiff::Zoned;
use mppd_engine::config::nearest;

use super::address::{client, mailbox};
use super::times::moment;
use super::{QuestionError, equals};
use crate::tracking::key;
use crate::tracking::store::Condition;
use crate::tracking::table::{COLUMNS, Column, Kind};

/// What stands between a column and a value; the longer ones first.
const OPERATORS: [&str; 7] = ["!=", ">=", "<=", "=", "~", ">", "<"];

/// Addresses, whose parts stand in two columns each.
const ADDRESSES: [&str; 2] = ["sender", "recipient"];

/// Begins the name of what an engine said, where that has no column of its own.
const CHECKS: &str = "checks.";

/// Reads a condition: a column, an operator and a value.
///
/// | written | holds where the column |
/// |---|---|
/// | `C=V` | is this; for addresses and clients as `--sender` and `--client` read them |
/// | `C!=V` | is not this, or nothing |
/// | `C=V*` | begins with this |
/// | `C~V` | has this somewhere, whatever the case of its letters |
/// | `C=*` | is not empty |
/// | `C=` | is empty or nothing |
/// | `C>V`, `C>=V`, `C<V`, `C<=V` | is a number or a time that compares so |
pub(super) fn condition(text: &str, now: &Zoned) -> Result<Condition, QuestionError> {
    let wrong = || QuestionError::Where(text.to_owned());
    let begin = text.find(|c| "!=<>~".contains(c)).ok_or_else(wrong)?;
    let (name, rest) = text.split_at(begin);
    let operator = OPERATORS.iter().find(|known| rest.starts_with(**known)).ok_or_else(wrong)?;
    let (name, value) = (name.trim(), rest[operator.len()..].trim());
    if *operator == "!=" {
        return Ok(Condition::Not(Box::new(compare(name, "=", value, now, text)?)));
    }
    compare(name, operator, value, now, text)
}

fn compare(
    name: &str,
    operator: &str,
    value: &str,
    now: &Zoned,
    text: &str,
) -> Result<Condition, QuestionError> {
    if let Some(id) = name.strip_prefix(CHECKS) {
        return check(id, operator, value).ok_or_else(|| QuestionError::Where(text.to_owned()));
    }
    if let Some(condition) = address(name, operator, value) {
        return Ok(condition);
    }
    let column = COLUMNS.iter().find(|column| column.name == name);
    let column = column.ok_or_else(|| unknown(name))?;
    let wrong =
        |wanted| QuestionError::Value { column: column.name, wanted, value: value.to_owned() };
    match (operator, value) {
        ("=", "") => return Ok(empty(column)),
        ("=", "*") => return Ok(Condition::Not(Box::new(empty(column)))),
        _ => {}
    }
    match column.kind {
        Kind::Word(_) | Kind::Text | Kind::Json => text_condition(column, operator, value)
            .ok_or_else(|| wrong("compared by =, != or ~"))?,
        Kind::Count => number(column.name, operator, value).ok_or_else(|| wrong("a number")),
        Kind::Time => time(column.name, operator, value, now),
        Kind::Key if operator == "=" => {
            let key = key::parse(value).ok_or_else(|| wrong("a key of a request"))?;
            Ok(Condition::IsKey(column.name, key))
        }
        Kind::Key => Err(wrong("compared by = or !=")),
        Kind::Octets => Err(wrong("only present (=*) or absent (=)")),
    }
}

fn text_condition(
    column: &Column,
    operator: &str,
    value: &str,
) -> Option<Result<Condition, QuestionError>> {
    Some(match (operator, value.strip_suffix('*')) {
        ("=", _) if column.name == "client_address" && value.contains('/') => client(value),
        ("=", Some(beginning)) => Ok(Condition::Begins(column.name, beginning.to_owned())),
        ("=", None) => Ok(equals(column.name, value)),
        ("~", _) => Ok(Condition::Contains(column.name, value.to_owned())),
        _ => return None,
    })
}

fn address(name: &str, operator: &str, value: &str) -> Option<Condition> {
    let columns = match name {
        "sender" => ("sender_local", "sender_reverse_domain"),
        "recipient" => ("recipient_local", "recipient_reverse_domain"),
        _ => return None,
    };
    match operator {
        "=" if value == "*" => Some(Condition::Not(Box::new(Condition::Absent(columns.0)))),
        "=" => Some(mailbox(columns.0, columns.1, value)),
        _ => None,
    }
}

/// What an engine said, by the text of `checks`: it is written in one form, and a quote within a
/// text is an escape there.
fn check(id: &str, operator: &str, value: &str) -> Option<Condition> {
    let quoted = |text: &str| serde_json::Value::from(text).to_string();
    let any = format!("{}:{{\"status\":", quoted(id));
    let holds = |text: String| Condition::Holds("checks", text);
    match (operator, value) {
        ("=", "*") => Some(holds(any)),
        ("=", "") => Some(Condition::Not(Box::new(holds(any)))),
        ("=", status) => Some(holds(any + &quoted(status))),
        _ => None,
    }
}

fn empty(column: &Column) -> Condition {
    let absent = Condition::Absent(column.name);
    match column.kind {
        Kind::Word(_) | Kind::Text | Kind::Json => {
            Condition::Any(vec![absent, equals(column.name, "")])
        }
        _ => absent,
    }
}

fn number(column: &'static str, operator: &str, value: &str) -> Option<Condition> {
    let number: i64 = value.parse().ok()?;
    Some(match operator {
        ">=" => Condition::AtLeast(column, number),
        "<=" => Condition::AtMost(column, number),
        ">" => Condition::AtLeast(column, number.checked_add(1)?),
        "<" => Condition::AtMost(column, number.checked_sub(1)?),
        "=" => {
            let at_most = Condition::AtMost(column, number);
            Condition::All(vec![Condition::AtLeast(column, number), at_most])
        }
        _ => return None,
    })
}

fn time(
    column: &'static str,
    operator: &str,
    value: &str,
    now: &Zoned,
) -> Result<Condition, QuestionError> {
    let moment = moment(value, now)?;
    // A time is a microsecond long.
    let end = moment.end.max(moment.begin.saturating_add(1));
    let not_before = |time| match column {
        "received_timestamp" => Condition::Since(time),
        column => Condition::NotBefore(column, time),
    };
    let earlier = |time| match column {
        "received_timestamp" => Condition::Before(time),
        column => Condition::Earlier(column, time),
    };
    Ok(match operator {
        ">=" => not_before(moment.begin),
        ">" => not_before(end),
        "<" => earlier(moment.begin),
        "<=" => earlier(end),
        "=" => Condition::All(vec![not_before(moment.begin), earlier(end)]),
        _ => return Err(QuestionError::Where(format!("{column}{operator}{value}"))),
    })
}

fn unknown(name: &str) -> QuestionError {
    let known = COLUMNS.iter().map(|column| column.name).chain(ADDRESSES);
    let near = nearest(name, known).map(ToOwned::to_owned);
    QuestionError::Column { name: name.to_owned(), near }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Zoned {
        "2026-11-22T13:00:00+01:00[Europe/Berlin]".parse().unwrap()
    }

    fn read(text: &str) -> Condition {
        condition(text, &now()).unwrap()
    }

    #[test]
    fn a_text_is_compared_as_a_whole_by_its_beginning_or_by_a_part() {
        assert_eq!(read("spf=fail"), Condition::Equals("spf", "fail".into()));
        assert_eq!(read(" spf = fail "), Condition::Equals("spf", "fail".into()));
        assert_eq!(read("helo_name=mail.*"), Condition::Begins("helo_name", "mail.".into()));
        assert_eq!(read("helo_name~Dyn"), Condition::Contains("helo_name", "Dyn".into()));
        assert_eq!(read("spf!=pass"), Condition::Not(Box::new(read("spf=pass"))));
    }

    #[test]
    fn a_value_may_be_there_or_not() {
        let empty = Condition::Any(vec![
            Condition::Absent("error_text"),
            Condition::Equals("error_text", String::new()),
        ]);
        assert_eq!(read("error_text="), empty);
        assert_eq!(read("error_text=*"), Condition::Not(Box::new(empty)));
        let absent = Condition::Not(Box::new(Condition::Absent("repeat_of")));
        assert_eq!(read("repeat_of=*"), absent);
    }

    #[test]
    fn numbers_and_times_compare() {
        assert_eq!(read("size>999"), Condition::AtLeast("size", 1_000));
        assert_eq!(read("size<=10"), Condition::AtMost("size", 10));
        let noon = "2026-11-22T11:00:00Z".parse::<jiff::Timestamp>().unwrap().as_microsecond();
        assert_eq!(read("received_timestamp>=12:00"), Condition::Since(noon));
        assert_eq!(
            read("processed_timestamp<12:00"),
            Condition::Earlier("processed_timestamp", noon)
        );
    }

    #[test]
    fn an_engine_without_a_column_is_found_by_its_status() {
        let holds = |text: &str| Condition::Holds("checks", text.into());
        assert_eq!(read("checks.quota=over"), holds(r#""quota":{"status":"over""#));
        assert_eq!(read("checks.quota=*"), holds(r#""quota":{"status":"#));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let said = |text: &str| condition(text, &now()).unwrap_err().to_string();
        assert!(said("decison=REJECT").ends_with("did you mean \"decision\"?"));
        assert!(said("nothing").contains("COLUMN=VALUE"));
        assert!(said("size=big").contains("a number"));
        assert!(said("id=1").contains("a key of a request"));
        assert!(said("raw_request=x").contains("only present"));
        assert!(said("spf>1").contains("compared by"));
        assert!(said("x'; DROP TABLE=1").contains("no column"));
    }
}
