//! The control socket: `control.sock` in the state directory, at which `mppd status` and
//! `mppd reload` ask the server that runs. One line of JSON is a question, one line the answer.
//!
//! Only root and the user that the server runs as are heard. Nothing here is on the way of a
//! request: questions are answered on the supervisor's thread, few at a time, and each within
//! bounds.

pub mod client;
mod server;

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

pub use self::server::{Control, Desk, Refusal, Reloaded};
use crate::status::ServerStatus;

/// Name of the socket file.
const NAME: &str = "control.sock";

/// Where the control socket of a state directory is.
#[must_use]
pub fn path(state_directory: &Path) -> PathBuf {
    state_directory.join(NAME)
}

/// What the server can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Question {
    /// How it is.
    Status,
    /// To read its configuration again.
    Reload {
        /// Whether the report is for a terminal with colours.
        #[serde(default)]
        color: bool,
    },
}

/// What it answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// How it is.
    Status {
        /// All of it.
        status: Box<ServerStatus>,
    },
    /// The new configuration is in force.
    Reloaded {
        /// What is to be said about it, for people; empty if nothing is.
        report: String,
    },
    /// The old configuration stays in force.
    Refused {
        /// Why, for people.
        report: String,
        /// Whether the configuration is at fault, not what it asks for.
        is_faulty: bool,
    },
    /// The question can't be understood, or not be answered.
    Failed {
        /// Why.
        reason: String,
    },
}
