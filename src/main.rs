//! The mppd program.

fn main() {}
