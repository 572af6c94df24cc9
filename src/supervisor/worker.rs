//! A worker: an arbiter with a complete copy of every chain, and the connections it was given.

use std::rc::Rc;
use std::sync::Arc;

use actix::{Actor, AsyncContext as _, Context, Handler, Message};
use mppd_engine::Exception;
use mppd_engine::slog::{error, warn};

use super::chain::RaiseError;
use super::installation::{Installation, Installed, Shared, WorkerState};
use super::watchdog::{BEAT, Post};
use crate::listener::{Room, Serve};
use crate::seat::Orphan;
use crate::session;

/// The actor of one worker.
pub struct Worker {
    state: Rc<WorkerState>,
    post: Arc<Post>,
    /// Raised, but not yet in force.
    prepared: Option<Installed>,
}

impl Worker {
    /// Raises the first configuration on the current arbiter.
    ///
    /// # Errors
    /// The first engine that could not be started.
    pub fn new(
        installation: &Installation,
        shared: Arc<Shared>,
        post: Arc<Post>,
    ) -> Result<Self, RaiseError> {
        let installed = Installed::raise(installation, &shared.logger, &post)?;
        Ok(Worker { state: Rc::new(WorkerState::new(installed, shared)), post, prepared: None })
    }
}

impl Actor for Worker {
    type Context = Context<Self>;

    fn started(&mut self, cx: &mut Context<Self>) {
        cx.run_interval(BEAT, |worker, _| worker.post.beat());
    }
}

/// Raise a configuration beside the one in force.
pub struct Prepare(pub Arc<Installation>);

impl Message for Prepare {
    type Result = Result<(), RaiseError>;
}

impl Handler<Prepare> for Worker {
    type Result = Result<(), RaiseError>;

    fn handle(&mut self, Prepare(installation): Prepare, _: &mut Context<Self>) -> Self::Result {
        self.prepared =
            Some(Installed::raise(&installation, &self.state.shared.logger, &self.post)?);
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

/// Answer when everything is concluded that was sent before.
pub struct Concluded;

impl Message for Concluded {
    type Result = ();
}

impl Handler<Concluded> for Worker {
    type Result = ();

    fn handle(&mut self, _: Concluded, _: &mut Context<Self>) {}
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

    fn handle(&mut self, Serve { seated }: Serve, _: &mut Context<Self>) {
        let state = self.state.clone();
        let logger = state.shared.logger.clone();
        let served = actix_rt::spawn(async move {
            match seated.seat().serve() {
                Ok(Some((stream, peer, Room::Whole))) => {
                    session::serve(stream, peer, state, seated.seat().clone()).await;
                }
                Ok(Some((stream, peer, Room::OneAnswer))) => {
                    session::turn_away(stream, peer, state).await;
                }
                Ok(None) => {}
                Err(error) => warn!(state.shared.logger, "connection lost"; "reason" => %error),
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

/// Answer requests whose own worker can't.
pub struct Adopt {
    /// The requests.
    pub orphans: Vec<Orphan>,
    /// What is the matter.
    pub exception: Exception,
}

impl Message for Adopt {
    type Result = ();
}

impl Handler<Adopt> for Worker {
    type Result = ();

    fn handle(&mut self, Adopt { orphans, exception }: Adopt, _: &mut Context<Self>) {
        for orphan in orphans {
            let (state, exception) = (self.state.clone(), exception.clone());
            actix_rt::spawn(async move { session::answer_orphan(&state, orphan, exception).await });
        }
    }
}
