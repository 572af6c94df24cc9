//! `<track>`: puts requests on record, one method for each step in the life of a record.
//!
//! | method | where it stands | what it records |
//! |---|---|---|
//! | `received` | `policy_begin_engines` | the request came |
//! | `processed` | `policy_end_engines` | the decision stands |
//! | `exception` | `policy_end_exception_engines` | an exception ended the chains |
//!
//! What a run waits for is the configured durability. A step that cannot be put on record is the
//! engine's failure.

use std::rc::Rc;
use std::sync::Arc;

use mppd_engine::engine::Run;
use mppd_engine::{
    BuildContext, Built, Element, EngineKind, Exchange, Failure, Finding, MethodDoc, OptionDoc,
    Options, Outcome, Prototype, Running, StatusDoc, Transition, options,
};

options! {
    /// `<track>` has no options of its own: the connection is the group's, the durability that of
    /// `<tracking>`.
    pub(crate) struct TrackOptions {}
}

/// The kind: an element with three methods.
#[derive(Debug)]
pub(crate) struct Track;

const STEPS: [Step; 3] = [
    Step { name: "received", transition: Transition::Received },
    Step { name: "processed", transition: Transition::Processed },
    Step { name: "exception", transition: Transition::Exception },
];

impl EngineKind for Track {
    fn name(&self) -> &'static str {
        "track"
    }

    fn summary(&self) -> &'static str {
        "puts requests on record"
    }

    fn options(&self) -> Vec<OptionDoc> {
        TrackOptions::docs()
    }

    fn statuses(&self) -> &'static [StatusDoc] {
        const { &[StatusDoc::new("recorded", "The step is as durable as configured.", "continue")] }
    }

    fn methods(&self) -> &'static [MethodDoc] {
        &[
            MethodDoc {
                name: "received",
                meaning: "Records that the request came. For `policy_begin_engines`.",
            },
            MethodDoc {
                name: "processed",
                meaning: "Records the decision. For `policy_end_engines`.",
            },
            MethodDoc {
                name: "exception",
                meaning: "Records an exception and the decision of `on_error`. For \
                          `policy_end_exception_engines`.",
            },
        ]
    }

    fn build(
        &self,
        element: &Element,
        cx: &mut BuildContext<'_>,
    ) -> Result<Vec<Built>, Vec<Finding>> {
        let TrackOptions {} = cx.options(element)?;
        let build = |step: Step| Built::new(Some(step.name.to_owned()), Arc::new(step));
        Ok(STEPS.map(build).into())
    }
}

/// One method: a step in the life of a record.
#[derive(Debug, Clone, Copy)]
struct Step {
    name: &'static str,
    transition: Transition,
}

impl Prototype for Step {
    fn copy(&self) -> Rc<dyn Running> {
        Rc::new(*self)
    }
}

impl Running for Step {
    fn run(self: Rc<Self>, exchange: Arc<Exchange>) -> Run {
        Box::pin(async move {
            match exchange.tracker().record(self.transition, &exchange).await {
                Ok(()) => Ok(Outcome::new("recorded")),
                Err(error) => {
                    let message = format!("\"{}\" is not on record", self.name);
                    let reply = error.reply.clone();
                    Err(Failure::new(message).with_source(error).with_reply(reply))
                }
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use mppd_engine::testkit::{Configured, RecordingTracker, exchange_on, request};
    use mppd_engine::tracking::Recorded;
    use mppd_engine::{Action, Tracker, TrackingError};

    use super::*;

    const XML: &str = r#"<track id="track_policy_request"/>"#;

    #[test]
    fn each_method_records_its_step() {
        let engine = Configured::xml(XML).build(&Track).unwrap();
        let tracker = Arc::new(RecordingTracker::default());
        let exchange = exchange_on(request([("sender", "")]), tracker.clone());
        let mut recorded = Vec::new();
        for (method, transition) in [
            ("received", Transition::Received),
            ("processed", Transition::Processed),
            ("exception", Transition::Exception),
        ] {
            let outcome = engine.run_method(method, &exchange).unwrap();
            assert_eq!(outcome, Outcome::new("recorded"));
            recorded.push((exchange.key(), transition));
            assert_eq!(tracker.transitions(), recorded);
        }
    }

    #[test]
    fn the_methods_are_those_that_are_documented() {
        let engine = Configured::xml(XML).build(&Track).unwrap();
        let documented = Track.methods().iter().map(|method| method.name);
        assert!(engine.methods().eq(documented));
    }

    #[test]
    fn a_step_that_cannot_be_recorded_is_a_failure_that_says_why() {
        let engine = Configured::xml(XML).build(&Track).unwrap();
        let tracker = Arc::new(RecordingTracker::refusing("disk full"));
        let exchange = exchange_on(request([("sender", "")]), tracker);
        let failure = engine.run_method("processed", &exchange).unwrap_err();
        let expected = "\"processed\" is not on record: the request could not be put on record: \
                        disk full";
        assert_eq!(failure.whole(), expected);
    }

    #[test]
    fn the_answer_of_a_tracker_is_that_of_the_failure() {
        struct Full;

        impl Tracker for Full {
            fn record(&self, _: Transition, _: &Exchange) -> Recorded {
                let error = TrackingError::new("full").with_reply(Action::Dunno);
                Box::pin(std::future::ready(Err(error)))
            }
        }

        let engine = Configured::xml(XML).build(&Track).unwrap();
        let exchange = exchange_on(request([("sender", "")]), Arc::new(Full));
        let failure = engine.run_method("received", &exchange).unwrap_err();
        assert_eq!(failure.reply(), Some(&Action::Dunno));
    }

    #[test]
    fn an_option_is_refused() {
        let configured = Configured::xml(r#"<track id="t" host="db"/>"#);
        let faults = configured.faults(&Track);
        assert_eq!(faults, [(r#"unknown attribute "host""#.to_owned(), "host")]);
    }
}
