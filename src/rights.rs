//! The rights that mppd keeps. It may be started as root, so that it can open whatever sockets it is
//! told to; everything that it reads from a peer it reads with the rights of somebody less.

use std::ffi::CString;
use std::io;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};

use mppd_engine::Finding;
use mppd_engine::config::Spanned;
use nix::sys::prctl;
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Uid, User, initgroups, setgroups, setresgid, setresuid};

use crate::config::settings::CommonOptions;
use crate::listener::{find_group, find_user};
use crate::supervisor::state_directory;

/// Whose rights mppd keeps: those of `<user>` and `<group>`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rights {
    user: Uid,
    group: Gid,
    /// Name of the user, by which the other groups are found; none where only a number is known.
    name: Option<String>,
}

/// Why mppd can't have the rights that it is to keep.
#[derive(Debug, thiserror::Error)]
pub enum RightsError {
    /// A state directory that must be made can't be.
    #[error("can't make the state directory {}: {source}", path.display())]
    StateDirectory {
        /// The directory.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refuses.
    #[error("can't take on the rights of {who}: {source}")]
    Refused {
        /// The user.
        who: String,
        /// What the system said.
        source: io::Error,
    },
}

impl Rights {
    /// What `<user>` and `<group>` mean; `None` where nothing is said.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn of(common: &CommonOptions) -> Result<Option<Self>, Vec<Finding>> {
        let Some(named) = &common.user else {
            let Some(group) = &common.group else { return Ok(None) };
            let finding = Finding::error(group.span, "<group> takes a <user>");
            return Err(vec![finding.with_help("name the user whose rights mppd is to keep")]);
        };
        let at = |named: &Spanned<String>| {
            let span = named.span;
            move |message: String| vec![Finding::error(span, message)]
        };
        let user = find_user(named.value.trim()).map_err(at(named))?;
        let entry = User::from_uid(user).ok().flatten();
        let group = match (&common.group, &entry) {
            (Some(group), _) => find_group(group.value.trim()).map_err(at(group))?,
            (None, Some(entry)) => entry.gid,
            (None, None) => {
                let message = format!("user {user} is not known to the system, nor its group");
                let finding = Finding::error(named.span, message);
                return Err(vec![finding.with_help("name a <group> as well")]);
            }
        };
        if user.is_root() {
            let finding = Finding::error(named.span, "these are the rights of root");
            return Err(vec![finding.with_help("name a user who may do nothing else")]);
        }
        Ok(Some(Rights { user, group, name: entry.map(|entry| entry.name) }))
    }

    /// The user, for people.
    #[must_use]
    pub fn who(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.user.to_string())
    }

    /// Whether this process has no other rights than these already.
    #[must_use]
    pub fn are_kept(&self) -> bool {
        Uid::effective() == self.user && Uid::current() == self.user
    }

    /// Gives up everything else, for good: user, group and all other groups. A state directory that
    /// is missing is made before, and belongs to the user. To be called while there is one thread.
    ///
    /// # Errors
    /// What keeps it from it; the process is not to go on then.
    pub fn keep(&self, state_directory: &Path) -> Result<(), RightsError> {
        self.make(state_directory).map_err(|source| RightsError::StateDirectory {
            path: state_directory.to_owned(),
            source,
        })?;
        self.give_up()
            .map_err(|error| RightsError::Refused { who: self.who(), source: error.into() })
    }

    fn make(&self, directory: &Path) -> io::Result<()> {
        if directory.exists() {
            return Ok(());
        }
        state_directory::make(directory)?;
        chown(directory, Some(self.user.as_raw()), Some(self.group.as_raw()))
    }

    fn give_up(&self) -> nix::Result<()> {
        let name = self.name.as_ref().and_then(|name| CString::new(name.as_str()).ok());
        match name {
            Some(name) => initgroups(&name, self.group)?,
            None => setgroups(&[self.group])?,
        }
        setresgid(self.group, self.group, self.group)?;
        setresuid(self.user, self.user, self.user)
    }
}

/// Whether this process has the rights of root.
#[must_use]
pub fn is_root() -> bool {
    Uid::effective().is_root()
}

/// Has the system write no core of this process, which knows passwords, and show its memory to
/// nobody but root.
///
/// # Errors
/// What keeps the system from it.
pub fn forbid_core_dumps() -> io::Result<()> {
    // Where mppd may not lower its limits, the other is enough by itself.
    let _may_not = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    Ok(prctl::set_dumpable(false)?)
}
