//! Tells the program by which compiler it was built.

use std::process::Command;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=MPPD_COMMIT");
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let said = Command::new(compiler).arg("--version").output();
    let said = said.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
    // "rustc 1.95.0 (…)"
    let version = said.as_deref().unwrap_or_default().split(' ').nth(1).unwrap_or("unknown");
    println!("cargo:rustc-env=MPPD_RUSTC={version}");
}
