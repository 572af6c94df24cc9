//! The configuration: files, includes, layers, and what it all means.

pub mod settings;
