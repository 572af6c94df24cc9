//! The HTTP client of one worker.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use mppd_engine::Unreached;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::HeaderMap;
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Method, Response, StatusCode, Url};
use rustls::ClientConfig;

use super::reach::reach;

/// What the client is told to do.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) tls: ClientConfig,
    /// How many redirections are followed.
    pub(super) redirects: usize,
    pub(super) resolve: Duration,
    pub(super) connect: Duration,
    pub(super) total: Duration,
    /// Octets of a body.
    pub(super) response: usize,
    /// For how long an unused connection is kept.
    pub(super) idle: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(super) enum AskError {
    #[error("the client can't be made")]
    Client(#[source] reqwest::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    #[error("the service gave no answer")]
    Request(#[source] reqwest::Error),
    #[error("the answer is longer than {0} octets")]
    TooLong(usize),
}

/// What came back.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) code: StatusCode,
    pub(super) body: Vec<u8>,
}

/// The client of one worker. A clone is another worker's: connections belong to the runtime on
/// which they were opened, so it starts without any.
#[derive(Debug)]
pub(super) struct Client {
    settings: Arc<Settings>,
    client: OnceLock<reqwest::Client>,
}

impl Clone for Client {
    fn clone(&self) -> Self {
        Client { settings: self.settings.clone(), client: OnceLock::new() }
    }
}

impl Client {
    pub(super) fn new(settings: Settings) -> Self {
        Client { settings: Arc::new(settings), client: OnceLock::new() }
    }

    /// Whether the client can be made.
    pub(super) fn check(&self) -> Result<(), AskError> {
        make(&self.settings).map(drop)
    }

    /// Whether the host of an origin can be reached.
    pub(super) async fn reach(&self, origin: &str) -> Result<String, Unreached> {
        reach(origin, &self.settings.tls, self.settings.connect).await
    }

    pub(super) async fn ask(
        &self,
        method: Method,
        uri: Url,
        headers: HeaderMap,
        body: Option<Vec<u8>>,
    ) -> Result<Answer, AskError> {
        let mut request = self.client()?.request(method, uri).headers(headers);
        if let Some(body) = body {
            request = request.body(body);
        }
        let response = request.send().await.map_err(|error| self.failure(error))?;
        let code = response.status();
        let body = self.read(response).await?;
        Ok(Answer { code, body })
    }

    fn client(&self) -> Result<&reqwest::Client, AskError> {
        if let Some(client) = self.client.get() {
            return Ok(client);
        }
        let client = make(&self.settings)?;
        Ok(self.client.get_or_init(|| client))
    }

    async fn read(&self, mut response: Response) -> Result<Vec<u8>, AskError> {
        let most = self.settings.response;
        let mut body = Vec::new();
        while let Some(piece) = response.chunk().await.map_err(|error| self.failure(error))? {
            if body.len() + piece.len() > most {
                return Err(AskError::TooLong(most));
            }
            body.extend_from_slice(&piece);
        }
        Ok(body)
    }

    // The URI may hold what is not meant for the log.
    fn failure(&self, error: reqwest::Error) -> AskError {
        if error.is_timeout() && !error.is_connect() {
            return AskError::Timeout(self.settings.total);
        }
        AskError::Request(error.without_url())
    }
}

fn make(settings: &Settings) -> Result<reqwest::Client, AskError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(settings.tls.clone())
        .http1_only()
        .no_proxy()
        .referer(false)
        .redirect(redirections(settings.redirects))
        .dns_resolver(Resolver { limit: settings.resolve })
        .connect_timeout(settings.connect)
        .timeout(settings.total)
        .pool_idle_timeout(settings.idle)
        .user_agent(concat!("mppd/", env!("CARGO_PKG_VERSION")))
        .build()
        .map_err(AskError::Client)
}

/// Follows so many, and none that leads to another server.
fn redirections(most: usize) -> Policy {
    if most == 0 {
        return Policy::none();
    }
    Policy::custom(move |attempt: Attempt<'_>| {
        let origin = attempt.previous().first().map(Url::origin);
        let stays = origin.is_some_and(|origin| origin == attempt.url().origin());
        if stays && attempt.previous().len() <= most { attempt.follow() } else { attempt.stop() }
    })
}

/// The system's resolver, with a limit on time.
struct Resolver {
    limit: Duration,
}

#[derive(Debug, thiserror::Error)]
#[error("no address within {0:?}")]
struct ResolveTimeout(Duration);

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let limit = self.limit;
        Box::pin(async move {
            let found = tokio::time::timeout(limit, tokio::net::lookup_host((name.as_str(), 0)));
            let found = found.await.map_err(|_| ResolveTimeout(limit))??;
            let addresses: Vec<SocketAddr> = found.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}
