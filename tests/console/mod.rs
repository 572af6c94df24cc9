//! The admin listener of the real binary, through HTTP and in a browser.

mod access;
mod driven;
mod listener;
mod pages;
mod site;
