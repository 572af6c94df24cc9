//! Whether each of the name servers answers.

use std::net::SocketAddr;
use std::time::Instant;

use mppd_engine::probe::{Probe, Unreached};

use crate::answer::{Answer, Question, RecordKind, TemporaryFailure};
use crate::name::Name;
use crate::resolver::{Resolver, ResolverError, ResolverOptions, servers};
use crate::{Dns, Lookup as _};

/// A name that whoever resolves names for others can resolve, also where few are known.
const ASKED: &[u8] = b"a.root-servers.net";

impl ResolverOptions {
    /// A probe of each name server: whether it answers a question about the outside world. Where
    /// none is configured those of the system are asked.
    #[must_use]
    pub fn probes(&self) -> Vec<Probe> {
        match servers(&self.servers) {
            Ok(servers) => servers.into_iter().map(|server| self.probe(server)).collect(),
            Err(error) => vec![Probe::new("/etc/resolv.conf", async { Err(unknown(error)) })],
        }
    }

    fn probe(&self, server: SocketAddr) -> Probe {
        let options = ResolverOptions { servers: vec![server], ..self.clone() };
        Probe::new(format!("dns://{server}"), async move {
            let name = Name::parse(ASKED).map_err(|error| Unreached::new(error.to_string()))?;
            let deadline = Instant::now() + options.timeout;
            let question = Question::new(RecordKind::A, name);
            said(Resolver::new(options).look_up(question, deadline).await)
        })
    }
}

impl Dns {
    /// Whether somebody has this very one besides the caller, who has `known` of it.
    #[must_use]
    pub fn is_shared(self: &std::sync::Arc<Self>, known: usize) -> bool {
        std::sync::Arc::strong_count(self) > known || std::sync::Arc::strong_count(&self.lookup) > 1
    }
}

fn said(answer: Answer) -> Result<String, Unreached> {
    match answer {
        Answer::Records(_) => Ok("resolves names".to_owned()),
        Answer::NoRecords | Answer::NoSuchName => Ok("answers".to_owned()),
        Answer::Temporary(failure) => Err(out_of_use(&failure)),
    }
}

fn out_of_use(failure: &TemporaryFailure) -> Unreached {
    let unreached = Unreached::new(failure.to_string());
    unreached.with_help(match failure {
        TemporaryFailure::Refused(_) => {
            "name a server in <dns> that resolves names for this machine"
        }
        TemporaryFailure::TimedOut | TemporaryFailure::Failed(_) => {
            "start the name server, or name another one in <dns>"
        }
    })
}

fn unknown(error: ResolverError) -> Unreached {
    Unreached::new("no name server").with_source(error).with_help("name a server in <dns>")
}
