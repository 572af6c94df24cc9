//! Whether the server is there, and its tidying up.

use std::rc::Rc;
use std::sync::PoisonError;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use slog::{error, warn};

use super::office::{Condition, Office};
use super::{Held, Server, ServerError};
use crate::table::{Millis, millis};

/// How long a server is left alone that is away, at first and at most.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A server that is away again so soon was not really back.
const SOUND: Duration = Duration::from_secs(10);

/// How often it is said again that the server is away.
const REMINDED_EVERY: Duration = Duration::from_mins(1);

/// A key that no space has: what is put there shows that the server can be written.
const PROBE: &[u8] = b"probe";

/// How long that is kept.
const PROBE_KEPT: Millis = 60_000;

impl<S: Server> Office<S> {
    /// Finds out whether the server is there: at the start, and whenever it has been away.
    pub(super) async fn watch(self: Rc<Self>) {
        let mut condition = self.condition.subscribe();
        let mut pause = FIRST_PAUSE;
        let mut away_since: Option<Instant> = None;
        let mut said = Instant::now();
        loop {
            match self.probe().await {
                Ok(()) => {
                    if let Some(since) = away_since.take() {
                        warn!(self.logger, "the state store is back";
                            "away_seconds" => since.elapsed().as_secs_f32());
                    }
                    *self.absence.lock().unwrap_or_else(PoisonError::into_inner) = None;
                    self.condition.send_replace(Condition::Up);
                    let up = Instant::now();
                    let is_away = |known: &Condition| matches!(known, Condition::Away(_));
                    if condition.wait_for(is_away).await.is_err() {
                        return;
                    }
                    if up.elapsed() > SOUND {
                        pause = FIRST_PAUSE;
                    }
                    said = Instant::now();
                    away_since = Some(said);
                }
                Err(error) if away_since.is_none() => {
                    drop(self.note_away(&error.to_string()));
                    said = Instant::now();
                    away_since = Some(said);
                }
                Err(error) => {
                    if said.elapsed() >= REMINDED_EVERY {
                        said = Instant::now();
                        error!(self.logger, "the state store is still away"; "reason" => %error);
                    }
                    self.note_absence(&error.to_string());
                    self.condition.send_replace(Condition::Away(error.to_string().into()));
                }
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// Whether the server can be written, and not only be reached.
    async fn probe(&self) -> Result<(), ServerError> {
        let work = async {
            self.server.prepare().await?;
            let now = millis(Timestamp::now());
            let held = self.server.read(PROBE).await?;
            let octets = Vec::new();
            let new = Held { version: self.random(), until: now + PROBE_KEPT, octets };
            // Whether this or another node was faster, somebody has written.
            self.server.exchange(PROBE, held.as_ref(), Some(&new), now).await.map(drop)
        };
        let timeout = self.manners.timeout;
        let done = tokio::time::timeout(timeout, work).await;
        done.unwrap_or_else(|_| Err(ServerError::Away(format!("no answer within {timeout:?}"))))
    }

    /// Tends the server for ever, at times that differ from node to node.
    pub(super) async fn tend(self: Rc<Self>) {
        loop {
            let every = self.manners.tended_every;
            let share = u32::try_from(self.random() % 1_000).unwrap_or_default();
            tokio::time::sleep(every / 2 + every * share / 1_000).await;
            if !matches!(*self.condition.borrow(), Condition::Up) {
                continue;
            }
            if let Err(error) = self.server.tend().await {
                warn!(self.logger, "the state store could not be tidied up"; "reason" => %error);
            }
        }
    }
}
