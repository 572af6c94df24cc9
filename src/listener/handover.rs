//! Sockets that whoever started mppd has opened for it, as systemd does (`sd_listen_fds(3)`). They
//! stay open while one mppd ends and the next one starts, and connections wait in them meanwhile.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::net::UnixListener;
use std::path::Path;

use listenfd::ListenFd;

use super::{Addresses, Endpoint, ListenPlan, Socket, SocketFile};

/// The sockets that were handed over. They stay here for as long as mppd runs, and copies of them
/// are listened on: a `<listen>` that one reload takes away another one can bring back.
#[derive(Debug, Default)]
pub struct HandedOver {
    inet: Vec<(SocketAddr, TcpListener)>,
    unix: Vec<(std::path::PathBuf, UnixListener)>,
    /// What is wrong with those that nobody can listen on.
    faulty: Vec<String>,
}

impl HandedOver {
    /// Takes the sockets that the environment tells of; they are nobody else's from now on.
    #[must_use]
    pub fn from_environment() -> Self {
        let mut handed_over = HandedOver::default();
        let mut descriptors = ListenFd::from_env();
        for number in 0..descriptors.len() {
            if let Err(error) = handed_over.take(&mut descriptors, number) {
                handed_over.faulty.push(format!("number {}: {error}", number + 1));
            }
        }
        handed_over
    }

    fn take(&mut self, descriptors: &mut ListenFd, number: usize) -> io::Result<()> {
        if let Ok(Some(socket)) = descriptors.take_tcp_listener(number) {
            socket.set_nonblocking(true)?;
            self.inet.push((socket.local_addr()?, socket));
            return Ok(());
        }
        let Some(socket) = descriptors.take_unix_listener(number)? else { return Ok(()) };
        socket.set_nonblocking(true)?;
        let address = socket.local_addr()?;
        let path = address.as_pathname().ok_or_else(|| io::Error::other("it has no path"))?;
        self.unix.push((path.to_owned(), socket));
        Ok(())
    }

    /// The one at this address.
    pub(super) fn at_address(&self, address: SocketAddr) -> io::Result<Option<Socket>> {
        let found = self.inet.iter().find(|(known, _)| *known == address);
        found.map(|(_, socket)| socket.try_clone().map(Socket::Inet)).transpose()
    }

    /// The one with this file. Its owner and mode are left as they are, and it is not removed.
    pub(super) fn at_path(&self, path: &Path) -> io::Result<Option<Socket>> {
        let found = self.unix.iter().find(|(known, _)| known == path);
        let copy = |socket: &UnixListener| {
            Ok(Socket::Unix(socket.try_clone()?, SocketFile::of_somebody_else(path)))
        };
        found.map(|(_, socket)| copy(socket)).transpose()
    }

    /// Whether the file of this socket belongs to whoever handed it over.
    #[must_use]
    pub fn has_file(&self, path: &Path) -> bool {
        self.unix.iter().any(|(known, _)| known == path)
    }

    /// Those that no plan wants, in words: connections to them would wait for ever.
    #[must_use]
    pub fn unwanted(&self, plans: &[ListenPlan], addresses: &Addresses) -> Vec<String> {
        let endpoints = || plans.iter().map(|plan| &plan.endpoint);
        let is_wanted_inet = |address: &SocketAddr| {
            endpoints().any(|endpoint| {
                addresses.of(endpoint).is_ok_and(|addresses| addresses.contains(address))
            })
        };
        let is_wanted_unix = |path: &Path| {
            endpoints().any(|endpoint| matches!(endpoint, Endpoint::Unix(known) if known == path))
        };
        let inet = self.inet.iter().filter(|(address, _)| !is_wanted_inet(address));
        let unix = self.unix.iter().filter(|(path, _)| !is_wanted_unix(path));
        inet.map(|(address, _)| format!("inet:{address}"))
            .chain(unix.map(|(path, _)| format!("unix:{}", path.display())))
            .chain(self.faulty.iter().cloned())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_handed_over_is_found_by_its_address_and_told_where_nobody_wants_it() {
        let open = || TcpListener::bind("127.0.0.1:0").unwrap();
        let (wanted, unwanted) = (open(), open());
        let (wanted_at, unwanted_at) =
            (wanted.local_addr().unwrap(), unwanted.local_addr().unwrap());
        let inet = vec![(wanted_at, wanted), (unwanted_at, unwanted)];
        let handed_over = HandedOver { inet, ..HandedOver::default() };
        assert!(handed_over.at_address(wanted_at).unwrap().is_some());
        assert!(handed_over.at_address("127.0.0.1:1".parse().unwrap()).unwrap().is_none());
        let plans = [ListenPlan {
            endpoint: format!("inet:{wanted_at}").parse().unwrap(),
            permissions: super::super::Permissions::default(),
        }];
        assert_eq!(
            handed_over.unwanted(&plans, &Addresses::find(&plans)),
            [format!("inet:{unwanted_at}")]
        );
    }
}
