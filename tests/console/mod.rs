//! The admin listener of the real binary, through HTTP.

mod access;
mod listener;
mod pages;
mod site;
