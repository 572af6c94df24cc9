//! `<set>`: computes the results of its `<result>` elements, and nothing else.
//!
//! ```xml
//! <set id="peer">
//!   <result id="kind">
//!     <case><condition>$sasl_username $NE ""</condition><result>user</result></case>
//!     <default>stranger</default>
//!   </result>
//! </set>
//! ```
//!
//! Engines behind it in the chain read `$engines.peer.kind`. It has no options of its own, and
//! decides nothing unless its `on_done` says so.

use mppd_engine::{BuildContext, Engine, Exchange, Failure, Finding, Outcome, StatusDoc, options};

options! {
    /// `<set>` has none of its own.
    pub(crate) struct SetOptions {}
}

/// The engine.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Set;

impl Engine for Set {
    const NAME: &'static str = "set";
    const SUMMARY: &'static str = "computes the results that its `<result>` elements describe";
    const STATUSES: &'static [StatusDoc] =
        &[StatusDoc::new("done", "The results are computed.", "continue")];
    type Options = SetOptions;

    fn build(SetOptions {}: SetOptions, _: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        Ok(Set)
    }

    async fn run(&self, _: &Exchange) -> Result<Outcome, Failure> {
        Ok(Outcome::new("done"))
    }
}

#[cfg(test)]
mod tests {
    use mppd_engine::kind;
    use mppd_engine::testkit::{Configured, exchange};

    use super::*;

    #[test]
    fn it_is_done_whatever_its_results_are() {
        let xml = r#"<set id="peer"><result id="kind">stranger</result></set>"#;
        let engine = Configured::xml(xml).build(kind::<Set>()).unwrap();
        assert_eq!(engine.run(&exchange([("sender", "")])).unwrap(), Outcome::new("done"));
    }

    #[test]
    fn an_option_of_its_own_is_refused() {
        let configured = Configured::xml(r#"<set resutl="x"/>"#);
        let faults = configured.faults(kind::<Set>());
        assert_eq!(faults, [(r#"unknown attribute "resutl""#.to_owned(), "resutl")]);
    }
}
