//! mppd with an engine that goes wrong as the client's greeting says.

use std::process::ExitCode;
use std::time::Duration;

use mppd::Program;
use mppd_engine::{
    Attribute, BuildContext, Engine, Exchange, Failure, Finding, Outcome, StatusDoc, kind, options,
};

options! {
    /// `<fault>`
    struct FaultOptions: Default {
        /// Whether no worker can have a copy.
        uncopied: bool = false,
    }
}

struct Fault {
    uncopied: bool,
}

impl Clone for Fault {
    fn clone(&self) -> Self {
        assert!(!self.uncopied, "no copy of it");
        Fault { uncopied: false }
    }
}

/// An error that can't be told.
#[derive(Debug)]
struct Unspeakable;

impl std::fmt::Display for Unspeakable {
    fn fmt(&self, _: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        panic!("unspeakable")
    }
}

impl std::error::Error for Unspeakable {}

/// Blocks its thread.
#[expect(clippy::disallowed_methods, reason = "that is what an engine must not do")]
fn block(milliseconds: &str) {
    let milliseconds = milliseconds.parse().unwrap_or(60_000);
    std::thread::sleep(Duration::from_millis(milliseconds));
}

impl Engine for Fault {
    const NAME: &'static str = "fault";
    const SUMMARY: &'static str = "goes wrong as the client's greeting says";
    const STATUSES: &'static [StatusDoc] = &[StatusDoc::new("done", "All is well.", "continue")];
    type Options = FaultOptions;

    fn build(options: FaultOptions, _: &mut BuildContext<'_>) -> Result<Self, Vec<Finding>> {
        Ok(Fault { uncopied: options.uncopied })
    }

    async fn run(&self, exchange: &Exchange) -> Result<Outcome, Failure> {
        let greeting = exchange.request().text(Attribute::HeloName).into_owned();
        match greeting.split_once('.').unwrap_or((&greeting, "")) {
            ("block", time) => block(time),
            ("block-later", time) => {
                tokio::task::yield_now().await;
                block(time);
            }
            ("wait", _) => std::future::pending::<()>().await,
            ("panic", _) => panic!("as it was told"),
            ("panic-later", _) => {
                tokio::task::yield_now().await;
                panic!("as it was told")
            }
            ("panic-in-error", _) => return Err(Failure::new("see").with_source(Unspeakable)),
            ("fail", _) => return Err(Failure::new("as it was told")),
            _ => {}
        }
        Ok(Outcome::new("done"))
    }
}

fn main() -> ExitCode {
    Program::new().engines(mppd_engines::ENGINES).engines(&[kind::<Fault>()]).main()
}
