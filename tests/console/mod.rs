//! The admin listener of the real binary, through HTTP.

mod listener;
