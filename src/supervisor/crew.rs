//! The workers of a server that starts, each on a thread of its own.

use std::sync::Arc;

use actix::{Actor, Addr};
use actix_rt::Arbiter;
use tokio::sync::oneshot;

use super::StartError;
use super::installation::{Installation, Shared};
use super::watchdog::{Post, Posts};
use super::worker::Worker;
use crate::listener::WorkerSlot;
use crate::plan::Plan;
use crate::seat::Seats;

/// The workers of a server that starts.
#[derive(Default)]
pub(super) struct Crew {
    pub(super) workers: Vec<(Addr<Worker>, Arc<Seats>)>,
    pub(super) arbiters: Vec<Arbiter>,
    pub(super) posts: Arc<Posts>,
}

impl Crew {
    /// Raises every worker.
    pub(super) async fn raise(
        plan: &Plan,
        installation: &Arc<Installation>,
        shared: &Arc<Shared>,
    ) -> Result<Self, StartError> {
        let mut crew = Crew::default();
        for number in 0..plan.workers() {
            let arbiter = Arbiter::new();
            let post = Arc::<Post>::default();
            let raised = raise_worker(&arbiter, installation, shared, &post, number);
            crew.workers.push((raised.await?, post.seats.clone()));
            crew.posts.man(number, post, arbiter.handle());
            crew.arbiters.push(arbiter);
        }
        Ok(crew)
    }

    /// Where connections are handed to them.
    pub(super) fn slots(&self) -> Vec<WorkerSlot> {
        let slot = |(worker, seats): &(Addr<Worker>, Arc<Seats>)| {
            WorkerSlot::new(worker.clone().recipient(), seats.clone())
        };
        self.workers.iter().map(slot).collect()
    }
}

/// Raises one worker on the thread of its arbiter.
pub(super) async fn raise_worker(
    arbiter: &Arbiter,
    installation: &Arc<Installation>,
    shared: &Arc<Shared>,
    post: &Arc<Post>,
    number: usize,
) -> Result<Addr<Worker>, StartError> {
    let (sender, raised) = oneshot::channel();
    let (installation, shared, post) = (installation.clone(), shared.clone(), post.clone());
    arbiter.spawn_fn(move || {
        let worker = Worker::new(&installation, shared, post).map(Actor::start);
        // The starter waits; if it is gone, so is the server.
        let _gone = sender.send(worker);
    });
    let worker = raised.await.map_err(|_| StartError::Worker(number))?;
    Ok(worker?)
}
