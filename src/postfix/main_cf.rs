//! `main.cf` as Postfix reads and writes it itself: by `postconf`. What was changed can be taken
//! back.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use mppd_engine::Escaped;

use super::{READ, Setting};

/// Where Postfix puts its programs, where `PATH` does not say.
const SBIN: &str = "/usr/sbin";

/// Where its mail waits, unless it says otherwise.
const QUEUE: &str = "/var/spool/postfix";

/// Why `main.cf` can't be read or written.
#[derive(Debug, thiserror::Error)]
pub enum MainCfError {
    /// There is no Postfix.
    #[error("can't run {program}: {source}; is Postfix installed here?")]
    Program {
        /// The program of Postfix.
        program: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A program of Postfix says no.
    #[error("{program}: {said}")]
    Refused {
        /// The program.
        program: &'static str,
        /// What it said, escaped.
        said: String,
    },
    /// The file can't be read, or can't be put back.
    #[error("can't {what} {file}: {source}", file = file.display())]
    File {
        /// What was to be done with it.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Neither could the change be made nor the file be put back as it was.
    #[error("{change}; and main.cf could not be put back: {back}")]
    Stuck {
        /// Why the change was not made.
        change: Box<MainCfError>,
        /// Why it was not taken back.
        back: Box<MainCfError>,
    },
}

/// What `main.cf` says, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MainCf {
    directory: Option<PathBuf>,
    values: BTreeMap<String, String>,
}

impl MainCf {
    /// That of a Postfix in which nothing has been set yet.
    #[must_use]
    pub fn untouched() -> Self {
        let relay = "permit_mynetworks, permit_sasl_authenticated, defer_unauth_destination";
        let values = [(super::QUEUE_DIRECTORY, QUEUE), (super::RELAY, relay)];
        let values = values.map(|(name, value)| (name.to_owned(), value.to_owned()));
        MainCf { directory: None, values: values.into() }
    }

    /// That of this configuration directory of Postfix, or of its default.
    ///
    /// # Errors
    /// When Postfix is not there, or can't read it.
    pub fn read(directory: Option<&Path>) -> Result<Self, MainCfError> {
        let mut main_cf =
            MainCf { directory: directory.map(Path::to_owned), values: BTreeMap::new() };
        let output = main_cf.run("postconf", READ.map(OsString::from))?;
        for line in String::from_utf8_lossy(&output.stdout).lines() {
            if let Some((name, value)) = line.split_once('=') {
                main_cf.values.insert(name.trim().to_owned(), value.trim().to_owned());
            }
        }
        Ok(main_cf)
    }

    /// The value of a parameter; empty where it has none.
    #[must_use]
    pub fn value(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    /// Sets parameters, and has Postfix check what came of it. If anything fails, the file is as it
    /// was before.
    ///
    /// # Errors
    /// When it can't be written, or Postfix does not accept it.
    pub fn apply(&self, settings: &[Setting]) -> Result<(), MainCfError> {
        let file = self.file()?;
        let before = Kept::read(&file)?;
        let pairs = settings.iter().map(|setting| format!("{} = {}", setting.name, setting.value));
        let arguments = std::iter::once("-e".to_owned()).chain(pairs).map(OsString::from);
        let changed = self
            .run("postconf", arguments)
            .and_then(|_| self.run("postfix", [OsString::from("check")]));
        match changed {
            Ok(_) => Ok(()),
            Err(change) => match before.put_back(&file) {
                Ok(()) => Err(change),
                Err(back) => Err(MainCfError::Stuck { change: change.into(), back: back.into() }),
            },
        }
    }

    fn file(&self) -> Result<PathBuf, MainCfError> {
        let output = self.run("postconf", ["-h", "config_directory"].map(OsString::from))?;
        let directory = String::from_utf8_lossy(&output.stdout).trim().to_owned();
        Ok(Path::new(&directory).join("main.cf"))
    }

    /// Runs a program of Postfix, which must succeed.
    fn run(
        &self,
        program: &'static str,
        arguments: impl IntoIterator<Item = OsString>,
    ) -> Result<Output, MainCfError> {
        let mut command = Command::new(program);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let directories = std::env::split_paths(&path).chain([PathBuf::from(SBIN)]);
        if let Ok(path) = std::env::join_paths(directories) {
            command.env("PATH", path);
        }
        if let Some(directory) = &self.directory {
            command.arg("-c").arg(directory);
        }
        command.args(arguments);
        let output = command.output().map_err(|source| MainCfError::Program { program, source })?;
        if output.status.success() {
            return Ok(output);
        }
        let said = String::from_utf8_lossy(&output.stderr);
        let said = Escaped(said.trim().as_bytes()).to_string();
        Err(MainCfError::Refused { program, said })
    }
}

/// A file as it was.
struct Kept {
    octets: Vec<u8>,
    metadata: fs::Metadata,
}

impl Kept {
    fn read(file: &Path) -> Result<Self, MainCfError> {
        let failed = |source| MainCfError::File { what: "read", file: file.to_owned(), source };
        let octets = fs::read(file).map_err(failed)?;
        Ok(Kept { octets, metadata: fs::metadata(file).map_err(failed)? })
    }

    /// Puts it back in one step, so that Postfix never reads half of it.
    fn put_back(&self, file: &Path) -> Result<(), MainCfError> {
        let failed = |source| MainCfError::File { what: "write", file: file.to_owned(), source };
        let beside = file.with_extension("cf.mppd");
        let write = || -> io::Result<()> {
            let mut out = fs::File::create(&beside)?;
            out.set_permissions(fs::Permissions::from_mode(self.metadata.mode()))?;
            chown(&beside, Some(self.metadata.uid()), Some(self.metadata.gid()))?;
            out.write_all(&self.octets)?;
            out.sync_all()?;
            fs::rename(&beside, file)
        };
        write().map_err(failed)
    }
}
