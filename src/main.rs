//! The program: mppd with the engines that come with it.

use std::process::ExitCode;

fn main() -> ExitCode {
    mppd::Program::new().engines(mppd_engines::ENGINES).main()
}
