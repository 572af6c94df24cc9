//! The command line.

pub mod track;
