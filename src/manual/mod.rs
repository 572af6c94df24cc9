//! The manual pages: mppd(8) from the command line, mppd.conf.xml(5) and a page for each engine
//! from the declarations of the reference.

mod command;
mod sheet;

use clap::Command;
use mppd_engine::EngineKind;

use self::sheet::Sheet;
use crate::reference;

/// What all pages belong to, as it stands at their head.
const MANUAL: &str = "mppd";

/// A manual page.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its name: `mppd`.
    pub name: String,
    /// Its section of the manual, a digit: `8`.
    pub section: &'static str,
    /// The page in the language of man(7).
    pub roff: String,
}

/// Every manual page: mppd(8), mppd.conf.xml(5), and one for each kind of engine. `date` stands at
/// the foot, as `2026-01-31`.
#[must_use]
pub fn pages(command: &Command, kinds: &[&dyn EngineKind], date: &str) -> Vec<Page> {
    let mut pages = vec![program(command, kinds, date), configuration(kinds, date)];
    pages.extend(kinds.iter().map(|kind| engine(*kind, date)));
    pages
}

/// mppd(8).
#[must_use]
pub fn program(command: &Command, kinds: &[&dyn EngineKind], date: &str) -> Page {
    let mut sheet = Sheet::new("mppd", "8", date, MANUAL);
    command::write(&mut sheet, command);
    see_also(&mut sheet, "mppd", kinds);
    Page { name: "mppd".to_owned(), section: "8", roff: sheet.finish() }
}

const CONFIGURATION: [&str; 4] = [
    "The configuration of `mppd` is one file of XML, `mppd.conf.xml`, that pulls others in: an element with \
     the attributes `file` and `xpath` takes its content from that node of the other file. `file` is \
     relative to the file that names it.",
    "Inside `<mppd>`, `<common>` holds what is true for the whole server, `<groups>` the policy groups, and \
     `<engines>` the engines, by the names of their kinds. What stands several times is read as one. An \
     option is an attribute or a child element of its own name; one whose value is an element has a list of \
     its own below, headed by the path to it.",
    "A scalar option of `<common>` is overridden by the environment, as in `MPPD_COMMON__LOG__LEVEL=debug`, \
     and by the command line, as in `--set common.log.level=debug`.",
    "`mppd check` says what is wrong with a configuration, and where.",
];

const EXAMPLE: &str = r#"<mppd>
  <common>
    <policy_server><listen>inet:127.0.0.1:10040</listen></policy_server>
    <state_directory>/var/lib/mppd</state_directory>
    <policy_check_engines>wbl</policy_check_engines>
  </common>
  <groups><group id="default"/></groups>
  <engines>
    <wbl>
      <black><sender>blocked@example.com</sender></black>
      <on_black>REJECT Not welcome here</on_black>
    </wbl>
  </engines>
</mppd>"#;

fn configuration(kinds: &[&dyn EngineKind], date: &str) -> Page {
    let name = "mppd.conf.xml";
    let mut sheet = Sheet::new(name, "5", date, MANUAL);
    sheet.section("Name");
    sheet.name(name, "configuration of the policy server mppd");
    sheet.section("Description");
    for text in CONFIGURATION {
        sheet.paragraph(text);
    }
    sheet.section("Examples");
    sheet.code(EXAMPLE);
    sheet.document(&reference::without_engines());
    sheet.section("Files");
    sheet.term("`/etc/mppd/mppd.conf.xml`", &["Where it is looked for unless named."]);
    see_also(&mut sheet, name, kinds);
    Page { name: name.to_owned(), section: "5", roff: sheet.finish() }
}

fn engine(kind: &dyn EngineKind, date: &str) -> Page {
    let element = kind.name();
    let name = page_of(element);
    let mut sheet = Sheet::new(&name, "7", date, MANUAL);
    sheet.section("Name");
    sheet.name(&name, kind.summary());
    sheet.section("Synopsis");
    sheet.code(&format!("<engines>\n  <{element} id=\"ID\"> ... </{element}>\n</engines>"));
    for (heading, document) in reference::engine_parts(kind) {
        sheet.section(heading);
        sheet.document(&document);
    }
    sheet.paragraph(
        "Options that every engine has, and the macros of texts and conditions, are in \
         `mppd.conf.xml`(5).",
    );
    sheet.section("See also");
    sheet.paragraph("`mppd`(8), `mppd.conf.xml`(5)");
    Page { name, section: "7", roff: sheet.finish() }
}

/// The name of the page of a kind of engine.
fn page_of(element: &str) -> String {
    format!("mppd-{element}")
}

fn see_also(sheet: &mut Sheet, from: &str, kinds: &[&dyn EngineKind]) {
    let others = [("mppd", "8"), ("mppd.conf.xml", "5")];
    let others = others.into_iter().filter(|(name, _)| *name != from);
    let mut all: Vec<String> =
        others.map(|(name, section)| format!("`{name}`({section})")).collect();
    all.extend(kinds.iter().map(|kind| format!("`{}`(7)", page_of(kind.name()))));
    all.extend(["`postconf`(5)".to_owned(), "`access`(5)".to_owned()]);
    sheet.section("See also");
    sheet.paragraph(&all.join(", "));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all() -> Vec<Page> {
        let command = Command::new("mppd").about("A policy server for Postfix");
        pages(&command, mppd_engines::ENGINES, "2026-01-31")
    }

    #[test]
    fn every_engine_has_a_page_with_all_its_options_and_statuses() {
        let pages = all();
        for kind in mppd_engines::ENGINES {
            let name = format!("mppd-{}", kind.name());
            let page = pages.iter().find(|page| page.name == name).unwrap();
            for option in kind.options().iter().filter(|option| option.name != "$text") {
                assert!(page.roff.contains(&format!("\n\\fB{}\\fR\n", option.name)), "{name}");
            }
            for status in kind.statuses() {
                assert!(page.roff.contains(&format!("\n\\fB{}\\fR\n", status.name)), "{name}");
            }
        }
    }

    #[test]
    fn pages_are_the_same_for_the_same_date() {
        assert_eq!(all(), all());
        assert!(all().iter().all(|page| page.roff.contains(" 2026-01-31 ")));
    }
}
