//! Opening sockets. A socket file gets its owner and mode before anybody can connect to it, a
//! stale one is replaced, and one that answers is left alone.

use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use nix::unistd::{Gid, Group, Uid, User};
use socket2::{Domain, SockAddr, Type};

use super::{ListenError, Socket};
use crate::listener::Endpoint;

/// Connections that may wait to be accepted; the system caps it.
const BACKLOG: i32 = 4_096;

/// Whose a socket file is, and who may connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Permissions {
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub owner: Option<Uid>,
    /// Group.
    pub group: Option<Gid>,
}

/// A user by name or number.
///
/// # Errors
/// When there is none of that name.
pub fn find_user(name: &str) -> Result<Uid, String> {
    if let Ok(number) = name.parse() {
        return Ok(Uid::from_raw(number));
    }
    match User::from_name(name) {
        Ok(Some(user)) => Ok(user.uid),
        Ok(None) => Err(format!("there is no user \"{name}\"")),
        Err(error) => Err(format!("can't look up user \"{name}\": {error}")),
    }
}

/// A group by name or number.
///
/// # Errors
/// When there is none of that name.
pub fn find_group(name: &str) -> Result<Gid, String> {
    if let Ok(number) = name.parse() {
        return Ok(Gid::from_raw(number));
    }
    match Group::from_name(name) {
        Ok(Some(group)) => Ok(group.gid),
        Ok(None) => Err(format!("there is no group \"{name}\"")),
        Err(error) => Err(format!("can't look up group \"{name}\": {error}")),
    }
}

pub(super) fn open_inet(address: SocketAddr) -> io::Result<Socket> {
    let socket = socket2::Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        // So that an IPv4 socket can be opened beside it on the same port.
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    socket.set_nonblocking(true)?;
    Ok(Socket::Inet(socket.into()))
}

pub(super) fn open_unix(path: &Path, permissions: &Permissions) -> Result<Socket, ListenError> {
    remove_stale(path)?;
    let failed = |source| ListenError::Io { endpoint: Endpoint::Unix(path.to_owned()), source };
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).map_err(failed)?;
    socket.bind(&SockAddr::unix(path).map_err(failed)?).map_err(failed)?;
    let file = SocketFile::of(path).map_err(failed)?;
    // Until it listens nobody can connect, whatever the file's mode is.
    apply(path, permissions)?;
    socket.listen(BACKLOG).map_err(failed)?;
    socket.set_nonblocking(true).map_err(failed)?;
    Ok(Socket::Unix(socket.into(), file))
}

/// Removes a socket file that no server listens on any more.
fn remove_stale(path: &Path) -> Result<(), ListenError> {
    let failed = |source| ListenError::Io { endpoint: Endpoint::Unix(path.to_owned()), source };
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if !metadata.file_type().is_socket() {
        return Err(ListenError::NotASocket(path.to_owned()));
    }
    match std::os::unix::net::UnixStream::connect(path) {
        Ok(_) => Err(ListenError::Live(path.to_owned())),
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            std::fs::remove_file(path).map_err(failed)
        }
        Err(error) => Err(failed(error)),
    }
}

pub(super) fn apply(path: &Path, permissions: &Permissions) -> Result<(), ListenError> {
    let failed = |what, source| ListenError::Permissions { path: path.to_owned(), what, source };
    if permissions.owner.is_some() || permissions.group.is_some() {
        nix::unistd::chown(path, permissions.owner, permissions.group)
            .map_err(|error| failed("owner and group", error.into()))?;
    }
    if let Some(mode) = permissions.mode {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode))
            .map_err(|error| failed("mode", error))?;
    }
    Ok(())
}

/// A socket file. One of ours is removed when this is dropped, unless another one has taken its
/// name.
#[derive(Debug)]
pub struct SocketFile {
    path: PathBuf,
    /// None where it belongs to whoever handed the socket over.
    identity: Option<(u64, u64)>,
}

impl SocketFile {
    fn of(path: &Path) -> io::Result<Self> {
        Ok(SocketFile { path: path.to_owned(), identity: Some(identity(path)?) })
    }

    /// That of a socket which somebody else has opened.
    pub(super) fn of_somebody_else(path: &Path) -> Self {
        SocketFile { path: path.to_owned(), identity: None }
    }

    /// Its name.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let Some(ours) = self.identity else { return };
        if identity(&self.path).is_ok_and(|identity| identity == ours) {
            // A file that can't be removed is replaced as stale at the next start.
            let _left_behind = std::fs::remove_file(&self.path);
        }
    }
}
