//! A worker takes the place of one that is stuck, and others answer what it was asked.

use std::sync::Arc;

use actix::{ActorFutureExt, AtomicResponse, Context, Handler, WrapFuture};
use actix_rt::Arbiter;
use mppd_engine::Exception;
use mppd_engine::slog::{crit, error};

use super::crew::raise_worker;
use super::watchdog::{GiveUp, MOST_STUCK, Post};
use super::worker::Adopt;
use super::{MOST_PATIENCE, StartError, State, Supervisor};
use crate::seat::Taken;

impl Handler<GiveUp> for Supervisor {
    type Result = AtomicResponse<Self, ()>;

    fn handle(&mut self, held_up: GiveUp, _: &mut Context<Self>) -> Self::Result {
        let state = self.state.clone();
        let give_up = async move { state.lock().await.give_up(held_up).await };
        AtomicResponse::new(Box::pin(give_up.into_actor(self).map(|(), _, _| ())))
    }
}

/// Why no other worker takes the place of one that is stuck.
#[derive(Debug, thiserror::Error)]
enum ReplaceError {
    #[error("{MOST_STUCK} threads are stuck already; restart mppd")]
    TooMany,
    #[error(transparent)]
    Start(#[from] StartError),
}

impl State {
    /// Puts another worker in the place of one that is stuck, and has its requests answered.
    async fn give_up(&mut self, GiveUp { number, held_up_by }: GiveUp) {
        let Some(post) = self.posts.current(number).filter(|_| self.posts.is_held_up(number))
        else {
            return;
        };
        let by = held_up_by.as_deref().unwrap_or("mppd");
        match self.replace(number).await {
            Ok(()) => error!(self.logger, "a worker that is held up has been replaced";
                "worker" => number, "by" => by, "stuck_threads" => self.posts.stuck()),
            Err(error) => crit!(self.logger, "a worker that is held up can't be replaced";
                "worker" => number, "by" => by, "reason" => %error,
                "stuck_threads" => self.posts.stuck()),
        }
        let able = (number..self.workers.len()).chain(0..number);
        let heir = able.into_iter().find(|number| !self.posts.is_held_up(*number));
        let mut orphans = Vec::new();
        for taken in post.seats.take_all() {
            match taken {
                Taken::Connection(connection, counted) => {
                    let heir = heir.unwrap_or(number);
                    self.intake.workers[heir].admit(connection, counted);
                }
                Taken::Request(orphan) => orphans.push(orphan),
                Taken::Line(line) => line.end(),
                Taken::Nothing => {}
            }
        }
        let message = "the engine blocks its thread".to_owned();
        let exception = Exception { engine: held_up_by, kind: "timeout", message };
        match heir {
            Some(heir) => self.workers[heir].do_send(Adopt { orphans, exception }),
            // Postfix asks again, and then does what it does without an answer.
            None => orphans.iter().for_each(|orphan| orphan.line.end()),
        }
    }

    async fn replace(&mut self, number: usize) -> Result<(), ReplaceError> {
        if self.posts.stuck() >= MOST_STUCK {
            return Err(ReplaceError::TooMany);
        }
        let (arbiter, post) = (Arbiter::new(), Arc::<Post>::default());
        let raised = raise_worker(&arbiter, &self.installation, &self.shared, &post, number);
        let raised = tokio::time::timeout(MOST_PATIENCE, raised).await;
        let worker = raised.map_err(|_| StartError::HeldUp(number))??;
        self.posts.man(number, post.clone(), arbiter.handle());
        self.intake.workers[number].replace(worker.clone().recipient(), post.seats.clone());
        self.workers[number] = worker;
        self.arbiters.push(arbiter);
        Ok(())
    }
}
