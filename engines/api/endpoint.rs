//! Where to listen, or to connect: `inet:HOST:PORT`, `inet:PORT`, `unix:PATH`.

use std::fmt;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::num::NonZeroU16;
use std::path::PathBuf;
use std::str::FromStr;

/// An endpoint as Postfix writes it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// A TCP port.
    Inet {
        /// Name or address, without brackets.
        host: String,
        /// The port.
        port: u16,
    },
    /// A socket file.
    Unix(PathBuf),
}

/// Why a text is no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// Neither `inet:` nor `unix:` in front.
    #[error("\"{0}\" is no endpoint")]
    Form(String),
    /// No port, or one out of range.
    #[error("\"{0}\" is not a port (1 to 65535)")]
    Port(String),
    /// No host.
    #[error("the host is missing")]
    Host,
    /// No path.
    #[error("the path is missing")]
    Path,
}

/// What an endpoint looks like, for error reports.
pub const FORMS: &str = "inet:HOST:PORT, inet:[::1]:PORT, inet:PORT, or unix:PATH";

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let (scheme, rest) =
            text.split_once(':').ok_or_else(|| EndpointError::Form(text.to_owned()))?;
        match scheme {
            "inet" => inet(rest),
            "unix" | "local" if rest.is_empty() => Err(EndpointError::Path),
            "unix" | "local" => Ok(Endpoint::Unix(PathBuf::from(rest))),
            _ => Err(EndpointError::Form(text.to_owned())),
        }
    }
}

fn inet(text: &str) -> Result<Endpoint, EndpointError> {
    let (host, port) = text.rsplit_once(':').unwrap_or(("localhost", text));
    let port: NonZeroU16 = port.parse().map_err(|_| EndpointError::Port(port.to_owned()))?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address,
        None if host.contains(':') => return Err(EndpointError::Form(format!("inet:{text}"))),
        None => host,
    };
    if host.is_empty() {
        return Err(EndpointError::Host);
    }
    Ok(Endpoint::Inet { host: host.to_owned(), port: port.get() })
}

impl Endpoint {
    /// The addresses that a host stands for; empty for a socket file.
    ///
    /// # Errors
    /// When the name can't be resolved.
    pub fn addresses(&self) -> std::io::Result<Vec<SocketAddr>> {
        match self {
            Endpoint::Inet { host, port } => match host.parse::<IpAddr>() {
                Ok(address) => Ok(vec![SocketAddr::new(address, *port)]),
                Err(_) => Ok((host.as_str(), *port).to_socket_addrs()?.collect()),
            },
            Endpoint::Unix(_) => Ok(Vec::new()),
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Inet { host, port } if host.contains(':') => {
                write!(f, "inet:[{host}]:{port}")
            }
            Endpoint::Inet { host, port } => write!(f, "inet:{host}:{port}"),
            Endpoint::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_shown_as_written() {
        for text in ["inet:127.0.0.1:10040", "inet:[::1]:10040", "unix:/run/mppd/policy"] {
            assert_eq!(text.parse::<Endpoint>().unwrap().to_string(), text);
        }
        let local = Endpoint::Inet { host: "localhost".into(), port: 10040 };
        assert_eq!("inet:10040".parse(), Ok(local));
    }

    #[test]
    fn what_is_no_endpoint_is_refused() {
        assert_eq!("10040".parse::<Endpoint>(), Err(EndpointError::Form("10040".into())));
        assert_eq!("tcp:1:2".parse::<Endpoint>(), Err(EndpointError::Form("tcp:1:2".into())));
        assert_eq!("inet:host:x".parse::<Endpoint>(), Err(EndpointError::Port("x".into())));
        assert_eq!("inet:h:0".parse::<Endpoint>(), Err(EndpointError::Port("0".into())));
        assert_eq!("inet:h:70000".parse::<Endpoint>(), Err(EndpointError::Port("70000".into())));
        assert_eq!("inet::25".parse::<Endpoint>(), Err(EndpointError::Host));
        assert_eq!(
            "inet:::1:25".parse::<Endpoint>(),
            Err(EndpointError::Form("inet:::1:25".into()))
        );
        assert_eq!("unix:".parse::<Endpoint>(), Err(EndpointError::Path));
    }
}
