//! Who answers for the server at the control socket, and to the console.

use std::rc::Rc;

use actix::Addr;

use super::board::Board;
use super::{Reload, ReloadError, Reloaded, Supervisor};
use crate::config::report::{Look, render};
use crate::control::{self, Desk, Refusal};
use crate::status::ServerStatus;

/// Who answers at the control socket.
pub(super) struct FrontDesk {
    pub(super) supervisor: Addr<Supervisor>,
    pub(super) board: Rc<Board>,
}

impl Desk for FrontDesk {
    async fn status(&self) -> ServerStatus {
        self.board.status()
    }

    async fn reload(&self, color: bool) -> control::Reloaded {
        let look = Look { color, ..Look::default() };
        match self.supervisor.send(Reload).await {
            Ok(Ok(Reloaded { sources, warnings })) => Ok(render(&sources, &warnings, look)),
            Ok(Err(ReloadError::Rejected(rejected))) => {
                let report = render(&rejected.sources, &rejected.findings, look);
                Err(Refusal { report, is_faulty: true })
            }
            Ok(Err(error)) => Err(Refusal { report: error.to_string(), is_faulty: false }),
            Err(_) => {
                let report = "mppd is about to end".to_owned();
                Err(Refusal { report, is_faulty: false })
            }
        }
    }
}
