//! What is packaged with mppd: units of systemd that it understands, and that leave mppd little to
//! do harm with.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

const UNITS: [&str; 2] = ["mppd.service", "mppd.socket"];

/// What `systemd-analyze security` calls "OK" begins here; less is better.
const MOST_EXPOSED: f64 = 2.0;

fn unit(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd").join(name)
}

fn analyze(arguments: &[&str], units: &[PathBuf]) -> (Output, String) {
    let output = Command::new("systemd-analyze").args(arguments).args(units).output();
    let output = output.expect("systemd-analyze is not installed; on Debian: apt install systemd");
    let said = [output.stdout.as_slice(), &output.stderr].concat();
    (output, String::from_utf8(said).unwrap())
}

#[test]
fn systemd_understands_the_units() {
    let directory = tempfile::tempdir().unwrap();
    let units = UNITS.map(|name| {
        let text = std::fs::read_to_string(unit(name)).unwrap();
        let path = directory.path().join(name);
        let text = text.replace("/usr/bin/mppd", env!("CARGO_BIN_EXE_mppd"));
        std::fs::write(&path, text).unwrap();
        path
    });
    let (output, said) = analyze(&["verify"], &units);
    let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("mppd")).collect();
    assert!(output.status.success() && about_ours.is_empty(), "{said}");
}

#[test]
fn the_service_is_little_exposed() {
    let (_, said) = analyze(&["security", "--offline=true"], &[unit("mppd.service")]);
    let score = said.lines().last().and_then(|line| line.split_once(".service: "));
    let score: f64 = score.unwrap().1.split(' ').next().unwrap().parse().unwrap();
    assert!(score <= MOST_EXPOSED, "{said}");
}

#[test]
fn every_file_of_the_configuration_is_one_that_dpkg_keeps_when_it_was_changed() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let manifest = std::fs::read_to_string(root.join("Cargo.toml")).unwrap();
    for entry in std::fs::read_dir(root.join("conf/esm")).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        let kept = format!("\"/etc/mppd/esm/{name}\",");
        assert!(manifest.contains(&kept), "{kept} is missing in conf-files of Cargo.toml");
    }
}
