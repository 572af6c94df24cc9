//! Whether a service can be reached: a connection and, for `https://`, its encryption. Nothing is
//! asked, since what a service makes of a question only its owner knows.

use std::sync::Arc;
use std::time::Duration;

use mppd_engine::Unreached;
use reqwest::Url;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// Connects to the host of an origin; what was reached.
///
/// # Errors
/// Why it is out of reach.
pub(super) async fn reach(
    origin: &str,
    tls: &ClientConfig,
    limit: Duration,
) -> Result<String, Unreached> {
    let url = Url::parse(origin).map_err(|error| Unreached::new(error.to_string()))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']).to_owned();
    let port = url.port_or_known_default().unwrap_or_default();
    let late = |_| Unreached::new(format!("no connection within {limit:?}"));
    let connecting = connect(host, port, (url.scheme() == "https").then(|| Arc::new(tls.clone())));
    tokio::time::timeout(limit, connecting).await.map_err(late)?
}

async fn connect(
    host: String,
    port: u16,
    tls: Option<Arc<ClientConfig>>,
) -> Result<String, Unreached> {
    let stream =
        TcpStream::connect((host.as_str(), port)).await.map_err(Unreached::no_connection)?;
    let Some(tls) = tls else { return Ok("takes connections".to_owned()) };
    let name = ServerName::try_from(host).map_err(|error| Unreached::new(error.to_string()))?;
    let refused = |error: std::io::Error| {
        let help = "see to the service's certificate, or to <tls>: ca_file names who is trusted";
        Unreached::new("no encryption").with_source(error).with_help(help)
    };
    TlsConnector::from(tls).connect(name, stream).await.map_err(refused)?;
    Ok("takes connections, and its certificate is trusted".to_owned())
}
