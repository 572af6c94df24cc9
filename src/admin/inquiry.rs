//! Asking the supervisor's thread how the server is, from any other thread, and telling it to read
//! its configuration again.

use std::rc::Rc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;

use crate::control::{Desk, Refusal, Reloaded};
use crate::status::ServerStatus;

/// How long an answer about how the server is may take.
const PATIENCE: Duration = Duration::from_secs(2);

/// Questions that may wait.
const QUEUE: usize = 32;

enum Inquiry {
    Status(oneshot::Sender<ServerStatus>),
    Reload(oneshot::Sender<Reloaded>),
}

/// The supervisor's thread does not answer in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the server does not say how it is")]
pub struct Silence;

/// Where questions are put.
#[derive(Debug, Clone)]
pub struct Inquiries(mpsc::Sender<Inquiry>);

impl Inquiries {
    /// Has questions answered by a desk, on the current arbiter.
    #[must_use]
    pub fn answered_by<D: Desk>(desk: Rc<D>) -> Self {
        let (sender, inquiries) = mpsc::channel(QUEUE);
        actix_rt::spawn(answer_all(inquiries, desk));
        Inquiries(sender)
    }

    /// How the server is.
    ///
    /// # Errors
    /// There is no answer in time.
    pub async fn status(&self) -> Result<ServerStatus, Silence> {
        let (sender, answer) = oneshot::channel();
        let asked = async {
            self.0.send(Inquiry::Status(sender)).await.map_err(|_| Silence)?;
            answer.await.map_err(|_| Silence)
        };
        timeout(PATIENCE, asked).await.map_err(|_| Silence)?
    }

    /// Has the configuration read again, and waits for what becomes of it.
    ///
    /// # Errors
    /// Nothing has changed, and why.
    pub async fn reload(&self) -> Reloaded {
        let (sender, answer) = oneshot::channel();
        let is_ending = |()| {
            let report = "mppd is about to end".to_owned();
            Refusal { report, is_faulty: false }
        };
        self.0.send(Inquiry::Reload(sender)).await.map_err(|_| is_ending(()))?;
        answer.await.map_err(|_| is_ending(()))?
    }
}

async fn answer_all<D: Desk>(mut inquiries: mpsc::Receiver<Inquiry>, desk: Rc<D>) {
    while let Some(inquiry) = inquiries.recv().await {
        match inquiry {
            Inquiry::Status(sender) => {
                // Who does not wait any more needs no answer.
                let _gone = sender.send(desk.status().await);
            }
            Inquiry::Reload(sender) => {
                let desk = desk.clone();
                actix_rt::spawn(async move {
                    let _gone = sender.send(desk.reload(false).await);
                });
            }
        }
    }
}
