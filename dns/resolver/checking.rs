//! Connections to name servers that let only through what belongs to the question: a server that
//! answers another one, or answers in circles, has not answered.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

use futures_util::stream::{Stream, StreamExt as _};
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsHandle, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsResponse, Query};
use hickory_resolver::proto::rr::{Name as WireName, RData, Record};
use hickory_resolver::{ConnectionProvider, PoolContext};

/// Most aliases that lead to a name; resolvers follow fewer. To follow as many as fit into an answer
/// would keep everybody else waiting.
const MOST_ALIASES: usize = 32;

type Connection = <TokioRuntimeProvider as ConnectionProvider>::Conn;
type Connected = Result<Checked<Connection>, NetError>;

/// Opens connections.
#[derive(Clone, Default)]
pub(super) struct Checking(TokioRuntimeProvider);

impl ConnectionProvider for Checking {
    type Conn = Checked<Connection>;
    type FutureConn = Pin<Box<dyn Future<Output = Connected> + Send>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        cx: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let connecting = self.0.new_connection(ip, config, cx)?;
        Ok(Box::pin(async move { connecting.await.map(Checked) }))
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        &self.0
    }
}

/// A connection whose answers are looked at.
#[derive(Clone)]
pub(crate) struct Checked<H>(pub(crate) H);

impl<H: DnsHandle> DnsHandle for Checked<H> {
    type Response = Pin<Box<dyn Stream<Item = Result<DnsResponse, NetError>> + Send>>;
    type Runtime = H::Runtime;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let queries = request.queries.clone();
        Box::pin(self.0.send(request).map(move |response| checked(response?, &queries)))
    }
}

fn checked(response: DnsResponse, queries: &[Query]) -> Result<DnsResponse, NetError> {
    let is_other = response.queries.iter().any(|query| !queries.contains(query));
    if is_other || response.queries.len() != queries.len() {
        return Err(NetError::Message("what was answered belongs to another question"));
    }
    if queries.iter().any(|query| leads_back(query.name(), &response.answers)) {
        return Err(NetError::Message("the aliases of the name have no end"));
    }
    Ok(response)
}

/// Whether the aliases of a name have no end, or too late a one.
fn leads_back(name: &WireName, answers: &[Record]) -> bool {
    let mut name = name;
    for _ in 0..=MOST_ALIASES {
        let alias = answers.iter().find_map(|record| match &record.data {
            RData::CNAME(target) if record.name == *name => Some(&target.0),
            _ => None,
        });
        match alias {
            Some(target) => name = target,
            None => return false,
        }
    }
    true
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::CNAME;

    use super::*;

    fn name(number: usize) -> WireName {
        WireName::from_ascii(format!("n{number}.example.")).unwrap()
    }

    /// Each name is an alias of the next.
    fn aliases(count: usize) -> Vec<Record> {
        let alias =
            |number| Record::from_rdata(name(number), 60, RData::CNAME(CNAME(name(number + 1))));
        (0..count).map(alias).collect()
    }

    #[test]
    fn aliases_have_an_end_within_reach() {
        assert!(!leads_back(&name(0), &aliases(MOST_ALIASES)));
        assert!(leads_back(&name(0), &aliases(MOST_ALIASES + 1)));
        assert!(!leads_back(&name(7_000), &aliases(MOST_ALIASES + 1)));
        let circle = Record::from_rdata(name(3), 60, RData::CNAME(CNAME(name(0))));
        assert!(leads_back(&name(0), &[aliases(3), vec![circle]].concat()));
    }
}
