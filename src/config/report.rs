//! Shows findings to people: the place, the line itself with a mark under it, what belongs to it,
//! and what helps.

use std::ops::Range;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};
use mppd_engine::config::{Severity, SourceMap};
use mppd_engine::{Finding, Span};

/// How many findings are shown; the others are counted.
const MOST_SHOWN: usize = 100;

/// How a report looks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Look {
    /// Whether to colour it, for a terminal.
    pub color: bool,
    /// How many columns it may use.
    pub width: usize,
}

impl Default for Look {
    fn default() -> Self {
        Look { color: false, width: 100 }
    }
}

/// The report of these findings, in their order, with their number at the end; empty if there is
/// nothing to say.
#[must_use]
pub fn render(sources: &SourceMap, findings: &[Finding], look: Look) -> String {
    let mut report = String::new();
    for finding in findings.iter().take(MOST_SHOWN) {
        report.push_str(&render_one(sources, finding, look));
        report.push_str("\n\n");
    }
    if findings.len() > MOST_SHOWN {
        let others = findings.len() - MOST_SHOWN;
        report.push_str(&["and ", &others.to_string(), " more\n\n"].concat());
    }
    if !findings.is_empty() {
        report.push_str(&count(findings));
        report.push('\n');
    }
    report
}

/// A finding in one line, for the log: where, what, and what to do.
#[must_use]
pub fn one_line(sources: &SourceMap, finding: &Finding) -> String {
    let place = finding.span.map(|span| {
        let (line, column) = sources.position(span);
        format!("{}:{line}:{column}: ", sources.get(span.source).name())
    });
    let help = finding.help.as_ref().map(|help| format!(" ({help})"));
    format!("{}{}{}", place.unwrap_or_default(), finding.message, help.unwrap_or_default())
}

/// How many findings there are: "2 errors, 1 warning".
#[must_use]
pub fn count(findings: &[Finding]) -> String {
    let of = |severity: Severity, word: &str| {
        let count = findings.iter().filter(|finding| finding.severity == severity).count();
        let plural = if count == 1 { "" } else { "s" };
        (count > 0).then(|| format!("{count} {word}{plural}"))
    };
    let parts = [of(Severity::Error, "error"), of(Severity::Warning, "warning")];
    let parts: Vec<String> = parts.into_iter().flatten().collect();
    if parts.is_empty() { "no errors".to_owned() } else { parts.join(", ") }
}

fn render_one(sources: &SourceMap, finding: &Finding, look: Look) -> String {
    let renderer = if look.color { Renderer::styled() } else { Renderer::plain() };
    let renderer = renderer.term_width(look.width);
    let level = match finding.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
    };
    let mut group = Group::with_title(level.primary_title(printable(&finding.message)));
    for excerpt in excerpts(sources, finding, look.width) {
        group = group.element(excerpt.snippet());
    }
    if let Some(help) = &finding.help {
        group = group.element(Level::HELP.message(printable(help)));
    }
    renderer.render(&[group])
}

/// One line of a source, and the mark under it.
struct Excerpt {
    name: String,
    line_number: usize,
    line: String,
    mark: Range<usize>,
    kind: AnnotationKind,
    label: Option<String>,
}

impl Excerpt {
    fn snippet(self) -> Snippet<'static, annotate_snippets::Annotation<'static>> {
        let mark = self.kind.span(self.mark).label(self.label);
        Snippet::source(self.line).path(self.name).line_start(self.line_number).annotation(mark)
    }
}

fn excerpts(sources: &SourceMap, finding: &Finding, width: usize) -> Vec<Excerpt> {
    let own = finding.span.map(|span| (span, AnnotationKind::Primary, finding.label.as_deref()));
    let related = finding
        .related
        .iter()
        .map(|(span, words)| (*span, AnnotationKind::Context, Some(words.as_str())));
    let places = own.into_iter().chain(related);
    places.map(|(span, kind, label)| excerpt(sources, span, kind, label, width)).collect()
}

fn excerpt(
    sources: &SourceMap,
    span: Span,
    kind: AnnotationKind,
    label: Option<&str>,
    width: usize,
) -> Excerpt {
    let source = sources.get(span.source);
    let text = source.text.as_str();
    let start = floor(text, span.start);
    let line_start = text[..start].rfind('\n').map_or(0, |end| end + 1);
    let line_end = text[start..].find('\n').map_or(text.len(), |length| start + length);
    // A long mark hides what it marks; a long line costs time and is cut by the renderer anyway.
    let mark_end = floor(text, span.end.clamp(start, line_end).min(start + width / 2));
    let shown_end = floor(text, line_end.min(mark_end + 4 * width));
    Excerpt {
        name: printable(&source.name()),
        line_number: text[..line_start].matches('\n').count() + 1,
        line: same_length_printable(&text[line_start..shown_end]),
        mark: start - line_start..mark_end.max(start) - line_start,
        kind,
        label: label.map(printable),
    }
}

/// The next place at or before this one where a character begins.
fn floor(text: &str, at: usize) -> usize {
    (0..=at.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0)
}

/// Characters that a terminal may obey instead of showing them, and that the renderer lets through.
fn is_treacherous(character: char) -> bool {
    matches!(character,
        '\u{80}'..='\u{9f}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

fn printable(text: &str) -> String {
    text.chars()
        .map(|character| match character {
            '\n' | '\r' | '\t' => ' ',
            character if is_treacherous(character) => '\u{fffd}',
            character => character,
        })
        .collect()
}

/// A line in which every octet keeps its place, because the mark goes by octets.
fn same_length_printable(line: &str) -> String {
    line.chars()
        .map(|character| match character {
            '\r' => ' ',
            character if is_treacherous(character) && character.len_utf8() == 2 => '\u{b7}',
            character if is_treacherous(character) => '\u{fffd}',
            character => character,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use mppd_engine::config::{Origin, Source};

    use super::*;

    fn report(text: &str, start: usize, end: usize, look: Look) -> String {
        let mut sources = SourceMap::default();
        let origin = Origin::File("mppd.conf.xml".into());
        let source = sources.add(Source { origin, text: text.to_owned() });
        let span = Span { source, start, end };
        let finding = Finding::error(span, "this\nis wrong\u{1b}[31m").with_label("here");
        render(&sources, &[finding], look)
    }

    #[test]
    fn the_line_is_shown_with_a_mark_under_it() {
        let shown = report("<a>\n\t<b>ö value</b>\n</a>", 11, 16, Look::default());
        insta::assert_snapshot!(shown, @r"
        error: this is wrong␛[31m
         --> mppd.conf.xml:2:7
          |
        2 |     <b>ö value</b>
          |          ^^^^^ here

        1 error
        ");
    }

    #[test]
    fn nothing_in_a_line_or_message_is_obeyed_by_a_terminal() {
        let shown = report("a\u{1b}[31m\u{9b}31m\u{202e}x\u{200d}\r\n", 1, 2, Look::default());
        let obeyed = |character: char| {
            character.is_control() && character != '\n' || is_treacherous(character)
        };
        assert_eq!(shown.chars().find(|character| obeyed(*character)), None, "{shown}");
    }

    #[test]
    fn a_long_line_is_cut_around_the_mark() {
        let text = format!("{}<wrong/>{}", "a ".repeat(5000), " b".repeat(5000));
        let shown = report(&text, 10_001, 10_006, Look { color: false, width: 80 });
        assert!(shown.lines().all(|line| line.chars().count() <= 90), "{shown}");
        assert!(shown.contains("<wrong/>") && shown.contains("mppd.conf.xml:1:10002"), "{shown}");
    }

    #[test]
    fn a_place_at_the_end_of_the_file_is_shown() {
        let shown = report("<a>\n", 4, 4, Look::default());
        assert!(shown.contains("mppd.conf.xml:2:1"), "{shown}");
    }

    #[test]
    fn places_that_do_not_exist_do_no_harm() {
        assert!(report("ö", 1, 500, Look::default()).contains("1 error"));
        assert!(report("", 7, 3, Look::default()).contains("1 error"));
    }

    #[test]
    fn color_is_used_only_if_wanted() {
        let look = Look { color: true, ..Look::default() };
        assert!(report("<a/>", 0, 1, look).contains("\u{1b}["));
        assert!(!report("<a/>", 0, 1, Look::default()).contains('\u{1b}'));
    }

    #[test]
    fn findings_are_counted_and_not_all_are_shown() {
        let mut findings = vec![Finding::nowhere("wrong"); 150];
        findings[0].severity = Severity::Warning;
        let shown = render(&SourceMap::default(), &findings, Look::default());
        assert!(shown.ends_with("and 50 more\n\n149 errors, 1 warning\n"), "{shown}");
        assert_eq!(render(&SourceMap::default(), &[], Look::default()), "");
    }
}
