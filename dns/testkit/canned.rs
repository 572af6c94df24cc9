//! Octets as what a name server sends, on the way that answers take.

use std::future::{Ready, ready};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use futures_util::stream::{Once, once};
use hickory_resolver::config::ConnectionConfig;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsHandle, NetError};
use hickory_resolver::proto::op::{DnsRequest, DnsResponse};
use hickory_resolver::{ConnectionProvider, PoolContext};

use crate::answer::{Answer, Question};
use crate::resolver::ask_over;
use crate::resolver::checking::Checked;

/// What a question is answered with if these octets are all that a name server ever sends; the
/// number of the question is put in front in place of the first two.
#[must_use]
pub fn answer_to(question: &Question, octets: &[u8]) -> Answer {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.expect("a runtime");
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, 53));
    runtime.block_on(ask_over(Canned(octets.into()), server, question))
}

#[derive(Clone)]
struct Canned(Arc<[u8]>);

impl ConnectionProvider for Canned {
    type Conn = Checked<Canned>;
    type FutureConn = Ready<Result<Checked<Canned>, NetError>>;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        _: IpAddr,
        _: &ConnectionConfig,
        _: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        Ok(ready(Ok(Checked(self.clone()))))
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        static PROVIDER: std::sync::LazyLock<TokioRuntimeProvider> =
            std::sync::LazyLock::new(TokioRuntimeProvider::default);
        &PROVIDER
    }
}

impl DnsHandle for Canned {
    type Response = Once<Ready<Result<DnsResponse, NetError>>>;
    type Runtime = TokioRuntimeProvider;

    fn send(&self, request: DnsRequest) -> Self::Response {
        let mut octets = self.0.to_vec();
        for (octet, number) in octets.iter_mut().zip(request.metadata.id.to_be_bytes()) {
            *octet = number;
        }
        once(ready(DnsResponse::from_buffer(octets).map_err(NetError::from)))
    }
}
