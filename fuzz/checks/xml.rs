//! What holds for any text of a configuration file: nothing panics, and what is no document is
//! told with a place inside the text.

use mppd::config::limits::Limits;
use mppd::config::xml;
use mppd_engine::config::{Origin, Source, SourceMap};

/// Panics where one of the promises is broken.
pub(crate) fn check(octets: &[u8]) {
    let Ok(text) = std::str::from_utf8(octets) else { return };
    let mut sources = SourceMap::default();
    let source = sources.add(Source { origin: Origin::File("fuzz.xml".into()), text: text.into() });
    let document = xml::parse(text, source, &Limits::default());
    assert!(document.complete || !document.findings.is_empty(), "a fault that nobody is told of");
}
