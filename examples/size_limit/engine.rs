//! `<size_limit>`: how large a message may be, with a limit of their own for clients that logged
//! in.

use mppd_engine::config::{FileSize, Spanned};
use mppd_engine::{
    Attribute, BuildContext, Engine, Exchange, Failure, Finding, Outcome, Stage, Stages, StatusDoc,
    ValueDoc, options,
};

options! {
    /// `<size_limit>`
    pub(crate) struct SizeLimitOptions {
        /// Largest message of a client that did not log in.
        limit: Spanned<FileSize>,
        /// Largest message of a client that did; `limit` unless given.
        authenticated: Option<FileSize> = None,
    }
}

/// The engine.
#[derive(Debug, Clone)]
pub(crate) struct SizeLimit {
    limit: u64,
    authenticated: u64,
}

impl Engine for SizeLimit {
    const NAME: &'static str = "size_limit";
    const SUMMARY: &'static str = "tells messages that are too large";
    const STATUSES: &'static [StatusDoc] = &[
        StatusDoc::new("fits", "The message is not too large.", "continue"),
        StatusDoc::new("too_large", "The message is too large.", "552 5.3.4 too large a message"),
        StatusDoc::new("unknown", "The client did not say how large it will be.", "continue"),
    ];
    const VALUES: &'static [ValueDoc] =
        &[ValueDoc { name: "limit", meaning: "The limit in octets that held for the client." }];
    const STAGES: Stages = Stages::of(&[Stage::Mail, Stage::Rcpt, Stage::EndOfMessage]);
    type Options = SizeLimitOptions;

    fn build(options: SizeLimitOptions, _: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        let Spanned { value: limit, span } = options.limit;
        if limit == FileSize(0) {
            return Err(vec![Finding::error(span, "a limit of 0 would fit no message")]);
        }
        let authenticated = options.authenticated.unwrap_or(limit);
        Ok(SizeLimit { limit: limit.0, authenticated: authenticated.0 })
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let request = exchange.request();
        let size: u64 = match &*request.text(Attribute::Size) {
            "" | "0" => return Ok(Outcome::new("unknown")),
            text => text.parse().map_err(|error| {
                Failure::new("the size of the message is no number").with_source(error)
            })?,
        };
        let has_logged_in = !request.get(Attribute::SaslUsername).is_empty();
        let limit = if has_logged_in { self.authenticated } else { self.limit };
        let status = if size > limit { "too_large" } else { "fits" };
        Ok(Outcome::new(status)
            .with_text(format!("{size} octets, limit {limit}"))
            .with_value("limit", limit.to_string()))
    }
}

#[cfg(test)]
mod tests {
    use mppd_engine::kind;
    use mppd_engine::testkit::{Configured, exchange};

    use super::*;

    const XML: &str = r#"<size_limit limit="1MiB" authenticated="10MiB"/>"#;

    fn status(xml: &str, size: &str, sasl_username: &str) -> &'static str {
        let engine = Configured::xml(xml).build(kind::<SizeLimit>()).unwrap();
        let request = [("size", size), ("sasl_username", sasl_username)];
        engine.run(&exchange(request)).unwrap().status
    }

    #[test]
    fn a_message_fits_up_to_the_limit() {
        assert_eq!(status(XML, "1048576", ""), "fits");
        assert_eq!(status(XML, "1048577", ""), "too_large");
    }

    #[test]
    fn who_logged_in_has_another_limit() {
        assert_eq!(status(XML, "1048577", "alice"), "fits");
        assert_eq!(status(XML, "10485761", "alice"), "too_large");
        assert_eq!(status(r#"<size_limit limit="1"/>"#, "2", "alice"), "too_large");
    }

    #[test]
    fn a_size_that_was_not_announced_is_unknown() {
        assert_eq!(status(XML, "0", ""), "unknown");
        assert_eq!(status(XML, "", ""), "unknown");
    }

    #[test]
    fn a_size_that_is_no_number_is_a_failure() {
        let engine = Configured::xml(XML).build(kind::<SizeLimit>()).unwrap();
        let failure = engine.run(&exchange([("size", "1k")])).unwrap_err();
        assert_eq!(failure.to_string(), "the size of the message is no number");
    }

    #[test]
    fn a_limit_of_nothing_is_refused_where_it_stands() {
        let configured = Configured::xml(r#"<size_limit limit="0KiB"/>"#);
        let faults = configured.faults(kind::<SizeLimit>());
        assert_eq!(faults, [("a limit of 0 would fit no message".to_owned(), "0KiB")]);
    }
}
