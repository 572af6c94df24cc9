//! A connection in the words of the client library.

use std::time::Duration;

use mysql_async::{OptsBuilder, SslOpts};

use crate::connection::{ResolvedConnection, Tls};
use crate::options::Secret;

impl ResolvedConnection {
    /// What the client library needs to connect; the caller adds how it uses the connection.
    #[must_use]
    pub fn opts(&self) -> OptsBuilder {
        let options = OptsBuilder::default()
            .user(Some(&self.user))
            .pass(self.password.as_ref().map(Secret::reveal))
            .db_name(Some(&self.database))
            .prefer_socket(false)
            .tcp_keepalive(Some(Duration::from_mins(1)))
            .ssl_opts(self.tls.as_ref().map(encryption));
        match (&self.unix_socket, &self.host) {
            (Some(path), _) => options.socket(path.to_str()),
            (None, host) => {
                options.ip_or_hostname(host.as_deref().unwrap_or("localhost")).tcp_port(self.port)
            }
        }
    }
}

fn encryption(tls: &Tls) -> SslOpts {
    let mut options = SslOpts::default();
    if let Some(file) = &tls.ca_file {
        options =
            options.with_root_certs(vec![file.clone().into()]).with_disable_built_in_roots(true);
    }
    options
        .with_danger_accept_invalid_certs(tls.skip_verification)
        .with_danger_skip_domain_validation(tls.skip_verification)
}
