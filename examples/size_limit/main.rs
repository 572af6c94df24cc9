//! mppd with one engine more than it comes with.
//!
//! `cargo run --example size_limit -- --config examples/size_limit/mppd.conf.xml`

mod engine;

use std::process::ExitCode;

use engine::SizeLimit;
use mppd::Program;
use mppd_engine::kind;

fn main() -> ExitCode {
    Program::new().engines(mppd_engines::ENGINES).engines(&[kind::<SizeLimit>()]).main()
}
