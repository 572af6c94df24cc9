//! The configuration: files, includes, layers, and what it all means.

pub mod connection;
pub mod settings;
