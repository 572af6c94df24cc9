//! The server's end of the control socket.

use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use actix_rt::task::JoinHandle;
use mppd_engine::slog::{Logger, debug, info, warn};
use nix::unistd::Uid;
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::{Answer, Question, path};
use crate::listener::{
    Addresses, Endpoint, HandedOver, ListenError, ListenPlan, Permissions, Socket, SocketFile,
};
use crate::status::ServerStatus;

/// The longest question.
const LONGEST: u64 = 4_096;

/// How long a question may take to come, and an answer to be read.
const PATIENCE: Duration = Duration::from_secs(5);

/// Questions that are answered at once; one more waits.
const AT_ONCE: usize = 8;

/// Pause after an accept that failed.
const PAUSE_AFTER_ERROR: Duration = Duration::from_secs(1);

/// What became of a reload, with its report for people.
pub type Reloaded = Result<String, Refusal>;

/// Why a reload changed nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// For people.
    pub report: String,
    /// Whether the configuration is at fault, not what it asks for.
    pub is_faulty: bool,
}

/// Who knows the answers.
pub trait Desk: 'static {
    /// How the server is.
    fn status(&self) -> impl Future<Output = ServerStatus>;

    /// Reads the configuration again.
    fn reload(&self, color: bool) -> impl Future<Output = Reloaded>;
}

/// The socket, for as long as questions are answered.
#[derive(Debug)]
pub struct Control {
    directory: PathBuf,
    task: JoinHandle<()>,
}

impl Control {
    /// Opens the socket of a state directory, which is made where it is missing, and answers.
    ///
    /// # Errors
    /// Somebody else answers there, or it can't be opened.
    pub fn open<D: Desk>(
        state_directory: &Path,
        desk: Rc<D>,
        logger: Logger,
    ) -> Result<Self, ListenError> {
        let endpoint = Endpoint::Unix(path(state_directory));
        let failed = |source| ListenError::Io { endpoint: endpoint.clone(), source };
        crate::supervisor::state_directory::make(state_directory).map_err(failed)?;
        let permissions = Permissions { mode: Some(0o600), ..Permissions::default() };
        let plan = ListenPlan { endpoint: endpoint.clone(), permissions };
        let sockets = Socket::open(&plan, &Addresses::default(), &HandedOver::default())?;
        let Some(Socket::Unix(socket, file)) = sockets.into_iter().next() else {
            return Err(failed(std::io::Error::other("it is no socket file")));
        };
        let listener = UnixListener::from_std(socket).map_err(failed)?;
        let task = actix_rt::spawn(answer_all(listener, file, desk, logger));
        Ok(Control { directory: state_directory.to_owned(), task })
    }

    /// The state directory that it is in.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn answer_all<D: Desk>(
    listener: UnixListener,
    _file: SocketFile,
    desk: Rc<D>,
    logger: Logger,
) {
    let seats = Rc::new(Semaphore::new(AT_ONCE));
    loop {
        // Nobody closes the semaphore.
        let Ok(seat) = SemaphoreSeat::take(&seats).await else { return };
        match listener.accept().await {
            Ok((stream, _)) => {
                let (desk, logger) = (desk.clone(), logger.clone());
                actix_rt::spawn(async move {
                    let _seat = seat;
                    if let Err(error) = attend(stream, &*desk, &logger).await {
                        debug!(logger, "a question at the control socket came to nothing";
                            "reason" => %error);
                    }
                });
            }
            Err(error) => {
                warn!(logger, "can't accept at the control socket"; "reason" => %error);
                tokio::time::sleep(PAUSE_AFTER_ERROR).await;
            }
        }
    }
}

/// A place among those whose questions are answered at once.
struct SemaphoreSeat(Rc<Semaphore>);

impl SemaphoreSeat {
    async fn take(seats: &Rc<Semaphore>) -> Result<Self, tokio::sync::AcquireError> {
        seats.acquire().await?.forget();
        Ok(SemaphoreSeat(seats.clone()))
    }
}

impl Drop for SemaphoreSeat {
    fn drop(&mut self) {
        self.0.add_permits(1);
    }
}

async fn attend<D: Desk>(
    mut stream: UnixStream,
    desk: &D,
    logger: &Logger,
) -> Result<(), std::io::Error> {
    let user = stream.peer_cred()?.uid();
    if user != 0 && user != Uid::effective().as_raw() {
        warn!(logger, "turned away at the control socket"; "uid" => user);
        return Ok(());
    }
    let mut line = String::new();
    let mut reader = BufReader::new((&mut stream).take(LONGEST));
    timeout(PATIENCE, reader.read_line(&mut line)).await??;
    let answer = match serde_json::from_str(&line) {
        Ok(question) => answer(question, desk, logger, user).await,
        Err(error) => Answer::Failed { reason: format!("this is no question: {error}") },
    };
    let mut text = serde_json::to_string(&answer)?;
    text.push('\n');
    timeout(PATIENCE, stream.write_all(text.as_bytes())).await?
}

async fn answer<D: Desk>(question: Question, desk: &D, logger: &Logger, user: u32) -> Answer {
    match question {
        Question::Status => Answer::Status { status: Box::new(desk.status().await) },
        Question::Reload { color } => {
            info!(logger, "asked to reload"; "uid" => user);
            match desk.reload(color).await {
                Ok(report) => Answer::Reloaded { report },
                Err(Refusal { report, is_faulty }) => Answer::Refused { report, is_faulty },
            }
        }
    }
}
