//! The configuration: files, includes, layers, and what it all means.
//!
//! ```text
//! files ─► xml ─► include ─► merge ─► layers ─► settings ─► connections
//! read     a tree  file=,     one      the        typed       option
//! once     with    xpath=     <common> environment options    files,
//!          places             …        and --set               secrets
//! ```
//!
//! [`load`](load::load) goes all the way; [`report`] shows people what it found wrong.

pub mod admin_settings;
mod files;
mod include;
mod layers;
pub mod limits;
pub mod load;
mod merge;
mod redact;
pub mod report;
pub mod settings;
pub mod traces_settings;
pub mod xml;
mod xpath;

pub use files::{ConfigurationFile, EmbeddedFile};
pub use load::{Configuration, Draft, LoadRequest, Rejected, draft, load, load_within};
pub use merge::engine_id;

#[cfg(test)]
mod tests;
