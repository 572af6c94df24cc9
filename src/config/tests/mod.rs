//! Whole configurations: what they mean, what is said about faulty ones, and what holds for all.

mod faults;
mod loading;
mod properties;

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;

use super::limits::Limits;
use super::report::{Look, render};
use super::*;

/// A directory with configuration files, the first of which is the main one.
struct Files {
    directory: tempfile::TempDir,
    main: PathBuf,
    environment: BTreeMap<String, String>,
    set: Vec<String>,
    limits: Limits,
}

impl Files {
    fn new(files: &[(&str, &str)]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = directory.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, text).unwrap();
            std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
        }
        let main = directory.path().join(files[0].0);
        Files {
            directory,
            main,
            environment: BTreeMap::new(),
            set: Vec::new(),
            limits: Limits::default(),
        }
    }

    fn main(text: &str) -> Self {
        Files::new(&[("mppd.conf.xml", text)])
    }

    fn environment(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn set(mut self, argument: &str) -> Self {
        self.set.push(argument.to_owned());
        self
    }

    fn load(&self) -> Result<Configuration, Rejected> {
        let request = LoadRequest {
            file: ConfigurationFile::Path(self.main.clone()),
            environment: self.environment.clone(),
            set: self.set.clone(),
        };
        load_within(&request, &self.limits)
    }

    fn loaded(&self) -> Configuration {
        self.load().unwrap_or_else(|rejected| {
            panic!("{}", render(&rejected.sources, &rejected.findings, Look::default()))
        })
    }

    /// What people are told, without the name of the directory.
    fn report(&self) -> String {
        let (sources, findings) = match self.load() {
            Ok(good) => (good.sources, good.warnings),
            Err(rejected) => (rejected.sources, rejected.findings),
        };
        let report = render(&sources, &findings, Look { color: false, width: 200 });
        let directory = self.directory.path().display().to_string();
        report.replace(&format!("{directory}/"), "")
    }
}
