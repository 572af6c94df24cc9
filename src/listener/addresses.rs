//! What host names in `<listen>` stand for. To find out may take as long as name servers please, so
//! it is done before sockets are opened, away from threads that others wait for.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;

use super::{Endpoint, ListenPlan};

/// The addresses of endpoints.
#[derive(Debug, Default)]
pub struct Addresses(HashMap<Endpoint, io::Result<Vec<SocketAddr>>>);

impl Addresses {
    /// Asks for those of all plans, and waits for the answers.
    #[must_use]
    pub fn find(plans: &[ListenPlan]) -> Self {
        let endpoints = plans.iter().map(|plan| plan.endpoint.clone());
        Addresses(endpoints.map(|endpoint| (endpoint.clone(), endpoint.addresses())).collect())
    }

    /// Those of one endpoint; none where nobody has asked.
    ///
    /// # Errors
    /// The name could not be resolved.
    pub fn of(&self, endpoint: &Endpoint) -> io::Result<&[SocketAddr]> {
        match self.0.get(endpoint) {
            Some(Ok(addresses)) => Ok(addresses),
            Some(Err(error)) => Err(io::Error::new(error.kind(), error.to_string())),
            None => Ok(&[]),
        }
    }
}
