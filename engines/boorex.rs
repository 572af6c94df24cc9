//! `<boorex>`: named regular expressions, and groups of them.
//!
//! ```xml
//! <boorex id="hosts" case_insensitive="true">
//!   <item id="dynamic">^(?&lt;number>\d+)[.-].*\.(dyn|dsl|pool)\.</item>
//!   <item id="generic">^(host|ip|static)-</item>
//!   <group id="all">dynamic generic</group>
//!   <subject>$host</subject>
//! </boorex>
//! ```
//!
//! Conditions anywhere in the configuration ask for an item or a group by its name: `$helo ~=
//! dynamic`, `$host ~= hosts.all`. For that the element need not stand in a chain.
//!
//! In a chain it is a check: the subject is matched against all items at once. The first item that
//! matches, in the order written, is the outcome's value `item`, and what its groups caught are
//! values of their numbers and names (`$engines.hosts.1`, `$engines.hosts.number`).
//!
//! The expressions are those of the Rust crate `regex`: Perl's without back references and
//! look-around, so that the time for a match grows only with the length of the subject. They look
//! at octets; `\w` and the like know Unicode. The memory for one expression, and for all together,
//! is bounded when the configuration is read.

use std::borrow::Cow;
use std::sync::Arc;

use mppd_engine::language::{PatternGroup, PatternItem, PatternLibrary};
use mppd_engine::{
    BuildContext, Built, Element, Engine, EngineKind, Exchange, Failure, Finding, OptionDoc,
    Options as _, Outcome, Spanned, StatusDoc, Template, ValueDoc, View, kind, options,
};

options! {
    /// `<boorex>`
    pub(crate) struct BoorexOptions {
        /// A regular expression. May stand several times.
        item: Vec<ItemOptions> = Vec::new(),
        /// A group of expressions. May stand several times.
        group: Vec<GroupOptions> = Vec::new(),
        /// Whether upper and lower case are the same, unless an item says otherwise.
        case_insensitive: bool = false,
        /// What is matched where the engine stands in a chain: a text with macros.
        subject: Option<Spanned<String>> = None,
    }
}

options! {
    /// `<item>`
    pub(crate) struct ItemOptions {
        /// Its name: letters, digits and `_`.
        id: Spanned<String>,
        /// Whether upper and lower case are the same; as the engine says unless given.
        case_insensitive: Option<bool> = None,
        /// The expression.
        ["$text"] expression: Spanned<String>,
    }
}

options! {
    /// `<group>`
    pub(crate) struct GroupOptions {
        /// Its name, another one than that of any item.
        id: Spanned<String>,
        /// Names of items, and of groups that stand before this one.
        ["$text"] members: Spanned<String>,
    }
}

/// The kind: an engine that declares expressions for the conditions of the whole configuration.
#[derive(Debug)]
pub(crate) struct BoorexKind;

const ENGINE: &dyn EngineKind = kind::<Boorex>();

impl EngineKind for BoorexKind {
    fn name(&self) -> &'static str {
        ENGINE.name()
    }

    fn summary(&self) -> &'static str {
        ENGINE.summary()
    }

    fn options(&self) -> Vec<OptionDoc> {
        BoorexOptions::docs()
    }

    fn statuses(&self) -> &'static [StatusDoc] {
        ENGINE.statuses()
    }

    fn values(&self) -> &'static [ValueDoc] {
        ENGINE.values()
    }

    fn names_values(&self) -> bool {
        ENGINE.names_values()
    }

    fn patterns(
        &self,
        element: &Element,
        cx: &mut BuildContext<'_>,
    ) -> Result<Option<PatternLibrary>, Vec<Finding>> {
        let library = library(&cx.options(element)?).map_err(|findings| {
            let place = |finding: Finding| finding.or_at(element.name_span);
            findings.into_iter().map(place).collect::<Vec<_>>()
        })?;
        Ok(Some(library))
    }

    fn build(
        &self,
        element: &Element,
        cx: &mut BuildContext<'_>,
    ) -> Result<Vec<Built>, Vec<Finding>> {
        ENGINE.build(element, cx)
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct Boorex {
    library: Arc<PatternLibrary>,
    subject: Template,
}

/// The names that mean something else already.
const TAKEN: &[&str] = &["status", "text", "result", "item", "items"];

impl Engine for Boorex {
    const NAME: &'static str = "boorex";
    const SUMMARY: &'static str = "named regular expressions, for conditions and as a check";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("match", "An expression matches the subject.", "continue"),
        StatusDoc::new("none", "No expression matches the subject.", "continue"),
    ];
    const VALUES: &'static [ValueDoc] = &[
        ValueDoc { name: "item", meaning: "The name of the first expression that matches." },
        ValueDoc {
            name: "items",
            meaning: "The names of all expressions that match, with blanks between them.",
        },
    ];
    const NAMES_VALUES: bool = true;
    type Options = BoorexOptions;

    fn build(options: BoorexOptions, cx: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let mut findings = Vec::new();
        let mut keep = |faults: Vec<Finding>| findings.extend(faults);
        let library = library(&options).map_err(&mut keep).ok();
        let subject = match &options.subject {
            Some(subject) => cx.template(subject),
            None => Err(vec![no_subject()]),
        };
        let subject = subject.map_err(&mut keep).ok();
        let (Some(library), Some(subject)) = (library, subject) else { return Err(findings) };
        if library.items().len() == 0 {
            cx.warn(Finding::nowhere("there is no expression, so nothing ever matches"));
        }
        Ok(Boorex { library: Arc::new(library), subject })
    }

    fn value_names(&self) -> Vec<Cow<'static, str>> {
        self.library.capture_names().into_iter().map(Cow::Owned).collect()
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let subject = self.subject.evaluate(&View::of(exchange));
        let Some(found) = self.library.first_match(&subject) else {
            return Ok(Outcome::new("none"));
        };
        let mut outcome = Outcome::new("match")
            .with_text(format!("matches {}", found.item))
            .with_value("item", found.item)
            .with_value("items", found.items.join(" "));
        for (name, caught) in found.captures {
            outcome = outcome.with_value(name, caught);
        }
        Ok(outcome)
    }
}

fn no_subject() -> Finding {
    Finding::nowhere("a boorex engine in a chain needs a <subject>")
        .with_help("such as <subject>$helo</subject>; conditions do without")
}

fn library(options: &BoorexOptions) -> Result<PatternLibrary, Vec<Finding>> {
    let item = |item: &ItemOptions| PatternItem {
        name: item.id.clone(),
        expression: item.expression.clone(),
        ignores_case: item.case_insensitive.unwrap_or(options.case_insensitive),
    };
    let group = |group: &GroupOptions| PatternGroup {
        name: group.id.clone(),
        members: group
            .members
            .words()
            .map(|word| Spanned { value: word.value.to_owned(), span: word.span })
            .collect(),
    };
    let items = options.item.iter().map(item).collect();
    let groups = options.group.iter().map(group).collect();
    let library = PatternLibrary::new(items, groups)?;
    let taken = library.capture_names().into_iter().find(|name| TAKEN.contains(&name.as_str()));
    match taken {
        Some(name) => Err(vec![Finding::nowhere(format!(
            "what a group catches can't be called \"{name}\", which means something else already"
        ))]),
        None => Ok(library),
    }
}

#[cfg(test)]
mod tests {
    use mppd_engine::Stages;
    use mppd_engine::testkit::{Configured, exchange};

    use super::*;

    const HOSTS: &str = r#"<boorex id="hosts">
        <item id="dynamic">^(?&lt;number>\d+)\.dyn\.(\w+)</item>
        <item id="any" case_insensitive="true">EXAMPLE</item>
        <group id="all">dynamic any</group>
        <subject>$helo</subject>
    </boorex>"#;

    fn outcome(xml: &str, helo: &[u8]) -> Outcome {
        let engine = Configured::xml(xml).build(&BoorexKind).unwrap();
        engine.run(&exchange([("helo_name", helo)])).unwrap()
    }

    fn values(outcome: &Outcome) -> Vec<(&str, &[u8])> {
        outcome.values.iter().map(|value| (&*value.name, &value.value[..])).collect()
    }

    #[test]
    fn the_first_item_that_matches_gives_what_it_caught() {
        let outcome = outcome(HOSTS, b"17.dyn.example.net");
        assert_eq!((outcome.status, outcome.text.as_ref()), ("match", "matches dynamic"));
        let expected: [(&str, &[u8]); 6] = [
            ("item", b"dynamic"),
            ("items", b"dynamic any"),
            ("0", b"17.dyn.example"),
            ("1", b"17"),
            ("number", b"17"),
            ("2", b"example"),
        ];
        assert_eq!(values(&outcome), expected);
    }

    #[test]
    fn what_matches_nothing_is_none() {
        assert_eq!(outcome(HOSTS, b"mail.invalid"), Outcome::new("none"));
    }

    #[test]
    fn an_item_may_ignore_case_where_the_others_do_not() {
        let outcome = outcome(HOSTS, b"17.DYN.EXAMPLE");
        assert_eq!(outcome.values[1].value, b"any");
    }

    #[test]
    fn the_engine_may_ignore_case_where_an_item_does_not() {
        let xml = r#"<boorex case_insensitive="true"><item id="a">x</item>
            <item id="b" case_insensitive="false">x</item><subject>$helo</subject></boorex>"#;
        assert_eq!(outcome(xml, b"X").values[1].value, b"a");
    }

    #[test]
    fn octets_that_are_not_text_are_caught_as_they_are() {
        let xml = r#"<boorex><item id="a">^(?-u:.)(.*)</item><subject>$helo</subject></boorex>"#;
        let outcome = outcome(xml, b"\xffrest");
        assert_eq!(values(&outcome)[2..], [("0", &b"\xffrest"[..]), ("1", b"rest")]);
    }

    #[test]
    fn the_names_of_what_groups_catch_are_known() {
        let configured = Configured::xml(HOSTS);
        let sources = mppd_engine::config::SourceMap::default();
        let logger = mppd_engine::slog::Logger::root(mppd_engine::slog::Discard, slog::o!());
        let mut cx = BuildContext::new(&sources, logger);
        let built = BoorexKind.build(configured.element(), &mut cx).unwrap();
        assert_eq!(built[0].values, ["0", "1", "number", "2"]);
    }

    #[test]
    fn the_kind_says_what_the_engine_says() {
        assert_eq!(BoorexKind.stages(), Stages::ALL);
        assert_eq!(BoorexKind.name(), Boorex::NAME);
        assert_eq!(BoorexKind.values(), Boorex::VALUES);
    }

    #[test]
    fn a_fault_of_an_expression_points_into_it() {
        let xml = r#"<boorex><item id="a">ab[z-a]</item><group id="b">a c</group>
            <subject>x</subject></boorex>"#;
        let configured = Configured::xml(xml);
        let faults = configured.faults(&BoorexKind);
        assert_eq!(faults[0].1, "z-a");
        assert_eq!(faults[1], ("unknown expression \"c\"".to_owned(), "c"));
        assert_eq!(faults.len(), 2);
    }

    #[test]
    fn an_engine_in_a_chain_needs_a_subject() {
        let configured = Configured::xml(r#"<boorex><item id="a">x</item></boorex>"#);
        let message = "a boorex engine in a chain needs a <subject>".to_owned();
        assert_eq!(configured.faults(&BoorexKind), [(message, "boorex")]);
    }

    #[test]
    fn a_group_that_catches_what_has_a_meaning_already_is_refused() {
        let xml = r#"<boorex><item id="a">(?&lt;item>x)</item><subject>x</subject></boorex>"#;
        let configured = Configured::xml(xml);
        let faults = configured.faults(&BoorexKind);
        assert!(faults[0].0.contains("can't be called \"item\""), "{faults:?}");
    }
}
