//! A worker: an arbiter with a complete copy of every chain, and the connections it was given.

use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, Context, Handler, Message};
use mppd_engine::slog::{error, warn};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};

use super::chain::RaiseError;
use super::installation::{Installation, Installed, Shared, WorkerState};
use crate::listener::{Connection, Counted, Peer, Room, Serve};
use crate::session;

/// The actor of one worker.
pub struct Worker {
    state: Rc<WorkerState>,
    /// Raised, but not yet in force.
    prepared: Option<Installed>,
}

impl Worker {
    /// Raises the first configuration on the current arbiter.
    ///
    /// # Errors
    /// The first engine that could not be started.
    pub fn new(installation: &Installation, shared: Arc<Shared>) -> Result<Self, RaiseError> {
        let installed = Installed::raise(installation, &shared.logger)?;
        Ok(Worker { state: Rc::new(WorkerState::new(installed, shared)), prepared: None })
    }
}

impl Actor for Worker {
    type Context = Context<Self>;
}

/// Raise a configuration beside the one in force.
pub struct Prepare(pub Arc<Installation>);

impl Message for Prepare {
    type Result = Result<(), RaiseError>;
}

impl Handler<Prepare> for Worker {
    type Result = Result<(), RaiseError>;

    fn handle(&mut self, Prepare(installation): Prepare, _: &mut Context<Self>) -> Self::Result {
        self.prepared = Some(Installed::raise(&installation, &self.state.shared.logger)?);
        Ok(())
    }
}

/// Put the prepared configuration in force, or drop it. Requests that are under way finish with
/// the engines that they began with.
pub struct Conclude {
    /// Whether every worker could prepare it.
    pub accept: bool,
}

impl Message for Conclude {
    type Result = ();
}

impl Handler<Conclude> for Worker {
    type Result = ();

    fn handle(&mut self, conclude: Conclude, _: &mut Context<Self>) {
        let Some(prepared) = self.prepared.take() else { return };
        if conclude.accept {
            self.state.install(prepared);
        }
    }
}

impl Handler<Serve> for Worker {
    type Result = ();

    fn handle(&mut self, Serve { connection, counted }: Serve, _: &mut Context<Self>) {
        let state = self.state.clone();
        let logger = state.shared.logger.clone();
        let served = actix_rt::spawn(async move {
            match connection {
                Connection::Inet(stream, peer) => match TcpStream::from_std(stream) {
                    Ok(stream) => serve(stream, peer, state, counted).await,
                    Err(error) => warn!(state.shared.logger, "connection lost"; "reason" => %error),
                },
                Connection::Unix(stream, peer) => match UnixStream::from_std(stream) {
                    Ok(stream) => serve(stream, peer, state, counted).await,
                    Err(error) => warn!(state.shared.logger, "connection lost"; "reason" => %error),
                },
            }
        });
        actix_rt::spawn(async move {
            // Engines' panics are caught around each run; this would be a defect of our own.
            if let Err(panic) = served.await {
                error!(logger, "a connection's task panicked"; "reason" => %panic);
            }
        });
    }
}

/// Serves a connection as far as there is room for it; counted to its end.
async fn serve<S>(stream: S, peer: Peer, state: Rc<WorkerState>, counted: Counted)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    match counted.room() {
        Room::Whole => session::serve(stream, peer, state).await,
        Room::OneAnswer => session::turn_away(stream, peer, state).await,
    }
}
