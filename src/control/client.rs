//! The end of the control socket at which `mppd status` and `mppd reload` ask.

use std::io::{self, BufRead as _, BufReader, Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{Answer, Question, path};

/// The longest answer that is read.
const LONGEST: u64 = 16 << 20;

/// How long a question may take to be taken.
const PATIENCE: Duration = Duration::from_secs(10);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// Nobody is there.
    #[error("no mppd runs with the state directory {}", .0.display())]
    NotRunning(PathBuf),
    /// Somebody is there, and this user is not heard.
    #[error("only root and the user that mppd runs as may ask at {}", .0.display())]
    NotAllowed(PathBuf),
    /// The talk broke off.
    #[error("mppd does not answer at {}: {source}", path.display())]
    Io {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// What came is no answer.
    #[error("what answers at {} is not this version of mppd: {source}", path.display())]
    Answer {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: serde_json::Error,
    },
}

/// Asks the server that uses this state directory, and waits for its answer: for that to a reload
/// as long as it takes.
///
/// # Errors
/// Why there is no answer.
pub fn ask(state_directory: &Path, question: Question) -> Result<Answer, ControlError> {
    let path = path(state_directory);
    let failed = |source| ControlError::Io { path: path.clone(), source };
    let mut stream = UnixStream::connect(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => {
            ControlError::NotRunning(state_directory.to_owned())
        }
        io::ErrorKind::PermissionDenied => ControlError::NotAllowed(path.clone()),
        _ => failed(error),
    })?;
    stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
    if question == Question::Status {
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
    }
    let line = serde_json::to_string(&question).map_err(|error| failed(error.into()))?;
    stream.write_all(format!("{line}\n").as_bytes()).map_err(failed)?;
    let mut answer = String::new();
    BufReader::new(stream.take(LONGEST)).read_line(&mut answer).map_err(failed)?;
    if answer.is_empty() {
        return Err(ControlError::NotAllowed(path));
    }
    serde_json::from_str(&answer).map_err(|source| ControlError::Answer { path, source })
}
