//! Looks up the names of a text that was read, and makes an [`Expression`] of it.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::expression::{Clock, Expression, GlobalsVerb, ResultName};
use super::functions::{Function, LONGEST};
use super::macros::{MacroDoc, Value, find, macros};
use super::parser::Fault;
use super::scope::{Reference, Scope, Target};
use super::syntax::{
    Argument, At, Macro, Part, Text, Word, condition_word_meant, is_condition_word,
};
use crate::attribute::Attribute;
use crate::config::{Finding, Span, Spanned};
use crate::stage::Stages;

const TIME_FORMAT: &str = "%Y-%m-%dT%H:%M:%S%:z";

/// What one text is compiled with.
pub(super) struct Compiler<'t, 's> {
    text: Spanned<&'t str>,
    pub(super) scope: &'s mut Scope,
    references: Vec<Reference>,
    warnings: Vec<Finding>,
    findings: Vec<Finding>,
}

impl<'t, 's> Compiler<'t, 's> {
    pub(super) fn new(text: &Spanned<&'t str>, scope: &'s mut Scope, faults: Vec<Fault>) -> Self {
        let mut compiler = Compiler {
            text: Spanned { value: text.value, span: text.span },
            scope,
            references: Vec::new(),
            warnings: Vec::new(),
            findings: Vec::new(),
        };
        for fault in faults {
            let mut finding = Finding::error(compiler.span(fault.at), fault.message);
            finding.help = fault.help;
            compiler.findings.push(finding);
        }
        compiler
    }

    /// The place of a part of the text.
    pub(super) fn span(&self, at: At) -> Span {
        self.text.part(at.range())
    }

    /// A part of the text as it was written.
    pub(super) fn written(&self, at: At) -> &'t str {
        &self.text.value[at.range()]
    }

    pub(super) fn warn(&mut self, warning: Finding) {
        self.warnings.push(warning);
    }

    pub(super) fn find_fault(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    /// What was compiled, if nothing was wrong. The scope has its references in any case, since
    /// these may be at fault as well.
    pub(super) fn finish<T>(mut self, compiled: T) -> Result<T, Vec<Finding>> {
        self.references.into_iter().for_each(|reference| self.scope.refer(reference));
        if self.findings.is_empty() {
            self.warnings.into_iter().for_each(|warning| self.scope.warn(warning));
            return Ok(compiled);
        }
        self.findings.sort_by_key(|finding| finding.span.map(|span| span.start));
        Err(self.findings)
    }

    pub(super) fn refer(&mut self, at: At, target: Target) {
        let span = self.span(at);
        self.references.push(Reference { span, target });
    }

    fn refer_to_stages(&mut self, call: &Macro, stages: Stages) {
        if stages != Stages::ALL {
            self.refer(call.at, Target::Stages { name: call.full_name(), stages });
        }
    }

    pub(super) fn text(&mut self, text: &Text) -> Expression {
        let parts: Vec<Expression> = text.parts.iter().map(|part| self.part(part)).collect();
        Expression::sequence(parts)
    }

    fn part(&mut self, part: &Part) -> Expression {
        match part {
            Part::Literal(octets) => Expression::Constant(octets.as_slice().into()),
            Part::Macro(call) => self.call(call),
        }
    }

    /// One macro. Something faulty becomes nothing, since the whole is not used then.
    pub(super) fn call(&mut self, call: &Macro) -> Expression {
        let nothing = || Expression::Constant(Box::default());
        let arguments: Vec<Expression> =
            call.arguments.iter().map(|argument| self.text(&argument.text)).collect();
        let first = &call.name[0];
        let Some(entry) = find(&first.text) else {
            if let Some(own) = self.own(call) {
                return own;
            }
            self.unknown(call);
            return nothing();
        };
        self.resolve(entry, call, arguments).unwrap_or_else(|finding| {
            self.findings.push(finding);
            nothing()
        })
    }

    /// One of the names that an engine's own texts have.
    fn own(&mut self, call: &Macro) -> Option<Expression> {
        let own = self.scope.own_values()?;
        let [name] = call.name.as_slice() else { return None };
        let is_known = matches!(name.text.as_str(), "status" | "text" | "result")
            || own.iter().any(|value| *value == name.text);
        if !is_known {
            return None;
        }
        if let Some(finding) = self.superfluous(call) {
            self.findings.push(finding);
        }
        Some(Expression::Own(ResultName::new(&name.text)))
    }

    fn superfluous(&self, call: &Macro) -> Option<Finding> {
        let name = call.full_name();
        if let Some(numbers) = call.numbers.as_deref().and_then(whole) {
            let message = format!("\"${name}\" takes no numbers");
            let help = format!("write \"${{{name}}}(\" for a parenthesis behind it");
            return Some(Finding::error(self.span(numbers), message).with_help(help));
        }
        let argument = call.arguments.first()?;
        let message = format!("\"${name}\" takes no arguments");
        Some(Finding::error(self.span(argument.at), message))
    }

    fn unknown(&mut self, call: &Macro) {
        let first = &call.name[0];
        let span = self.span(first.at);
        let name = first.text.as_str();
        let mut finding = Finding::error(span, format!("unknown macro \"${name}\""));
        finding.help = Some(self.help_for(name));
        self.findings.push(finding);
    }

    fn help_for(&self, name: &str) -> String {
        if is_condition_word(&name.to_ascii_uppercase()) {
            let word = name.to_ascii_uppercase();
            return format!("\"${word}\" is an operator, which conditions only have");
        }
        if Attribute::from_name(name.as_bytes()).is_some() {
            return format!("write \"$request.{name}\" for the attribute");
        }
        let own: Vec<&str> =
            self.scope.own_values().unwrap_or_default().iter().map(AsRef::as_ref).collect();
        let of_own = self.scope.own_values().map(|_| ["status", "text", "result"]);
        let known = macros().iter().map(|entry| entry.name);
        let known = known.chain(own).chain(of_own.into_iter().flatten());
        if let Some(nearest) = crate::config::nearest(name, known) {
            return format!("did you mean \"${nearest}\"?");
        }
        // No macro is written in capitals.
        let is_in_capitals = name.bytes().all(|octet| octet.is_ascii_uppercase());
        if let Some(meant) = condition_word_meant(name).filter(|_| is_in_capitals) {
            return format!("did you mean \"${meant}\", an operator of conditions?");
        }
        if self.scope.own_values().is_none() && matches!(name, "status" | "text" | "result") {
            return format!("what an engine came to is \"$engines.ID.{name}\" elsewhere");
        }
        "\"mppd reference macros\" lists every macro; write \"$$\" for a dollar".to_owned()
    }

    fn resolve(
        &mut self,
        entry: &'static MacroDoc,
        call: &Macro,
        arguments: Vec<Expression>,
    ) -> Result<Expression, Finding> {
        match entry.value {
            Value::Request => return self.attribute(call),
            Value::Engine => return self.engine(call),
            _ => {}
        }
        let Some(part) = call.name.get(1) else {
            self.check_arity(entry, call)?;
            self.refer_to_stages(call, entry.stages);
            return self.value(entry.value, call, arguments);
        };
        let found = entry.part(&part.text).filter(|_| call.name.len() == 2);
        let Some(found) = found else { return Err(self.unknown_part(entry, call)) };
        if !matches!(found.value, Value::Network)
            && let Some(finding) = self.superfluous(call)
        {
            return Err(finding);
        }
        self.refer_to_stages(call, entry.stages);
        self.value(found.value, call, arguments)
    }

    fn unknown_part(&self, entry: &MacroDoc, call: &Macro) -> Finding {
        // Behind a part that it has there is one too many.
        let is_known = |word: &Word| entry.part(&word.text).is_some();
        let index = if call.name.get(1).is_some_and(is_known) { 2 } else { 1 };
        let Some(unknown) = call.name.get(index) else {
            return Finding::error(self.span(call.at), "this macro has no such part");
        };
        let before: Vec<&str> = call.name[..index].iter().map(|word| word.text.as_str()).collect();
        let before = before.join(".");
        let (part, span) = (unknown.text.as_str(), self.span(unknown.at));
        let finding = Finding::error(span, format!("\"${before}\" has no part \"{part}\""));
        let literal = format!("write \"${{{before}}}.{part}\" for text behind it");
        let is_first = !before.contains('.');
        let known = entry.parts.iter().map(super::macros::PartDoc::name);
        match crate::config::nearest(part, known.clone()) {
            Some(nearest) if is_first => {
                finding.with_help(format!("did you mean \"${before}.{nearest}\"?"))
            }
            _ if entry.parts.is_empty() || !is_first => finding.with_help(literal),
            _ => {
                let known: Vec<&str> = known.collect();
                finding.with_help(format!("its parts are {}; {literal}", known.join(", ")))
            }
        }
    }

    fn check_arity(&self, entry: &MacroDoc, call: &Macro) -> Result<(), Finding> {
        let (needed, taken) = entry.arity();
        let given = call.arguments.len();
        if taken == 0 || call.numbers.is_some() {
            return self.superfluous(call).map_or(Ok(()), Err);
        }
        if (needed..=taken).contains(&given) {
            return Ok(());
        }
        let name = entry.name;
        let count = |count: usize| match count {
            1 => "1 argument".to_owned(),
            count => format!("{count} arguments"),
        };
        let wanted =
            if needed == taken { count(needed) } else { format!("{needed} to {}", count(taken)) };
        let at = match call.arguments.get(taken) {
            Some(first_too_many) => {
                let last = call.arguments.last().unwrap_or(first_too_many);
                At::new(first_too_many.at.start, last.at.end)
            }
            None => call.at,
        };
        let message = format!("\"${name}\" takes {wanted}, not {given}");
        let help = format!("write \"${{{name} {}}}\"", entry.arguments);
        Err(Finding::error(self.span(at), message).with_help(help))
    }

    fn value(
        &mut self,
        value: Value,
        call: &Macro,
        arguments: Vec<Expression>,
    ) -> Result<Expression, Finding> {
        Ok(match value {
            Value::Constant(constant) => Expression::Constant(constant.into()),
            Value::Attribute(attribute) => Expression::Attribute(attribute),
            Value::Part(attribute, part) => Expression::Part(attribute, part),
            Value::Network => self.network(call)?,
            Value::Live(live) => Expression::Live(live),
            Value::Decision(live) => {
                self.refer(call.at, Target::Decision);
                Expression::Live(live)
            }
            Value::Exception(live) => {
                self.refer(call.at, Target::Exception);
                Expression::Live(live)
            }
            Value::Pure(function) => folded(function, arguments),
            Value::Checked(function, check) => {
                let constants: Vec<Option<&[u8]>> =
                    arguments.iter().map(Expression::as_constant).collect();
                check(&constants).map_err(|(index, message)| {
                    let at = call.arguments.get(index).map_or(call.at, |argument| argument.at);
                    Finding::error(self.span(at), message)
                })?;
                folded(function, arguments)
            }
            Value::Time(format) => self.time(format),
            Value::CurrentTime => self.current_time(call, &arguments)?,
            Value::Globals(verb) => globals(verb, arguments),
            Value::IfNotEmpty => choice(arguments),
            Value::Itself => Expression::sequence(arguments),
            Value::Field => self.field(call, &arguments)?,
            // Both have been dealt with, since they are nothing without what follows the dot.
            Value::Request | Value::Engine => Expression::Constant(Box::default()),
        })
    }

    fn network(&self, call: &Macro) -> Result<Expression, Finding> {
        let help = "like \"$ip.network(24)\", or \"$ip.network(24,64)\" for IPv4 and IPv6";
        if let Some(argument) = call.arguments.first() {
            let message = "\"$ip.network\" takes numbers in parentheses, not arguments";
            return Err(Finding::error(self.span(argument.at), message).with_help(help));
        }
        let bits = |word: &Word, most: u8| match word.text.parse::<u8>() {
            Ok(bits) if bits <= most => Ok(bits),
            _ => {
                let message = format!("a network has 0 to {most} bits, not {}", word.text);
                Err(Finding::error(self.span(word.at), message).with_help(help))
            }
        };
        match call.numbers.as_deref() {
            Some([both]) => bits(both, 128).map(|both| Expression::Network(both.min(32), both)),
            Some([ipv4, ipv6]) => Ok(Expression::Network(bits(ipv4, 32)?, bits(ipv6, 128)?)),
            Some(_) => {
                let message = "\"$ip.network\" takes one or two numbers";
                Err(Finding::error(self.span(call.at), message).with_help(help))
            }
            None => {
                let message = "the number of bits is missing";
                Err(Finding::error(self.span(call.at), message).with_help(help))
            }
        }
    }

    fn time(&mut self, format: &str) -> Expression {
        let zone = self.scope.time_zone();
        Expression::Time(Box::new(Clock { zone, format: format.to_owned() }))
    }

    fn current_time(
        &mut self,
        call: &Macro,
        arguments: &[Expression],
    ) -> Result<Expression, Finding> {
        let (Some(format), Some(Argument { at, .. })) = (arguments.first(), call.arguments.first())
        else {
            return Ok(self.time(TIME_FORMAT));
        };
        let span = self.span(*at);
        let Some(format) = format.as_constant() else {
            return Err(Finding::error(span, "the format of a time must be constant"));
        };
        let format = String::from_utf8_lossy(format).into_owned();
        let sample = Timestamp::UNIX_EPOCH.to_zoned(TimeZone::UTC);
        if let Err(error) = jiff::fmt::strtime::format(&format, &sample) {
            let message = format!("not a format of strftime: {error}");
            return Err(Finding::error(span, message));
        }
        Ok(self.time(&format))
    }

    fn field(&mut self, call: &Macro, arguments: &[Expression]) -> Result<Expression, Finding> {
        if self.scope.own_values().is_none() {
            let message = "\"$field\" is known only where a text follows from the engine's run";
            let help = "another engine's values are \"$engines.ID.NAME\"";
            return Err(Finding::error(self.span(call.at), message).with_help(help));
        }
        let at = call.arguments.first().map_or(call.at, |argument| argument.at);
        match arguments.first().and_then(Expression::as_constant) {
            Some(name) => {
                let name = String::from_utf8_lossy(name).into_owned();
                self.refer(at, Target::Own { name: name.clone() });
                Ok(Expression::Own(ResultName::Value(name.into())))
            }
            None => Err(Finding::error(self.span(at), "the name of a field must be constant")),
        }
    }

    fn attribute(&mut self, call: &Macro) -> Result<Expression, Finding> {
        let span = self.span(call.at);
        if let Some(finding) = self.superfluous(call) {
            return Err(finding);
        }
        match call.name.as_slice() {
            [_, name] => {
                let Some(attribute) = Attribute::from_name(name.text.as_bytes()) else {
                    self.warn_of_misspelling(name);
                    return Ok(Expression::Unlisted(name.text.as_bytes().into()));
                };
                self.refer_to_stages(call, attribute.stages());
                Ok(Expression::Attribute(attribute))
            }
            [_, name, part, ..] => {
                let message = format!("\"$request.{}\" has no parts", name.text);
                let (attribute, word) = (&name.text, &part.text);
                let help = short_name(attribute).map_or_else(
                    || format!("write \"${{request.{attribute}}}.{word}\" for text behind it"),
                    |short| format!("\"${short}\" may have it: \"${short}.{word}\""),
                );
                Err(Finding::error(self.span(part.at), message).with_help(help))
            }
            _ => {
                let message = "the name of an attribute is missing";
                Err(Finding::error(span, message).with_help("like \"$request.client_port\""))
            }
        }
    }

    /// An attribute that Postfix is not known to send may be one of a later version, or a slip.
    fn warn_of_misspelling(&mut self, name: &Word) {
        let known = Attribute::ALL.iter().map(|attribute| attribute.name());
        let Some(nearest) = crate::config::nearest(&name.text, known) else { return };
        let message = format!("Postfix is not known to send an attribute \"{}\"", name.text);
        let warning = Finding::warning(self.span(name.at), message);
        self.warnings.push(warning.with_help(format!("did you mean \"$request.{nearest}\"?")));
    }

    fn engine(&mut self, call: &Macro) -> Result<Expression, Finding> {
        if let Some(finding) = self.superfluous(call) {
            return Err(finding);
        }
        let (Some((name, id)), true) = (call.name[1..].split_last(), call.name.len() > 2) else {
            let message = "an engine's ID and what is asked of it are missing";
            let first = &call.name[0].text;
            let help = format!("like \"${first}.ch_wbl.status\"");
            return Err(Finding::error(self.span(call.at), message).with_help(help));
        };
        let id: Vec<&str> = id.iter().map(|word| word.text.as_str()).collect();
        let (id, name) = (id.join("."), name.text.clone());
        let expression = Expression::Engine(id.as_str().into(), ResultName::new(&name));
        self.refer(call.at, Target::Engine { id, name });
        Ok(expression)
    }
}

fn short_name(attribute: &str) -> Option<&'static str> {
    Some(match attribute {
        "sender" => "sender",
        "recipient" => "recipient",
        "sasl_username" => "sasl_username",
        "client_address" => "ip",
        "client_name" => "host",
        "helo_name" => "helo",
        _ => return None,
    })
}

/// The place of the numbers, with their parentheses.
fn whole(numbers: &[Word]) -> Option<At> {
    let (first, last) = (numbers.first()?, numbers.last()?);
    Some(At::new(first.at.start - 1, last.at.end + 1))
}

/// A function of constants is a constant.
fn folded(function: Function, arguments: Vec<Expression>) -> Expression {
    let constants: Option<Vec<_>> =
        arguments.iter().map(|argument| argument.as_constant().map(Into::into)).collect();
    let Some(constants) = constants else {
        return Expression::Call(function, arguments.into());
    };
    let mut value = Vec::new();
    function(&constants, &mut value);
    value.truncate(LONGEST);
    Expression::Constant(value.into())
}

fn globals(verb: GlobalsVerb, arguments: Vec<Expression>) -> Expression {
    Expression::Globals(verb, arguments.into())
}

fn choice(arguments: Vec<Expression>) -> Expression {
    let mut arguments = arguments.into_iter();
    let mut next = || arguments.next().unwrap_or(Expression::Constant(Box::default()));
    let choice = [next(), next(), next()];
    match choice[0].as_constant().map(<[u8]>::is_empty) {
        None => Expression::Choice(Box::new(choice)),
        Some(is_empty) => {
            let [_, then, otherwise] = choice;
            if is_empty { otherwise } else { then }
        }
    }
}
