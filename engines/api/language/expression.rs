//! What a text is compiled to, and how it gets its value.

use std::borrow::Cow;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::functions::{Function, LONGEST, address, text::truth_value};
use super::template::Template;
use super::view::View;
use crate::attribute::Attribute;
use crate::outcome::Outcome;

/// A value that is computed for each request, or a constant.
#[derive(Debug)]
pub(super) enum Expression {
    Constant(Box<[u8]>),
    Attribute(Attribute),
    /// An attribute that Postfix is not known to send, by its name.
    Unlisted(Box<[u8]>),
    /// A part of an attribute.
    Part(Attribute, PartOf),
    /// The network of the client's address, with so many bits (IPv4, IPv6).
    Network(u8, u8),
    Live(Live),
    /// What an engine came to, by its full ID.
    Engine(Box<str>, ResultName),
    /// What the engine that has just run came to.
    Own(ResultName),
    Time(Box<Clock>),
    Call(Function, Box<[Expression]>),
    /// The second if the first is not empty, else the third.
    Choice(Box<[Expression; 3]>),
    Globals(GlobalsVerb, Box<[Expression]>),
    /// One behind the other, and a guess at the length of the whole.
    Sequence(Box<[Expression]>, usize),
    /// A template that was compiled before.
    Other(Template),
}

/// A part of an attribute's value.
pub(super) type PartOf = for<'a> fn(&'a [u8]) -> Cow<'a, [u8]>;

/// What the exchange holds besides the request.
pub(super) type Live = for<'a> fn(&View<'a>) -> Cow<'a, [u8]>;

/// What is asked of an outcome.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum ResultName {
    Status,
    Text,
    /// The named result `result`, or else the status.
    Result,
    Value(Box<str>),
}

impl ResultName {
    pub(super) fn new(name: &str) -> Self {
        match name {
            "status" => ResultName::Status,
            "text" => ResultName::Text,
            "result" => ResultName::Result,
            name => ResultName::Value(name.into()),
        }
    }

    fn of<'o>(&self, outcome: &'o Outcome) -> &'o [u8] {
        match self {
            ResultName::Status => outcome.status.as_bytes(),
            ResultName::Text => outcome.text.as_bytes(),
            ResultName::Result => outcome.value("result").unwrap_or(outcome.status.as_bytes()),
            ResultName::Value(name) => outcome.value(name).unwrap_or_default(),
        }
    }
}

/// A time in a format.
#[derive(Debug)]
pub(super) struct Clock {
    pub(super) zone: TimeZone,
    pub(super) format: String,
}

impl Clock {
    fn show(&self, view: &View<'_>) -> Vec<u8> {
        // A moment beyond the year 9999 has no calendar.
        let Ok(received) = Timestamp::try_from(view.exchange().received()) else {
            return Vec::new();
        };
        let local = received.to_zoned(self.zone.clone());
        jiff::fmt::strtime::format(&self.format, &local).map(String::into_bytes).unwrap_or_default()
    }
}

/// What is done with the variables of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum GlobalsVerb {
    Set,
    Append,
    Get,
    Defined,
}

impl Expression {
    pub(super) fn as_constant(&self) -> Option<&[u8]> {
        match self {
            Expression::Constant(constant) => Some(constant),
            _ => None,
        }
    }

    /// One behind the other; constants that meet become one.
    pub(super) fn sequence(parts: impl IntoIterator<Item = Expression>) -> Expression {
        let mut joined: Vec<Expression> = Vec::new();
        for part in parts {
            match (joined.last_mut(), part) {
                (_, Expression::Constant(constant)) if constant.is_empty() => {}
                (Some(Expression::Constant(before)), Expression::Constant(constant)) => {
                    *before = [&**before, &*constant].concat().into();
                }
                (_, part) => joined.push(part),
            }
        }
        match joined.len() {
            0 => Expression::Constant(Box::default()),
            1 => joined.remove(0),
            _ => {
                let capacity = joined.iter().map(Expression::capacity).sum();
                Expression::Sequence(joined.into(), capacity)
            }
        }
    }

    /// Its value: lent where it exists somewhere as it is.
    pub(super) fn evaluate<'a>(&'a self, view: &View<'a>) -> Cow<'a, [u8]> {
        match self {
            Expression::Constant(constant) => Cow::Borrowed(constant),
            Expression::Attribute(attribute) => {
                Cow::Borrowed(view.exchange().request().get(*attribute))
            }
            Expression::Unlisted(name) => {
                Cow::Borrowed(view.exchange().request().find_by_name(name).unwrap_or_default())
            }
            Expression::Part(attribute, part) => part(view.exchange().request().get(*attribute)),
            Expression::Live(live) => live(view),
            Expression::Engine(id, name) => engine_value(id, name, view),
            Expression::Own(name) => {
                Cow::Borrowed(view.own().map(|(_, outcome)| name.of(outcome)).unwrap_or_default())
            }
            Expression::Choice(choice) => chosen(choice, view).evaluate(view),
            Expression::Other(template) => template.evaluate(view),
            _ => {
                let mut octets = Vec::with_capacity(self.capacity());
                self.append_to(view, &mut octets);
                Cow::Owned(octets)
            }
        }
    }

    /// A guess at the length of the value that spares most of them a second allocation.
    fn capacity(&self) -> usize {
        match self {
            Expression::Sequence(_, capacity) => *capacity,
            Expression::Constant(constant) => constant.len(),
            Expression::Other(template) => template.expression().capacity(),
            _ => 32,
        }
    }

    pub(super) fn append_to(&self, view: &View<'_>, octets: &mut Vec<u8>) {
        // What most texts are made of comes first, and without the detour over a lent value.
        match self {
            Expression::Sequence(parts, _) => {
                for part in parts {
                    part.append_to(view, octets);
                }
            }
            Expression::Constant(constant) => octets.extend_from_slice(constant),
            Expression::Attribute(attribute) => {
                octets.extend_from_slice(view.exchange().request().get(*attribute));
            }
            Expression::Call(function, arguments) => call(*function, arguments, view, octets),
            Expression::Choice(choice) => chosen(choice, view).append_to(view, octets),
            Expression::Other(template) => template.append_to(view, octets),
            Expression::Time(clock) => octets.extend_from_slice(&clock.show(view)),
            Expression::Globals(verb, arguments) => globals(*verb, arguments, view, octets),
            Expression::Network(ipv4, ipv6) => {
                let client = view.exchange().request().get(Attribute::ClientAddress);
                octets.extend_from_slice(&address::network(client, *ipv4, *ipv6));
            }
            Expression::Engine(id, name) if !is_own(id, view) => {
                view.exchange().with_result(id, |result| {
                    octets.extend_from_slice(name.of(&result.outcome));
                });
            }
            lent => octets.extend_from_slice(&lent.evaluate(view)),
        }
    }
}

fn is_own(id: &str, view: &View<'_>) -> bool {
    view.own().is_some_and(|(own, _)| own == id)
}

fn engine_value<'a>(id: &str, name: &ResultName, view: &View<'a>) -> Cow<'a, [u8]> {
    match view.own() {
        Some((own, outcome)) if own == id => return Cow::Borrowed(name.of(outcome)),
        _ => {}
    }
    let value = view.exchange().with_result(id, |result| match name {
        ResultName::Status => Cow::Borrowed(result.outcome.status.as_bytes()),
        name => Cow::Owned(name.of(&result.outcome).to_vec()),
    });
    value.unwrap_or(Cow::Borrowed(b""))
}

fn chosen<'a>(choice: &'a [Expression; 3], view: &View<'_>) -> &'a Expression {
    let [test, then, otherwise] = choice;
    if test.evaluate(view).is_empty() { otherwise } else { then }
}

fn call(function: Function, arguments: &[Expression], view: &View<'_>, octets: &mut Vec<u8>) {
    let longest = octets.len() + LONGEST;
    match arguments {
        [only] => function(&[only.evaluate(view)], octets),
        [first, second] => function(&[first.evaluate(view), second.evaluate(view)], octets),
        all => {
            let values: Vec<Cow<'_, [u8]>> = all.iter().map(|one| one.evaluate(view)).collect();
            function(&values, octets);
        }
    }
    octets.truncate(longest);
}

fn globals(verb: GlobalsVerb, arguments: &[Expression], view: &View<'_>, octets: &mut Vec<u8>) {
    // Values are computed before the variables are touched: they may be variables themselves.
    let mut values = arguments.iter().map(|argument| argument.evaluate(view));
    let Some(name) = values.next() else { return };
    let value = values.next().unwrap_or_default();
    view.exchange().with_globals(|globals| match verb {
        GlobalsVerb::Set => {
            let mut value = value.into_owned();
            value.truncate(LONGEST);
            globals.insert(name.into_owned(), value);
        }
        GlobalsVerb::Append => {
            let variable = globals.entry(name.into_owned()).or_default();
            variable.extend_from_slice(&value);
            variable.truncate(LONGEST);
        }
        GlobalsVerb::Get => {
            octets.extend_from_slice(globals.get(&*name).map_or(&b""[..], |value| value));
        }
        GlobalsVerb::Defined => {
            octets.extend_from_slice(truth_value(globals.contains_key(&*name)));
        }
    });
}
